"""Python's own patch level."""

from __future__ import annotations

import sys

from speaker_tasks.interpreter import LEAST, outdated


def test_an_old_patch_is_named_with_the_one_to_have() -> None:
    assert "3.12.12" in outdated((3, 12, 3))
    assert not outdated((3, 12, 12))
    assert not outdated((3, 14, 0))
    least = LEAST.get(sys.version_info[:2], 0)
    assert bool(outdated()) == (sys.version_info[2] < least)
