"""Make the blocking HTTP client of the async one, word by word: `python tools/make_sync_client.py`.

The two differ in `await`, and in what they sleep and connect with. A test sees to it that the file is what this makes.
"""

from __future__ import annotations

import re
from pathlib import Path

SDK = Path(__file__).resolve().parents[1] / "speaker_tasks" / "sdk"
HEADER = '"""The HTTP client of `/v1` that blocks. Made of `async_client.py` by `tools/make_sync_client.py`."""\n'
WORDS = {
    r"\bAsync(SpeakerTasks|Client)\b": r"\1",
    r"\bbetween tasks\b": "between threads",
    r"\basyncio\.sleep\b": "time.sleep",
    r"\baclose\b": "close",
    r"\b__a(enter|exit)__\b": r"__\1__",
    r"\b(async|await) ": "",
    r"^import asyncio\n": "",
}


def sync_of(source: str) -> str:
    """The module that blocks, of the text of the async one."""
    text = source[source.index('"""\n') + 4 :]
    for pattern, word in WORDS.items():
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return HEADER + text


if __name__ == "__main__":
    (SDK / "sync_client.py").write_text(sync_of((SDK / "async_client.py").read_text()))
