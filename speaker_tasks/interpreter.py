"""Python's own patch level: archives, workbooks and bank files of strangers are read by its standard library."""

from __future__ import annotations

import sys

LEAST = {(3, 11): 14, (3, 12): 12, (3, 13): 10}
"""The patch of each version that has the fixes of autumn 2025: tarfile's offsets without end, zipfile's second
directory (CVE-2025-8291) and expat 2.7.3 (CVE-2025-59375). Newer versions began with them."""


def outdated(version: tuple[int, int, int] | None = None) -> str:
    """What is missing in this Python, or another, in one line; nothing if nothing is."""
    major, minor, patch = version or sys.version_info[:3]
    least = LEAST.get((major, minor), 0)
    if patch >= least:
        return ""
    return (
        f"Python {major}.{minor}.{patch} lacks fixes of tarfile, zipfile and expat, which read what others send: "
        f"{major}.{minor}.{least} has them (a distribution may have added them to an older number)"
    )
