"""What a file's own bytes say: where recordings begin in it, how much of them is missing, whom to let read them.

Headers are claims. A recorder that was killed, a pipe, a cut-off download and files joined end to end all leave headers
that are wrong, and a decoder that believes them gives a part of the sound without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from speaker_tasks.embedding import ogg
from speaker_tasks.embedding.fileparts import CUT_SHORT, LONGEST_MARK, Part, bytes_at, places_of

UNKNOWN_SIZE = 0x7FFF0000
"""Lengths in WAV headers from here on say "not known yet": 0xFFFFFFFF, 0x7FFFFFFF and their like."""
_SYNC = re.compile(rb"\xff[\xe0-\xfe]")
_ID3 = re.compile(rb"ID3[\x02-\x04][\x00-\x0f].[\x00-\x7f]{4}", re.DOTALL)
_XING = rb"\xff[\xe2-\xfb]..(?:.{9}|.{17}|.{32})(?:Xing|Info)\x00\x00\x00[\x00-\x0f]"
_MP3 = re.compile(_ID3.pattern + rb"|" + _XING, re.DOTALL)
_RIFF = re.compile(rb"(?:RIFF|RIFX|RF64|BW64)....WAVE", re.DOTALL)
_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_FORM = re.compile(rb"FORM....AIF[FC]", re.DOTALL)
_MP4 = re.compile(rb"\x00\x00[\x00\x01].ftyp[ -~]{4}", re.DOTALL)
_MARKS: tuple[tuple[re.Pattern[bytes], bool], ...] = (
    (_FORM, True),
    (re.compile(rb"caff\x00\x01\x00\x00"), True),
    (re.compile(rb"#!AMR(?:-WB)?\n"), False),
    (re.compile(rb"\x1aE\xdf\xa3.{1,60}?(?:webm|matroska)", re.DOTALL), False),
    (re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"), False),
    (_MP4, False),
    (re.compile(rb"\.snd\x00\x00.{6}\x00\x00\x00[\x01-\x1b]", re.DOTALL), True),
    (re.compile(rb"RIFF....AVI LIST", re.DOTALL), False),
    (re.compile(rb"TTA1[\x01-\x03]\x00"), False),
)
"""How recordings of a kind begin, wherever in a file, and whether libsndfile may read them."""
_TAGS = (
    *(b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"3DI"),
    *(b"\x1cS\xbbk", b"\x12T\xc3g", b"\x11M\x9bt", b"\xec"),  # of Matroska: cues, tags, an index, void
)
_KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
"""Bit rates of MPEG layer III, version 1 and the later ones."""


def survey(file: BinaryIO) -> list[Part]:
    """The recordings in a file that can be sought in, in order; all of its bytes belong to one of them."""
    size = file.seek(0, 2)
    head = bytes_at(file, 0, LONGEST_MARK)
    if _RIFF.match(head):
        return list(_riff(file, size))
    if head.startswith(b"OggS"):
        return list(ogg.links(file, size))
    tag = _tag_size(head)
    behind_tag = bytes_at(file, tag, 16) if tag else head
    if _FLAC.match(behind_tag):
        return [replace(part, by_soundfile=_has_total(file, part)) for part in _split(file, size, _FLAC, b"fLaC")]
    if tag or _SYNC.match(head):
        return [_mpeg(file, part) for part in _split(file, size, _MP3)]
    for mark, by_soundfile in _MARKS:
        if mark.match(head):
            return [_measured(file, replace(part, by_soundfile=by_soundfile)) for part in _split(file, size, mark)]
    return [_measured(file, Part(0, size))]


def _split(file: BinaryIO, size: int, mark: re.Pattern[bytes], beginning: bytes = b"") -> list[Part]:
    """The file, cut where the mark stands again."""
    starts = [0]
    for place in list(places_of(file, mark, 0, size, beginning=beginning)):
        first = place <= starts[-1] + _tag_size(bytes_at(file, starts[-1], 10))
        if not first and (mark is not _MP3 or _begins_sound(file, place)):
            starts.append(place)
    return [Part(start, end) for start, end in zip(starts, [*starts[1:], size], strict=True)]


# RIFF: chunks, of which one holds the sound


def _riff(file: BinaryIO, size: int) -> Iterator[Part]:
    start = 0
    while start < size:
        part = _wave(file, start, size)
        yield part
        start = part.end


def _wave(file: BinaryIO, start: int, size: int) -> Part:
    """The WAV file that begins at `start`."""
    order = "big" if bytes_at(file, start, 4) == b"RIFX" else "little"
    place, long_size = start + 12, 0
    while place + 8 <= size:
        header = bytes_at(file, place, 8 + 16)
        name, count = header[:4], int.from_bytes(header[4:8], order)  # type: ignore[arg-type]
        if name == b"ds64":
            long_size = int.from_bytes(header[16:24], "little")
        elif name == b"data":
            has_size = count < UNKNOWN_SIZE or long_size
            return _wave_data(file, Part(start, size), place + 8, (long_size or count) if has_size else None)
        place += 8 + count + count % 2
    return Part(start, size)


def _wave_data(file: BinaryIO, part: Part, data: int, promised: int | None) -> Part:
    """The WAV file whose sound begins at `data` and, as it says, has so many bytes; None: it does not say."""
    if promised is None:
        return replace(part, end=_next_riff(file, data, part.end))  # libsndfile reads on to the end then
    if promised > part.end - data:
        end = _next_riff(file, data, part.end)
        return replace(part, end=end, missing=promised - (end - data), fault=CUT_SHORT)
    chunks_end = _chunks_end(file, data + promised, part.end)
    if chunks_end is not None and (promised or chunks_end <= data + 1):
        return replace(part, end=chunks_end)
    end = _next_riff(file, data + promised, part.end)
    return replace(part, end=end, by_soundfile=False, ignore_length=True)


def _chunks_end(file: BinaryIO, place: int, size: int) -> int | None:
    """Where the chunks after the sound end: at the next RIFF or the file's end; None if there are no chunks."""
    if size - place <= 1 or (size - place <= 4096 and is_tag(bytes_at(file, place, 4096))):
        return size
    return _chunks(file, place, size) or (_chunks(file, place + 1, size) if place % 2 else None)


def _chunks(file: BinaryIO, place: int, size: int) -> int | None:
    while place < size - 1:
        header = bytes_at(file, place, 12)
        if _RIFF.match(header):
            return place
        count = int.from_bytes(header[4:8], "little")
        if len(header) < 8 or not all(32 <= value < 127 for value in header[:4]) or place + 8 + count > size + 1:
            return None
        place += 8 + count + count % 2
    return size


def _next_riff(file: BinaryIO, start: int, size: int) -> int:
    return next(places_of(file, _RIFF, start, size), size)


# MPEG: frames without a header for the whole, but for a first frame that may say how many follow


def _tag_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that stands first; 0 if there is none."""
    if not _ID3.match(head):
        return 0
    size = 0
    for value in head[6:10]:
        size = size << 7 | value
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _begins_sound(file: BinaryIO, place: int) -> bool:
    """Whether sound, perhaps behind an ID3v2 tag, begins there, as at the beginning of a recording."""
    return bool(_SYNC.match(bytes_at(file, place + _tag_size(bytes_at(file, place, 10)), 2)))


def _mpeg(file: BinaryIO, part: Part) -> Part:
    """MP3 is libsndfile's where its first frame tells the number of bytes, and they are there; AAC is PyAV's."""
    frame = part.start + _tag_size(bytes_at(file, part.start, 10))
    head = bytes_at(file, frame, 200)
    at = max(head.find(b"Xing"), head.find(b"Info"))
    if not _SYNC.match(head) or at < 0:
        return replace(part, by_soundfile=False)
    flags = int.from_bytes(head[at + 4 : at + 8], "big")
    if flags & 3 != 3:
        return replace(part, by_soundfile=False, has_length=bool(flags & 1))
    end = frame + int.from_bytes(head[at + 12 : at + 16], "big")
    part = replace(part, has_length=end >= part.end or is_tag(bytes_at(file, end, 32)))
    return replace(part, by_soundfile=end == part.end or (end < part.end and is_tag(bytes_at(file, end, 32))))


def is_tag(behind: bytes) -> bool:
    """Whether what stands behind the sound is a tag, or nothing."""
    return behind.startswith(_TAGS) or not behind.strip(b"\0")


def mp3_frame_size(header: bytes) -> int:
    """Bytes of the MP3 frame with this header of four bytes; 0 if it is none of layer III."""
    if len(header) < 4 or not _SYNC.match(header) or header[1] & 6 != 2:
        return 0
    first = header[1] & 0x18 == 0x18
    rate = (44_100, 48_000, 32_000, 0)[header[2] >> 2 & 3] >> {0x18: 0, 0x10: 1}.get(header[1] & 0x18, 2)
    kbits = _KBITS[first][header[2] >> 4]
    return (144 if first else 72) * kbits * 1000 // rate + (header[2] >> 1 & 1) if rate else 0


# Others


def lacks_index(file: BinaryIO) -> bool:
    """Whether it is an MP4 file without the index (`moov`) that its writer leaves for the end."""
    size = file.seek(0, 2)
    return bool(_MP4.match(bytes_at(file, 0, 16))) and not any(places_of(file, re.compile(b"moov"), 0, size))


def _has_total(file: BinaryIO, part: Part) -> bool:
    """Whether a FLAC file says how many samples it has: one written to a pipe does not."""
    info = bytes_at(file, part.start + _tag_size(bytes_at(file, part.start, 10)) + 8, 34)
    return bool(int.from_bytes(info[13:18], "big") & 0xFFFFFFFFF)


def _measured(file: BinaryIO, part: Part) -> Part:
    """The part with what its header promises beyond its end: AIFF, AU, W64."""
    head, count = bytes_at(file, part.start, 40), part.end - part.start
    promised = 0
    if _FORM.match(head):
        promised = 8 + int.from_bytes(head[4:8], "big")
        promised = 0 if promised >= UNKNOWN_SIZE else promised
    elif head.startswith(b".snd"):
        size = int.from_bytes(head[8:12], "big")
        promised = 0 if size >= UNKNOWN_SIZE else int.from_bytes(head[4:8], "big") + size
    elif head.startswith(b"riff\x2e\x91\xcf\x11"):
        promised = int.from_bytes(head[16:24], "little")
    if promised > count + 1:
        return replace(part, missing=promised - count, fault=CUT_SHORT)
    return part
