"""A clip has one vector: alone, in a batch, in blocks, on either runtime."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speaker_tasks.embedding import embedder as embedder_module
from speaker_tasks.embedding import runtime as runtime_module
from speaker_tasks.embedding.audio import SAMPLE_RATE, decode
from speaker_tasks.embedding.embedder import Embedder, pad, pool, windows
from speaker_tasks.embedding.runtime import OpenVINORuntime
from speaker_tasks.embedding.weights import find
from speaker_tasks.embedding.weights import load as load_weights
from speaker_tasks.errors import ConfigurationError, NotFinite, UnusableAudio, WeightsMissing
from tests.unit.embedding.conftest import voice

RUNTIMES = ["openvino", "tensorflow"]


Load = Callable[..., Embedder]


@pytest.fixture(params=["compact", "vgg", "campplus"])
def model_file(request: pytest.FixtureRequest) -> Path:
    """All members of the family in turn."""
    return request.getfixturevalue(f"{request.param}_file")


def voices(seconds: list[float]) -> list[np.ndarray]:
    """Voices of different people, of these lengths."""
    return [voice(length, pitch=90 + 37 * number, seed=number) for number, length in enumerate(seconds)]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_published_network_agrees_with_the_oracle(load: Load, oracle, vgg_file: Path, runtime: str) -> None:
    embedder = load(vgg_file, runtime)
    waves = [oracle[f"wav{number}"].astype(np.float32) / 32768 for number in range(4)]
    expected = np.stack([oracle[f"emb{number}"] for number in range(4)])
    np.testing.assert_allclose(np.stack([embedder.embed(wave) for wave in waves]), expected, atol=1e-4)
    np.testing.assert_allclose(embedder.embed_many(waves), expected, atol=1e-4)  # of four different lengths


def test_an_embedder_says_what_it_is(load: Load, compact_file: Path) -> None:
    embedder = load(compact_file, "openvino")
    assert (embedder.model, embedder.device, embedder.runtime, embedder.precision) == (
        "compact",
        "cpu",
        "openvino",
        "f32",
    )
    assert embedder.model_id.startswith("compact-")
    assert embedder.embedding_size == 512
    assert embedder.warm() > 0


def test_different_voices_have_different_unit_vectors(load: Load, model_file: Path) -> None:
    vectors = load(model_file, "openvino").embed_many(voices([1.0, 1.5, 2.0]))
    assert vectors.shape == (3, 512)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors @ vectors.T)[np.triu_indices(3, 1)].max() < 0.999


@pytest.mark.parametrize("runtime", RUNTIMES)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(6_400, 40_000), min_size=2, max_size=5), loudest=st.integers(0, 4))
def test_a_clip_in_a_batch_has_the_vector_it_has_alone(
    load: Load, model_file: Path, runtime: str, lengths: list[int], loudest: int
) -> None:
    embedder = load(model_file, runtime)
    clips = voices([length / SAMPLE_RATE for length in lengths])
    clips[loudest % len(clips)] *= 20
    together = embedder.embed_many(clips)
    alone = np.stack([embedder.embed(clip) for clip in clips])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_masks_are_what_makes_batches_exact(load: Load, compact_file: Path) -> None:
    """Taken for its whole padded length, a clip has another vector: the test above can fail."""
    embedder = load(compact_file, "tensorflow")
    short, long = (next(embedder.spectrograms([clip])) for clip in voices([0.6, 2.4]))
    padded, frames = pad([short, long])
    unmasked = embedder._runtime.embed(padded, np.full_like(frames, frames.max()))
    assert np.abs(unmasked[0] - embedder.run([short])[0]).max() > 1e-3


def test_what_lies_in_the_padding_does_not_matter(load: Load, model_file: Path) -> None:
    embedder = load(model_file, "openvino")
    padded, frames = pad([next(embedder.spectrograms([clip])) for clip in voices([0.6, 1.4])])
    clean = embedder._runtime.embed(padded, frames)
    padded[0, :, frames[0] :] = 7.0
    np.testing.assert_allclose(embedder._runtime.embed(padded, frames), clean, atol=1e-5)


def test_runtimes_agree_in_f32(load: Load, model_file: Path) -> None:
    clips = voices([0.5, 1.3, 2.2])
    vectors = [load(model_file, runtime).embed_many(clips) for runtime in RUNTIMES]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-4)


@pytest.fixture(scope="session")
def real_speech(shared_dir: Path) -> list[np.ndarray]:
    """Three seconds of each of twelve people."""
    files = sorted((shared_dir / "speech" / "validation").glob("*/000.opus"))[:12]
    return [decode(file)[: 3 * SAMPLE_RATE] for file in files]


@pytest.mark.speech
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_bf16_agrees_with_f32_on_real_speech(load: Load, real_speech: list[np.ndarray], runtime: str) -> None:
    try:
        shipped = find("compact")
    except WeightsMissing:
        pytest.skip("no trained weights are shipped")
    exact = load(shipped, "openvino").embed_many(real_speech)
    fast = load(shipped, runtime, "bf16").embed_many(real_speech)
    assert (exact * fast).sum(axis=1).min() >= 0.9995


@pytest.mark.speech
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_bf16_agrees_with_f32_for_vgg(load: Load, vgg_file: Path, real_speech: list[np.ndarray], runtime: str) -> None:
    exact = load(vgg_file, "openvino").embed_many(real_speech)
    fast = load(vgg_file, runtime, "bf16").embed_many(real_speech)
    assert (exact * fast).sum(axis=1).min() >= 0.9995


def test_many_small_batches_keep_the_order(load: Load, compact_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = load(compact_file, "openvino")
    clips = voices([1.0, 0.5, 2.0, 0.7, 1.5, 0.9])
    expected = embedder.embed_many(clips)
    monkeypatch.setattr(embedder, "_batch_frames", 220)
    np.testing.assert_allclose(embedder.embed_many(clips), expected, atol=1e-5)


def test_threads_share_an_embedder(load: Load, compact_file: Path) -> None:
    embedder = load(compact_file, "openvino")
    clips = voices([0.5, 0.8, 1.1, 1.4] * 4)
    with ThreadPoolExecutor(4) as pool:
        vectors = np.stack(list(pool.map(embedder.embed, clips)))
    np.testing.assert_allclose(vectors, embedder.embed_many(clips), atol=1e-5)


def test_calls_that_meet_have_a_thread_each_and_so_have_those_soon_after(
    compact_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_module, "MEETING_SECONDS", 60.0)
    runtime = OpenVINORuntime(load_weights("compact", path=compact_file), precision="f32", threads=2)
    with runtime._request() as first:
        assert first is runtime._whole
        with runtime._request() as second:
            assert second is not first
    with runtime._request() as third:
        assert third is not runtime._whole
    monkeypatch.setattr(runtime_module, "MEETING_SECONDS", 0.0)
    with runtime._request() as alone:
        assert alone is runtime._whole


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, [0.4]), (10.0, [10.0]), (10.5, [5.25, 5.25]), (20.0, [10.0, 10.0]), (31.0, [10.0, 10.0, 5.5, 5.5])],
)
def test_long_clips_are_cut_into_windows_of_at_most_ten_seconds(seconds: float, expected: list[float]) -> None:
    sound = np.arange(round(seconds * 100), dtype=np.float32)
    parts = list(windows([sound], 1000))
    assert [len(part) / 100 for part in parts] == pytest.approx(expected, abs=0.01)
    np.testing.assert_array_equal(np.concatenate(parts), sound)
    in_blocks = list(windows(np.array_split(sound, 7), 1000))
    assert list(map(len, in_blocks)) == list(map(len, parts))


def test_a_long_clip_is_the_mean_of_its_windows(load: Load, compact_file: Path) -> None:
    embedder = load(compact_file, "openvino")
    sound = np.concatenate(voices([10.0, 6.0, 8.0]))
    parts = np.stack([embedder.embed(part) for part in (sound[:160_000], *np.split(sound[160_000:], 2))])
    mean = parts.mean(axis=0)
    np.testing.assert_allclose(embedder.embed(sound), mean / np.linalg.norm(mean), atol=1e-5)


def streamed(embedder: Embedder, blocks: Iterable[np.ndarray]) -> np.ndarray:
    """The vector of a recording that comes in blocks, a window at a time."""
    return pool(np.stack([embedder.run([window])[0] for window in embedder.spectrograms(blocks)]))


def test_blocks_of_a_stream_give_the_same_vector_as_the_whole(load: Load, compact_file: Path) -> None:
    embedder = load(compact_file, "openvino")
    sound = np.concatenate(voices([9.0, 7.0, 8.0]))
    np.testing.assert_allclose(streamed(embedder, np.array_split(sound, 9)), embedder.embed(sound), atol=1e-5)


def test_two_hours_take_no_more_memory_than_a_minute(
    load: Load, compact_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = load(compact_file, "openvino")
    monkeypatch.setattr(embedder, "run", lambda spectrograms: np.ones((len(spectrograms), 512), np.float32))
    monkeypatch.setattr(embedder, "_front_end", lambda window: window[None, ::1600])
    block = voice(10.0)

    def recording(seconds: int) -> Iterator[np.ndarray]:
        yield from (block.copy() for _ in range(seconds // 10))

    peaks = []
    for seconds in (60, 7_200):
        tracemalloc.start()
        streamed(embedder, recording(seconds))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + (1 << 20)


def test_silent_windows_of_a_long_clip_do_not_count(load: Load, compact_file: Path) -> None:
    embedder = load(compact_file, "openvino")
    spoken = voice(10.0)
    with_silence = np.concatenate([spoken, np.zeros(160_000, np.float32)])
    np.testing.assert_allclose(embedder.embed(with_silence), embedder.embed(spoken), atol=1e-6)


def test_what_no_voice_can_be_taken_from_is_refused(load: Load, compact_file: Path) -> None:
    embedder = load(compact_file, "openvino")
    with pytest.raises(UnusableAudio, match=r"0\.30 s"):
        embedder.embed(voice(0.3))
    with pytest.raises(UnusableAudio, match="silent"):
        embedder.embed(np.zeros(16_000, np.float32))
    with pytest.raises(UnusableAudio, match="silent"):
        streamed(embedder, [np.zeros(160_000, np.float32)] * 3)
    with pytest.raises(UnusableAudio):
        streamed(embedder, [])
    broken = voice(25.0)
    broken[-1] = np.nan
    with pytest.raises(NotFinite):
        streamed(embedder, [broken])
    with pytest.raises(UnusableAudio):
        embedder.embed_many([voice(1.0), voice(0.1)])


def test_runtimes_that_this_machine_has_not_are_refused_in_one_line(
    compact_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="SPEAKER_RUNTIME=tensorflow"):
        Embedder.load("compact", weights=compact_file, device="gpu", runtime="openvino")
    monkeypatch.setattr(embedder_module.machine, "has_gpu", lambda: False)
    with pytest.raises(ConfigurationError, match="no GPU"):
        Embedder.load("compact", weights=compact_file, device="gpu")
