"""Signals that end the launcher go through its clean-up."""

from __future__ import annotations

import signal


def stop_cleanly_on_sigterm() -> None:
    """Make SIGTERM and SIGHUP end the process as Ctrl-C does: through the clean-up."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
