"""The client that blocks is made of the async one."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_committed_client_is_what_the_tool_makes() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "make_sync_client.py"))
    sdk = ROOT / "speaker_tasks" / "sdk"
    made = tool["sync_of"]((sdk / "async_client.py").read_text())
    assert made == (sdk / "sync_client.py").read_text(), "run python tools/make_sync_client.py"
