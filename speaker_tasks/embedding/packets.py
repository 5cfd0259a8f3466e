"""PyAV's way of reading: packet by packet, past the bad ones, with an account of what could not be read."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from speaker_tasks.embedding.channels import mono
from speaker_tasks.embedding.containers import is_tag, mp3_frame_size
from speaker_tasks.embedding.fileparts import CUT_SHORT, Part
from speaker_tasks.embedding.reading import Reading
from speaker_tasks.errors import UnsupportedAudio

BLOCK_SECONDS = 10
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,wav,w64,aiff,caf,au,mp3,aac,flac,adts,loas,ac3,eac3,amr,asf,avi,flv,"
    "mpeg,mpegts,oma,wv,ape,tta"
)
"""What PyAV may open. No playlists (HLS, DASH, concat, SDP): they would make the decoder open other files."""
FRAMES_ONLY = frozenset({"mp3", "aac", "amr", "ac3", "eac3", "loas"})
"""Formats of nothing but frames, whose time stamps are counted by the reader: losses show in bytes only."""
PAUSES = frozenset({"matroska", "mov"})
"""Formats in which time may pass without packets, as when a microphone was muted."""
WITH_LENGTH = frozenset({"mov", "asf", "flac", "matroska", "ape", "wv", "tta"})
"""Formats whose header says how long the sound is."""
GAP_SECONDS = 0.015
"""Less than one packet of any codec; time stamps are rounded."""
LONGEST_GAP = 600.0
"""A jump of the time stamps beyond this is a clock that was set."""
TAIL_SECONDS = 0.15
"""What may be missing at the end: codecs pad and trim."""
OVERHEAD = 100
"""Bytes that may lie between two packets of a container, or behind the last."""
TS_PACKET = 188
"""Bytes of each packet of an MPEG transport stream."""
MOST_ERRORS = 1000
"""Errors in a row of the container after which it is given up."""
SEARCHED_SECONDS = 600.0
"""How far a track of several is searched for sound."""
AUDIBLE = 1e-4
"""The deviation above which a frame is not silent, -80 dBFS."""
LARGEST_BLOCK = 1_536_000
"""Samples a second, over all channels, that are taken: 192 kHz of 8 channels."""
LONGEST_PACKET = 1.0
"""Seconds that a packet is believed to hold at most: one that claims more stands before a gap, or is wrong."""
BAD_PACKETS, GAPS = "packets of it are damaged", "there are gaps in it"


class Unreadable(Exception):
    """This decoder cannot read it, or not on."""


def check_size(rate: int, channels: int) -> None:
    """Raise `UnsupportedAudio` for so many samples a second that decoding would take for ever."""
    if rate * channels > LARGEST_BLOCK:
        raise UnsupportedAudio(
            f"{channels} channels at {rate} Hz; rate times channels may be {LARGEST_BLOCK} at most: convert it first",
            rate=rate,
            channels=channels,
        )


def blocks(file: BinaryIO, part: Part, reading: Reading) -> Generator[tuple[int, np.ndarray]]:
    """Mono blocks of a recording with their rate; it begins where `reading`, which counts the losses, stands.

    Raises `Unreadable`, and `UnsupportedAudio` for a file without a sound track.
    """
    import av  # 60 ms, for the few recordings that libsndfile does not read

    try:
        with _opened(file, part) as container:
            tracks = len(container.streams.audio)
            if not tracks and container.streams.video:
                raise UnsupportedAudio("the file has no sound track, only pictures")
            if not tracks:
                raise Unreadable("no sound in it")
            order = _order(container)
            if tracks == 1:
                yield from _gathered(_Account(reading, container, order[0], file, part).pieces())
                return
        chosen = next((track for track in order if _is_audible(file, part, track)), order[0])
        reading.track, reading.tracks = chosen + 1, tracks
        with _opened(file, part) as container:
            yield from _gathered(_Account(reading, container, chosen, file, part).pieces())
    except (av.FFmpegError, OSError, ValueError) as error:
        raise Unreadable(str(error)) from error


def seconds_claimed(file: BinaryIO) -> float:
    """How long a recording is as its container tells; 0 where it tells nothing."""
    import av

    with suppress(OSError, ValueError, av.FFmpegError), _opened(file) as container:
        return max(0.0, float(container.duration or 0) / av.time_base)
    return 0.0


def seconds_held(file: BinaryIO, part: Part, enough: float) -> float:
    """How many seconds of sound the packets of a recording hold, which are counted and not decoded.

    Of the shortest track, where there are several. The count ends at `enough` seconds; 0 where PyAV cannot read it.
    """
    import av

    with suppress(OSError, ValueError, av.FFmpegError), _opened(file, part) as container:
        tracks = list(container.streams.audio)
        held = {track.index: 0.0 for track in tracks}
        longest = {track.index: _longest_packet(track) for track in tracks}
        for packet in container.demux(tracks) if tracks else ():
            if not packet.duration or packet.is_discard or packet.is_corrupt:
                continue
            number = packet.stream.index
            held[number] += min(float(packet.duration * packet.time_base), longest[number])
            if held[number] >= enough and min(held.values()) >= enough:
                break
        return min(held.values(), default=0.0)
    return 0.0


def _longest_packet(track: Any) -> float:
    """Seconds that a packet of a track holds at most: one frame, where all frames of the codec are equal."""
    codec = track.codec_context
    return codec.frame_size / codec.sample_rate if codec.frame_size and codec.sample_rate else LONGEST_PACKET


def _opened(file: BinaryIO, part: Part | None = None) -> Any:
    import av

    file.seek(0)
    options = {"format_whitelist": CONTAINERS}
    if part is not None and part.ignore_length:
        options["ignore_length"] = "1"
    # Always a file object, never a name: FFmpeg would take some names for URLs.
    return av.open(file, options=options)


def _order(container: Any) -> list[int]:
    """The sound tracks by their numbers, those that are marked as the default first."""
    tracks = container.streams.audio
    return sorted(range(len(tracks)), key=lambda number: not tracks[number].disposition.value & 1)


def _is_audible(file: BinaryIO, part: Part, track: int) -> bool:
    """Whether there is sound on a track, in its first minutes."""
    seconds = 0.0
    with _opened(file, part) as container:
        for rate, samples in _Account(Reading(), container, track, file, part).pieces():
            if float(samples.std(axis=0).max(initial=0.0)) > AUDIBLE:
                return True
            seconds += len(samples) / rate
            if seconds > SEARCHED_SECONDS:
                break
    return False


def _gathered(pieces: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces (T, C) of a packet each as mono blocks of up to ten seconds, the shorter the more channels there are."""
    held: list[np.ndarray] = []
    kind, count = (0, 0), 0
    for rate, samples in pieces:
        if (rate, samples.shape[1]) != kind or count >= max(1, rate * BLOCK_SECONDS // samples.shape[1]):
            if held:
                yield kind[0], mono(np.concatenate(held))
            check_size(rate, samples.shape[1])
            held, kind, count = [], (rate, samples.shape[1]), 0
        held.append(samples)
        count += len(samples)
    if held:
        yield kind[0], mono(np.concatenate(held))


class _Account:
    """Reads one track of an open container, and takes down in a `Reading` what is lost on the way."""

    def __init__(self, reading: Reading, container: Any, track: int, file: BinaryIO, part: Part) -> None:
        self._reading, self._container, self._file, self._part = reading, container, file, part
        self._begun_at, self._lost_before, self._first_loss = reading.seconds, reading.lost, len(reading.losses)
        self._track = container.streams.audio[track]
        self._kind = container.format.name.split(",")[0]
        self._size = part.end - part.start
        self._gap_fault = part.fault or GAPS
        self._converter: tuple[Any, Any] = (None, None)
        self._seconds = self._bytes = 0.0  # read so far
        self._expected: float | None = None  # the time at which the next frame should begin
        self._latest = 0.0  # the latest time of any track
        self._end: int | None = None  # the byte after the last packet
        self._hole = self._lost_bytes = 0
        self._suspect = 0  # frames for which a gap is taken for damage
        self._last = b""
        if self._kind == "flac":
            self._track.codec_context.options = {"err_detect": "crccheck+explode"}

    def pieces(self) -> Iterator[tuple[int, np.ndarray]]:
        """What each packet holds, (T, C) float32 with its rate."""
        import av

        for packet in self._packets():
            if packet.stream.index != self._track.index:
                continue
            self._bytes += packet.size
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._failed(packet.size)
                continue
            for frame in frames:
                samples = self._samples(frame)
                self._note_gap(frame)
                self._note_bytes()
                self._seconds += frame.samples / frame.sample_rate
                if len(samples):
                    yield frame.sample_rate, samples
        self._close()

    def _packets(self) -> Iterator[Any]:
        """The packets of all tracks, past errors of the container."""
        import av

        errors = 0
        while errors < MOST_ERRORS:
            try:
                for packet in self._container.demux():
                    errors = 0
                    self._arrived(packet)
                    yield packet
            except av.FFmpegError:
                errors += 1
                self._suspect = 4
                self._lose(0.0, BAD_PACKETS)
            else:
                return

    def _arrived(self, packet: Any) -> None:
        if packet.pos is not None and packet.size:
            if self._end is not None:
                hole = max(0, packet.pos - self._end)
                self._hole += hole
                if hole and self._kind in FRAMES_ONLY:
                    self._lost_bytes += hole
                    self._lose(0.0, BAD_PACKETS)
            self._end = max(self._end or 0, packet.pos + packet.size)
        if packet.pts is not None and packet.time_base:
            self._latest = max(self._latest, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if self._kind == "mp3" and packet.size:
            self._last = bytes(packet)[:4] + packet.size.to_bytes(4, "big")
        if packet.is_corrupt and not self._part.ignore_length:
            self._suspect = 4
            self._lose(0.0, CUT_SHORT if self._end and self._end >= self._size else BAD_PACKETS)

    def _failed(self, size: int) -> None:
        self._suspect = 4
        self._lose(0.0, BAD_PACKETS)
        if self._kind in FRAMES_ONLY:
            self._lost_bytes += size
            self._bytes -= size

    def _lose(self, seconds: float, fault: str) -> None:
        self._reading.lose(seconds, fault, self._begun_at + self._seconds)

    def _note_bytes(self) -> None:
        """Take down what the bytes are worth that were lost since the last time; they wait until that is clear."""
        if self._lost_bytes and self._seconds:
            self._lose(self._lost_bytes * self._seconds / self._bytes, BAD_PACKETS)
            self._lost_bytes = 0

    def _note_gap(self, frame: Any) -> None:
        """Take down what is lost before a frame, by its time stamp."""
        seconds = frame.samples / frame.sample_rate
        if frame.pts is None or self._kind in FRAMES_ONLY:
            self._expected = None if self._expected is None else self._expected + seconds
            return
        at = float(frame.pts * frame.time_base)
        gap = 0.0 if self._expected is None else at - self._expected
        self._expected = at + seconds
        self._latest = max(self._latest, self._expected)
        is_loss = self._kind not in PAUSES or self._suspect > 0 or self._hole > OVERHEAD
        self._suspect, self._hole = max(0, self._suspect - 1), 0
        if GAP_SECONDS < gap < LONGEST_GAP and is_loss:
            self._suspect = 0
            self._lose(gap, self._gap_fault)
        elif -LONGEST_GAP < gap < -GAP_SECONDS:  # a broken packet seemed longer than it was
            self._reading.regain(-gap, self._first_loss)

    def _samples(self, frame: Any) -> np.ndarray:
        """A frame as (T, C) float32. Packed, never planar: PyAV reads past the pointers of eight and more planes."""
        import av

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._converter[0] != kind:  # also in the middle: joined recordings change their rate
            self._converter = kind, av.AudioResampler("flt", frame.layout, frame.sample_rate)
        parts = [part.to_ndarray().reshape(-1, part.layout.nb_channels) for part in self._converter[1].resample(frame)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _close(self) -> None:
        """What is missing at the end: by the header's length, by bytes that are no packet, by a last frame cut off."""
        self._note_bytes()
        promised, lost = self._promised(), self._reading.lost - self._lost_before
        if self._kind == "ogg" and self._track.duration:  # its last page tells what all pages together hold
            most = float(self._track.duration * self._track.time_base) - self._seconds
            self._reading.regain(lost - max(0.0, most), self._first_loss)
        end = self._seconds + lost if self._kind in FRAMES_ONLY else self._latest
        if promised and promised - end > TAIL_SECONDS:
            self._lose(promised - end, BAD_PACKETS if lost else CUT_SHORT)
        left = self._size - (self._end or 0)
        slack = 0 if self._kind in FRAMES_ONLY else OVERHEAD if self._kind == "matroska" and not promised else left
        if left > slack and not lost:
            self._file.seek(self._end or 0)
            if not is_tag(self._file.read(32)):
                self._lose(left * self._seconds / self._bytes if self._bytes else 0.0, CUT_SHORT)
        is_cut = self._kind == "mpegts" and self._size % TS_PACKET
        if is_cut or mp3_frame_size(self._last[:4]) > int.from_bytes(self._last[4:], "big"):
            self._lose(0.0, CUT_SHORT)

    def _promised(self) -> float:
        """When the sound ends by what the header says; 0 if it does not say."""
        start, base = self._track.start_time or 0, self._track.time_base
        if self._kind in WITH_LENGTH and self._track.duration:
            return float((start + self._track.duration) * base)
        if (self._kind == "matroska" or self._part.has_length) and self._container.duration:
            return self._container.duration / 1e6 + max(0, self._container.start_time or 0) / 1e6
        return 0.0
