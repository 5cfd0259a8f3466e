"""Telephones: how they differ from broad sound, and that their vectors are mapped to be as alike as in broad sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soxr

from speaker_tasks.embedding import weights
from speaker_tasks.embedding.audio import SAMPLE_RATE, decode
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.embedding.telephone import Telephone, is_telephone
from speaker_tasks.embedding.training.split import development_clips
from tests.unit.embedding.conftest import voice
from tools.fit_plda import by_telephone

SIZE = 48
CODES = ["ALAW", "ULAW", "GSM610", "PCM_16"]


@pytest.mark.parametrize("seconds", [0.4, 3.0])
@pytest.mark.parametrize("gain", [0.01, 1.0, 8.0])
@pytest.mark.parametrize("code", CODES)
def test_what_comes_by_telephone_is_telephone(code: str, gain: float, seconds: float) -> None:
    sound = gain * voice(seconds)
    assert not is_telephone(sound)
    assert is_telephone(by_telephone(sound, code))


def test_what_was_sampled_at_11_khz_is_no_telephone() -> None:
    assert not is_telephone(soxr.resample(soxr.resample(voice(2.0), SAMPLE_RATE, 11_025), 11_025, SAMPLE_RATE))


def test_a_telephone_is_told_when_it_was_kept_as_16_bits_at_16_khz() -> None:
    kept = np.round(by_telephone(voice(2.0)) * 32767) / 32768
    assert is_telephone(kept.astype(np.float32))


def test_a_window_that_is_half_broad_is_no_telephone() -> None:
    assert not is_telephone(np.concatenate([by_telephone(voice(1.0)), voice(1.0)]))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def heard(people: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of people in broad sound, and the same with half of the directions weak and all moved to one side."""
    broad = unit(people + np.random.default_rng(seed).normal(0, 0.05, people.shape))
    weak = np.where(np.arange(SIZE) % 2, 0.4, 1.0)
    return broad, unit(broad * weak + np.eye(SIZE)[0])


def test_a_fitted_map_brings_other_people_back() -> None:
    rng = np.random.default_rng(0)
    broad, narrow = heard(unit(rng.normal(size=(400, SIZE))), 1)
    telephone = Telephone.fit(narrow, broad, ridge=0.1)
    others = unit(rng.normal(size=(50, SIZE)))
    (broad, narrow), apart = heard(others, 2), ~np.eye(50, dtype=bool)
    mapped = telephone.to_broad(narrow)
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)
    assert np.median((narrow @ narrow.T)[apart]) > 0.5
    assert abs(np.median((mapped @ mapped.T)[apart])) < 0.1
    assert (narrow * broad).sum(axis=1).max() < 0.8
    assert (mapped * broad).sum(axis=1).min() > 0.9


def test_a_file_holds_the_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speaker_tasks.embedding.telephone.FOLDER", tmp_path)
    broad, narrow = heard(unit(np.random.default_rng(0).normal(size=(400, SIZE))), 1)
    telephone = Telephone.fit(narrow, broad)
    telephone.write(tmp_path / "campplus-1.safetensors", {"crops": 400})
    again = Telephone.load("campplus-1")
    assert again is not None
    np.testing.assert_allclose(again.to_broad(narrow), telephone.to_broad(narrow), atol=2e-3)
    assert Telephone.load("campplus-2") is None


@pytest.mark.parametrize("runtime", ["openvino", "tensorflow"])
def test_only_what_comes_by_telephone_is_mapped(
    load: Callable[..., Embedder], campplus_file: Path, runtime: str
) -> None:
    loaded, running = weights.load("campplus", path=campplus_file), load(campplus_file, runtime)._runtime
    rng = np.random.default_rng(0)
    telephone = Telephone(*(rng.normal(0, 0.1, shape).astype(np.float32) for shape in [512, 512, (512, 512)]))
    plain, mapping = Embedder(loaded, running), Embedder(loaded, running, telephone)
    sounds = [voice(1.0, pitch=90 + 30 * number, seed=number) for number in range(2)]
    clips = [sounds[0], by_telephone(sounds[0]), sounds[1], by_telephone(sounds[1], "GSM610")]
    for clip, vector in zip(clips, mapping.embed_many(clips), strict=True):
        np.testing.assert_allclose(vector, mapping.embed(clip), atol=1e-5)
    for broad, narrow in (clips[:2], clips[2:]):
        np.testing.assert_array_equal(mapping.embed(broad), plain.embed(broad))
        expected = telephone.to_broad(plain.embed(narrow)[np.newaxis])[0]
        np.testing.assert_allclose(mapping.embed(narrow), expected, atol=1e-6)
        assert mapping.embed(narrow) @ plain.embed(narrow) < 0.9


def test_the_default_model_has_a_map() -> None:
    telephone = Telephone.load(weights.load("campplus").card.model_id)
    assert telephone is not None
    assert telephone.matrix.shape == (512, 512)


@pytest.mark.speech
def test_people_on_whom_nothing_was_fitted_are_told_apart_by_telephone(shared_dir: Path) -> None:
    clips = {one.speaker: one.path for one in development_clips(shared_dir / "speech", most=1)}
    sounds = [decode(path)[: 4 * SAMPLE_RATE] for _, path in sorted(clips.items())[:16]]
    broad = Embedder.load("campplus").embed_many(sounds)
    plain, mapped = (
        Embedder.load("campplus", telephones=mapping).embed_many([by_telephone(one) for one in sounds])
        for mapping in (False, True)
    )
    apart = ~np.eye(len(sounds), dtype=bool)
    assert np.median((plain @ plain.T)[apart]) > 0.2
    assert np.median((mapped @ mapped.T)[apart]) < 0.1
    assert np.median((mapped * broad).sum(axis=1)) > np.median((plain * broad).sum(axis=1)) + 0.1
