"""Recordings as people send them: every format, every rate, and the odd ones."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from speaker_tasks.embedding import audio, decoding
from speaker_tasks.embedding.packets import BLOCK_SECONDS
from speaker_tasks.errors import NotFinite, NotFound, TooLarge, UnsupportedAudio, Unusable, UnusableAudio
from tests.unit.embedding.conftest import voice

SECONDS = 1.5


def recording(
    kind: str = "WAV",
    *,
    rate: int = 16_000,
    channels: int = 1,
    subtype: str | None = None,
    sound: np.ndarray | None = None,
) -> bytes:
    """A recording of `voice` (or `sound`) that soundfile writes."""
    if sound is None:
        time = np.arange(round(SECONDS * rate)) / rate
        sound = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    if channels > 1:
        sound = np.repeat(sound[:, None], channels, axis=1)
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=kind, subtype=subtype)
    return file.getvalue()


def recording_by_av(container: str, codec: str, rate: int, layout: str = "mono") -> bytes:
    """The same tone in a container that only PyAV writes."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        sound = (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(SECONDS * rate)) / rate)).astype(np.float32)
        packed = np.repeat(sound, av.AudioLayout(layout).nb_channels)[None]
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format, stream.layout, rate, frame_size=stream.frame_size or 960)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(part))
    return file.getvalue()


def tone_at_440(samples: np.ndarray) -> bool:
    """Whether the middle of `(T,)` samples at 16 kHz is the tone."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return abs(np.argmax(spectrum) * 16_000 / len(middle) - 440) < 5


FORMATS = {
    "wav 16": recording(subtype="PCM_16"),
    "wav 24 at 44.1 kHz": recording(rate=44_100, subtype="PCM_24"),
    "wav float": recording(subtype="FLOAT"),
    "wav 8 kHz mu-law": recording(rate=8_000, subtype="ULAW"),
    "wav at 192 kHz": recording(rate=192_000),
    "wav of 8 channels": recording(channels=8),
    "flac": recording("FLAC"),
    "ogg vorbis": recording("OGG", rate=22_050),
    "opus": recording("OGG", rate=48_000, subtype="OPUS"),
    "mp3": recording("MP3", rate=44_100),
    "aiff": recording("AIFF"),
    "m4a": recording_by_av("ipod", "aac", 44_100),
    "m4a of 8 channels": recording_by_av("ipod", "aac", 48_000, "7.1"),
    "webm": recording_by_av("webm", "libopus", 48_000),
}


@pytest.mark.parametrize("content", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_same_tone_at_16_khz(content: bytes, tmp_path: Path) -> None:
    samples = audio.decode(content)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) / audio.SAMPLE_RATE == pytest.approx(SECONDS, abs=0.1)  # codecs pad
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.1)
    assert tone_at_440(samples)
    path = tmp_path / "a name without an ending"
    path.write_bytes(content)
    np.testing.assert_array_equal(audio.decode(path), samples)


def test_a_sixteen_bit_wav_comes_out_to_the_bit() -> None:
    sound = voice(1.0)
    content = recording(sound=sound, subtype="PCM_16")
    np.testing.assert_allclose(audio.decode(content), sound, atol=1 / 32_000)


def test_channels_are_averaged() -> None:
    stereo = np.stack([np.full(8_000, 0.4), np.full(8_000, 0.2)], axis=1)
    file = io.BytesIO()
    soundfile.write(file, stereo, 16_000, format="WAV", subtype="FLOAT")
    np.testing.assert_allclose(audio.decode(file.getvalue()), 0.3, rtol=1e-6)


def test_blocks_joined_are_what_decode_gives() -> None:
    content = recording(rate=44_100, sound=np.tile(voice(5.0), 10))
    blocks = list(audio.stream(content))
    assert len(blocks) > 1
    assert max(map(len, blocks)) <= audio.SAMPLE_RATE * (BLOCK_SECONDS + 1)
    np.testing.assert_array_equal(np.concatenate(blocks), audio.decode(content))


LONGER = {
    "wav": recording(sound=voice(6.0)),
    "flac": recording("FLAC", sound=voice(6.0)),
    "ogg vorbis": recording("OGG", sound=voice(6.0)),
    "opus": recording("OGG", subtype="OPUS", sound=voice(6.0)),
    "mp3": recording("MP3", sound=voice(6.0)),
    "webm": recording_by_av("webm", "libopus", 48_000),
}


@pytest.mark.parametrize("content", LONGER.values(), ids=LONGER)
def test_a_file_cut_short_gives_what_can_be_read(content: bytes) -> None:
    whole = len(audio.decode(content))
    assert 0.4 * whole < len(audio.decode(content[: len(content) * 2 // 3])) < 0.9 * whole


@pytest.mark.parametrize("kind", ["wav 16", "flac", "opus", "m4a", "webm"])
def test_a_header_alone_is_an_error_of_ours(kind: str) -> None:
    with pytest.raises((UnsupportedAudio, UnusableAudio)):
        audio.decode(FORMATS[kind][:40])


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"not sound at all" * 50, b"RIFF\xff\xff\xff\xffWAVE", b"<html><body>404</body></html>"],
    ids=["empty", "one byte", "text", "a torn header", "a page"],
)
def test_what_is_no_recording_is_unsupported(content: bytes) -> None:
    with pytest.raises(UnsupportedAudio):
        audio.decode(content)


def test_playlists_that_name_other_files_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.ts"
    secret.write_bytes(recording_by_av("mpegts", "aac", 44_100))
    audio.decode(secret)  # it is sound, so only the playlist can be what is refused
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    with pytest.raises(UnsupportedAudio):
        audio.decode(playlist.encode())
    concat = f"ffconcat version 1.0\nfile '{secret}'\n"
    with pytest.raises(UnsupportedAudio):
        audio.decode(concat.encode())


def test_a_file_without_samples_says_so() -> None:
    with pytest.raises(UnusableAudio, match="no samples"):
        audio.decode(recording(sound=np.zeros(0, np.float32)))


@pytest.mark.parametrize("kind", ["wav 16", "wav of 8 channels", "wav at 192 kHz"])
def test_a_wav_of_a_recorder_that_was_killed_is_read_to_its_end(kind: str, tmp_path: Path) -> None:
    content = bytearray(FORMATS[kind])
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = bytes(4)
    np.testing.assert_allclose(audio.decode(bytes(content)), audio.decode(FORMATS[kind]), atol=1e-4)
    (tmp_path / "a.wav").write_bytes(content)
    np.testing.assert_array_equal(audio.decode(tmp_path / "a.wav"), audio.decode(bytes(content)))


def test_many_channels_come_in_shorter_blocks() -> None:
    seconds = [len(block) / audio.SAMPLE_RATE for block in audio.stream(recording(sound=voice(30.0), channels=16))]
    assert max(seconds) < 1
    assert sum(seconds) == pytest.approx(30.0)


def test_a_video_without_sound_is_unsupported() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        frame = av.VideoFrame(32, 32, "yuv420p")
        for part in [frame, None]:
            output.mux(stream.encode(part))
    with pytest.raises(UnsupportedAudio):
        audio.decode(file.getvalue())


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nobody\.wav"):
        audio.decode(tmp_path / "nobody.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_float_wav_with_values_that_are_not_finite_is_refused(bad: float) -> None:
    sound = voice(1.0)
    sound[5_000] = bad
    with pytest.raises(NotFinite):
        audio.decode(recording(sound=sound, subtype="FLOAT"))


def test_too_long_is_told_before_all_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    blocks = audio.blocks

    def counted(source: bytes | Path, reading: audio.Reading) -> Iterator[tuple[int, np.ndarray]]:
        for rate, block in blocks(source, reading):
            seen.append(len(block) / rate)
            yield rate, block

    monkeypatch.setattr(audio, "blocks", counted)
    content = recording(sound=np.tile(voice(1.0), 120))
    with pytest.raises(TooLarge, match="longer than 30 s"):
        audio.decode(content, max_seconds=30)
    assert sum(seen) < 60
    assert len(audio.decode(content, max_seconds=120)) == 120 * audio.SAMPLE_RATE


def test_a_rate_of_a_few_hertz_cannot_blow_up_the_memory() -> None:
    content = bytearray(recording())
    content[24:28] = (2).to_bytes(4, "little")
    with pytest.raises(UnsupportedAudio, match="2 Hz"):
        audio.decode(bytes(content))


def test_check_gives_float32_back() -> None:
    assert audio.check(voice(1.0).astype(np.float64)).dtype == np.float32
    assert audio.check((voice(1.0) * 32_767).astype(np.int16)).dtype == np.float32


@pytest.mark.parametrize("samples", [np.zeros((2, 8_000)), np.array("sound"), np.full(8_000, 1j), np.zeros(())])
def test_check_refuses_other_shapes_and_types(samples: np.ndarray) -> None:
    with pytest.raises(Unusable, match="one row of numbers"):
        audio.check(samples)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_check_refuses_what_is_not_finite(bad: float) -> None:
    samples = voice(1.0).astype(np.float64)
    samples[-1] = bad
    with pytest.raises(NotFinite):
        audio.check(samples)


@pytest.mark.parametrize("count", [0, 1, 6_399])
def test_less_than_the_least_is_told_with_its_length(count: int) -> None:
    with pytest.raises(UnusableAudio, match=r"at least 0\.4 s") as caught:
        audio.check(voice(1.0)[:count])
    assert caught.value.details["seconds"] == pytest.approx(count / 16_000, abs=1e-3)
    assert len(audio.check(voice(1.0)[:6_400])) == 6_400


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_silence_is_told_with_its_level_whatever_the_offset(level: float) -> None:
    with pytest.raises(UnusableAudio, match="silent") as caught:
        audio.check(np.full(16_000, level, np.float32))
    assert caught.value.details["level_db"] < -80


def test_a_quiet_voice_is_no_silence() -> None:
    audio.check(voice(1.0) * np.float32(0.01))


def test_absurd_values_are_refused() -> None:
    with pytest.raises(Unusable, match=r"\[-1, 1\]"):
        audio.check(voice(1.0) * np.float32(1e15))


@pytest.mark.parametrize(("rate", "seconds"), [(16_000, 1.0), (16_000, 25.3), (8_000, 12.0)])
def test_a_plain_wav_is_read_as_soundfile_reads_it(monkeypatch: pytest.MonkeyPatch, rate: int, seconds: float) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, int(rate * seconds), dtype=np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    quick = list(audio.stream(file.getvalue()))
    monkeypatch.setattr(decoding, "_plain_wav", lambda data: None)
    thorough = list(audio.stream(file.getvalue()))
    assert [len(block) for block in quick] == [len(block) for block in thorough]
    assert all(np.array_equal(one, other) for one, other in zip(quick, thorough, strict=True))
    assert {block.dtype for block in quick} == {np.dtype(np.float32)}


@pytest.mark.parametrize("cut", [1, 2, 1000])
def test_a_wav_that_is_not_plain_is_left_to_soundfile(cut: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16_000, np.int16), 16_000, format="WAV", subtype="PCM_16")
    assert decoding._plain_wav(file.getvalue()) is not None
    assert decoding._plain_wav(file.getvalue()[:-cut]) is None
    assert decoding._plain_wav(file.getvalue() + b"LIST") is None
    assert decoding._plain_wav(file.getvalue()[:44]) is None
    stereo = io.BytesIO()
    soundfile.write(stereo, np.zeros((100, 2), np.int16), 16_000, format="WAV", subtype="PCM_16")
    assert decoding._plain_wav(stereo.getvalue()) is None
