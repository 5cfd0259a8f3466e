"""Which files are recordings: by their endings, and where these say nothing by their first bytes.

The one list of what is taken for a recording in a folder, an archive, behind a URL and on the command line: what
`embedding.packets.CONTAINERS` opens.
"""

from __future__ import annotations

import re
from pathlib import Path

SUFFIXES = frozenset(
    {
        *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd"),
        *(".flac", ".ogg", ".oga", ".opus", ".spx", ".mp3", ".mp2", ".mpga", ".aac", ".ac3", ".amr", ".awb"),
        *(".m4a", ".m4b", ".m4r", ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3gpp", ".3g2", ".f4a", ".f4v"),
        *(".webm", ".weba", ".mka", ".mkv", ".ogv", ".wma", ".wmv", ".asf", ".avi", ".flv"),
        *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wv", ".ape", ".tta"),
    }
)
OTHERS = frozenset({".txt", ".csv", ".json", ".xml", ".rttm", ".md", ".log", ".lab", ".textgrid", ".srt", ".vtt"})
"""Endings of text, which lies beside recordings: not worth a look."""
_BEGINNINGS = re.compile(
    rb"RIFF....WAVE|RF64|fLaC|OggS|ID3[\x02-\x04]|FORM....AIF[FC]|caff|#!AMR|\x1aE\xdf\xa3"
    rb"|....ftyp(?:iso|mp4|M4|3g|qt  |dash|f4)|\x30\x26\xb2\x75\x8e\x66\xcf\x11|\.snd\x00|\xff[\xfb\xf3\xf2\xf1\xf9]",
    re.DOTALL,
)


def by_name(name: str) -> bool:
    """Whether a file is a recording by its ending."""
    return Path(name).suffix.lower() in SUFFIXES


def is_recording(path: Path) -> bool:
    """Whether a file is one by its ending, or, if that is unknown, by its first bytes."""
    if by_name(path.name):
        return True
    if path.suffix.lower() in OTHERS:
        return False
    try:
        with path.open("rb") as file:
            return _BEGINNINGS.match(file.read(16)) is not None
    except OSError:
        return False
