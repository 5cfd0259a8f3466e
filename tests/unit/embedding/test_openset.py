"""What is measured of a model on held-out speakers, and how it comes to be asked of those who speak."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speaker_tasks.embedding.audio import SAMPLE_RATE, decode
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.embedding.speech import measure
from speaker_tasks.scoring.decision import Judge

pytest.importorskip("scipy", reason="training needs scipy: pip install 'speaker-tasks[training]'")

from speaker_tasks.embedding.training import export
from speaker_tasks.embedding.training.corpus import Clip
from speaker_tasks.embedding.training.openset import ModelTrials
from speaker_tasks.embedding.training.probes import Probes, Recordings, with_speech
from speaker_tasks.scoring.cohort import CARD_KEY, Cohort

DRAWN = np.random.default_rng(0).normal(size=(60, 512)).astype(np.float32)
COHORT = Cohort(DRAWN / np.linalg.norm(DRAWN, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    """The shipped model."""
    return Embedder.load("compact", precision="f32")


@pytest.fixture(scope="module")
def people(demo_speakers: Path) -> Recordings:
    """The synthetic speakers' recordings."""
    paths = sorted(demo_speakers.glob("*/*.ogg"))
    return Recordings([decode(path) for path in paths], np.array([path.parent.name for path in paths]))


def test_a_probe_holds_the_speech_that_was_asked_for_however_much_silence_there_is(people: Recordings) -> None:
    clip, pause = people.samples[0], np.zeros(SAMPLE_RATE // 2, np.float32)
    halves = np.array_split(clip, 2)
    for sound in (clip, np.concatenate([halves[0], pause, pause, halves[1]])):
        stretch = with_speech(sound, 2.0)
        assert stretch is not None
        assert measure(stretch).speech == pytest.approx(2.0, abs=0.2)
    assert with_speech(clip, 30.0) is None
    assert with_speech(pause, 1.0) is None


def test_a_long_probe_goes_on_in_the_speakers_next_recordings(embedder: Embedder, people: Recordings) -> None:
    probes = Probes.cut(embedder, people, 6.0)
    assert probes.speech == pytest.approx(6.0, rel=0.1)
    for speaker, made_of in zip(probes.speakers, probes.made_of, strict=True):
        assert made_of.sum() >= 2
        assert set(people.speakers[made_of]) == {speaker}


def test_a_probe_is_never_tried_against_its_own_recording(embedder: Embedder, people: Recordings) -> None:
    whole = Probes.of_whole(embedder, people)
    trials = ModelTrials.of(whole, whole, COHORT)
    speakers, clips = len(set(people.speakers)), 5
    _, _, target = trials.flat()
    assert target.sum() == speakers * (clips - 3)
    assert (~target).sum() == speakers * clips * (speakers - 1)


def test_who_is_ahead_of_the_right_speaker_counts_only_where_they_would_be_named() -> None:
    scores, fair = np.array([[0.5, 0.7, 0.2]]), np.ones((1, 3), bool)
    plain = np.ones((1, 3))
    target, own = np.array([[True, False, False]]), np.array(["a"])
    trials = ModelTrials(scores, scores, plain, target, fair, np.array([2.0]), own, np.array(["a", "b", "c"]))
    assert sorted(trials.leads(0.6)) == pytest.approx([-0.4, 0.2])
    assert sorted(trials.leads(0.1)) == pytest.approx([-0.3, 0.2])


def test_measuring_a_model_gives_its_card_all_that_a_decision_asks(
    embedder: Embedder, people: Recordings, tmp_path: Path
) -> None:
    clips = []
    for number, (speaker, samples) in enumerate(zip(people.speakers, people.samples, strict=True)):
        for half, part in enumerate(np.array_split(samples, 2)):
            path = tmp_path / f"{number:03d}-{half}.wav"
            soundfile.write(path, part, SAMPLE_RATE)
            clips.append(Clip(path, speaker, "demo", len(part) / SAMPLE_RATE))
    card = json.loads(json.dumps({CARD_KEY: COHORT.to_dict(), **export.measure(embedder, clips, COHORT)}))
    judge = Judge.of_card(card)
    assert judge.source == "model"
    assert judge.margins is not None
    assert 0.5 <= judge.least_speech <= 8
    bar = judge.bar(4.0, 8)
    assert bar.threshold is not None
    assert bar.near < bar.threshold <= 1
    assert bar.margin >= 0.01
    pairs = Judge.of_pairs(card)
    assert pairs.bar(4.0, 1).speech == judge.least_speech
    assert pairs.cohort is not None
    assert (pairs.same_speaker(100.0, 4.0) or 0) > 0.9, "the made-up cohort is far from all: standings are large"
    assert (pairs.same_speaker(0.0, 4.0) or 0) < 0.1


def test_without_a_cohort_thresholds_are_of_plain_cosines(
    embedder: Embedder, people: Recordings, tmp_path: Path
) -> None:
    whole = Probes.of_whole(embedder, people)
    trials = ModelTrials.of(whole, whole, None)
    np.testing.assert_array_equal(trials.standing, trials.cosines)
