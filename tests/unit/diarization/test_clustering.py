"""How many people, and which pieces are whose: made-up voices around points, and what is said of their number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from speaker_tasks.diarization import vbx
from speaker_tasks.diarization.clustering import Count, Parameters, Voices, centroids, cluster
from speaker_tasks.diarization.plda import Plda

SIZE = 64


def people(count: int, seed: int = 0) -> np.ndarray:
    """Unit vectors (count, SIZE) of made-up people."""
    rows = np.random.default_rng(seed).normal(size=(count, SIZE))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def said(whose: list[int], voices: np.ndarray, *, seconds: float | list[float] = 4.0, spread: float = 0.08) -> Voices:
    """A piece of each of those, one after the other, a window for each two."""
    rng = np.random.default_rng(1)
    vectors = voices[whose] + rng.normal(0, spread, (len(whose), SIZE))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    clean = np.broadcast_to(np.array(seconds, np.float32), (len(whose),)).copy()
    numbers = np.arange(len(whose))
    return Voices(numbers // 2, numbers % 2, clean, vectors.astype(np.float32), (np.array([[0, 200]]),) * len(whose))


@pytest.fixture(scope="module")
def plda() -> Plda:
    """Fitted on other made-up people."""
    rng, voices = np.random.default_rng(5), people(300, seed=9)
    owners = np.repeat(np.arange(300), 4)
    vectors = voices[owners] + rng.normal(0, 0.08, (len(owners), SIZE))
    return Plda.fit(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), owners, 32)


@pytest.mark.parametrize("fitted", [True, False], ids=["with a PLDA", "without"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_as_many_clusters_as_people(plda: Plda, fitted: bool, count: int) -> None:
    whose = [number % count for number in range(8 * count)]
    labels = cluster(said(whose, people(count)), plda if fitted else None)
    assert len(set(labels)) == count
    for person in range(count):
        assert len({label for label, one in zip(labels, whose, strict=True) if one == person}) == 1


def test_clusters_are_numbered_by_how_much_they_speak(plda: Plda) -> None:
    labels = cluster(said([0, 1, 1, 1, 1, 1, 0, 1], people(2)), plda)
    assert labels.tolist() == [1, 0, 0, 0, 0, 0, 1, 0]


def test_a_piece_between_two_people_goes_with_its_local_speaker() -> None:
    one, other = people(2)
    between = 0.47 * one + 0.53 * other
    vectors = np.stack([one, one, one, between, other, other]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    windows, speakers = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 0, 0, 0, 1, 0])
    clean = np.full(6, 4.0, np.float32)
    voices = Voices(windows, speakers, clean, vectors, (np.array([[0, 200]]),) * 6)
    alone = cluster(voices, None, Count(least=2, most=2), Parameters(company=0.0))
    together = cluster(voices, None, Count(least=2, most=2), Parameters(company=0.5))
    assert alone[3] == alone[4]
    assert together[3] == together[2] != together[4]


def test_too_little_speech_is_no_person_of_its_own(plda: Plda) -> None:
    whose, seconds = [0, 1] * 8 + [2], [4.0] * 16 + [1.6]
    assert len(set(cluster(said(whose, people(3), seconds=seconds), plda))) == 2


def test_short_pieces_go_to_who_is_like_them(plda: Plda) -> None:
    whose, seconds = [0, 1] * 6 + [0, 1, 1, 0], [4.0] * 12 + [0.6] * 4
    labels = cluster(said(whose, people(2), seconds=seconds), plda)
    assert labels[12:].tolist() == [labels[0], labels[1], labels[1], labels[0]]


@pytest.mark.parametrize(("count", "people_there"), [(Count(2, 2), 4), (Count(1, 3), 5), (Count(3, 3), 1)])
def test_the_number_that_is_said_goes_before(plda: Plda, count: Count, people_there: int) -> None:
    whose = [number % people_there for number in range(24)]
    found = len(set(cluster(said(whose, people(people_there)), plda, count)))
    assert count.least <= found <= count.most


def test_nobody_and_a_single_piece() -> None:
    nobody = Voices(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros((0, SIZE), np.float32), ())
    assert cluster(nobody, None).tolist() == []
    assert cluster(said([0], people(1), seconds=0.5), None).tolist() == [0]


def test_centroids_are_unit_vectors_by_weight() -> None:
    vectors = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    found = centroids(vectors, np.array([1.0, 1.0, 3.0]), np.array([0, 0, 1]))
    assert found == pytest.approx(np.array([[0.7071, 0.7071], [0, 1]]), abs=1e-4)


def test_a_plda_survives_its_file(plda: Plda, tmp_path: Path) -> None:
    assert plda.telephone is None
    known = replace(plda, telephone=np.ones(SIZE, np.float32))
    known.write(tmp_path / "plda.safetensors", {"model": "made up"})
    again, vectors = Plda.read(tmp_path / "plda.safetensors"), people(3)
    assert again.telephone is not None
    np.testing.assert_array_equal(again.telephone, known.telephone)
    assert again.project(vectors) == pytest.approx(plda.project(vectors), abs=0.02)
    assert (np.diff(plda.between) <= 0).all()
    assert Plda.load("a-model-without-one") is None


def test_the_shipped_plda_is_of_the_shipped_model() -> None:
    from speaker_tasks.embedding import weights

    for model in ("campplus", "compact"):
        fitted = Plda.load(weights.load(model).card.model_id)
        assert fitted is not None, f"fit it anew: tools/fit_plda.py --model {model}"
        assert fitted.transform.shape == (512, len(fitted.between))


def test_many_people_who_each_speak_once_are_not_one(plda: Plda) -> None:
    whose = [number // 3 for number in range(90)]
    voices = said(whose, people(30), seconds=1.6)
    labels = cluster(voices, plda)
    assert len(set(labels)) >= 28
    together = cluster(voices, plda, tuned=Parameters(mixed=-1.0))
    assert len(set(together)) < 15, "VBx alone gives them up"


SIDE = people(1, seed=77)[0].astype(np.float32)
"""Where a telephone moves everyone."""
TELEPHONE = 0.8 * SIDE


def by_telephone(voices: Voices) -> Voices:
    moved = voices.vectors + 1.33 * SIDE  # 0.8 of it once the length is one again
    return replace(voices, vectors=moved / np.linalg.norm(moved, axis=1, keepdims=True))


def test_a_telephone_makes_nobody_alike(plda: Plda) -> None:
    meeting = by_telephone(said([number % 4 for number in range(32)], people(4)))
    assert len(set(cluster(meeting, plda))) < 4
    assert len(set(cluster(meeting, replace(plda, telephone=TELEPHONE)))) == 4


def test_one_person_on_a_telephone_stays_one(plda: Plda) -> None:
    alone = by_telephone(said([0] * 12, people(1)))
    assert len(set(cluster(alone, replace(plda, telephone=TELEPHONE)))) == 1


def test_broad_sound_is_left_as_it_is(plda: Plda) -> None:
    vectors = said([0, 1, 2, 3], people(4)).vectors
    np.testing.assert_array_equal(replace(plda, telephone=TELEPHONE).broad(vectors), vectors)


def test_the_shipped_telephone_is_what_one_does_to_a_voice(demo_speakers: Path) -> None:
    from speaker_tasks.embedding import audio
    from speaker_tasks.embedding.embedder import Embedder
    from tools.fit_plda import by_telephone as called

    embedder = Embedder.load("campplus", telephones=False)
    fitted = Plda.load(embedder.model_id)
    assert fitted is not None
    assert fitted.telephone is not None
    sound = audio.decode(demo_speakers / "Brian" / "3.ogg")
    broad, narrow = embedder.embed(sound), embedder.embed(called(sound))
    length = float(fitted.telephone @ fitted.telephone)
    assert float((narrow - broad) @ fitted.telephone) / length > 0.3


def test_components_that_others_explain_die_out(plda: Plda) -> None:
    whose = np.array([0, 1] * 20)
    projected = plda.project(said(whose.tolist(), people(2)).vectors)
    start = np.arange(40) % 8  # four clusters a person
    _, shares = vbx.refine(projected, plda.between, np.full(40, 4.0), start, fa=0.1, fb=2.0)
    assert (shares > 1e-3).sum() == 2
