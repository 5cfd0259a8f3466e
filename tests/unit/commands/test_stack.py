"""Commands that run processes on this machine."""

from __future__ import annotations

import pytest

from speaker_tasks import celery_app
from speaker_tasks.commands import stack
from speaker_tasks.settings import Settings


@pytest.mark.parametrize(("given", "address"), [({}, "127.0.0.1"), ({"flower_host": "0.0.0.0"}, "0.0.0.0")])
def test_flower_has_no_password_and_stays_here_unless_it_is_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], address: str
) -> None:
    settings = Settings(redis_url="redis://127.0.0.1:1/0", host="0.0.0.0", **given)  # type: ignore[arg-type]
    told: list[str] = []

    class Celery:
        def start(self, argv: list[str]) -> None:
            told.extend(argv)

    monkeypatch.setattr(stack, "connected_settings", lambda: settings)
    monkeypatch.setattr(celery_app, "make_celery", lambda _: Celery())
    stack.flower()
    assert f"--address={address}" in told
