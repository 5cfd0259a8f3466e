"""What Flower is started with: its address, who may see it, and the path that it lies under."""

from __future__ import annotations

from speaker_tasks.addresses import is_public
from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings

TASKS = 500
"""Tasks that Flower remembers; its own choice, 100,000, takes some hundred megabytes."""


def arguments(settings: Settings) -> list[str]:
    """Flower's arguments. They are handed over within the process: no list of processes shows the password.

    Raises `ConfigurationError` for a public address without a password, and for entries that are none.
    """
    entries = users(settings)
    if not entries and not settings.open_to_all and is_public(settings.flower_host):
        raise ConfigurationError(
            f"SPEAKER_FLOWER_HOST={settings.flower_host} is a public address, and Flower can stop workers: set "
            "SPEAKER_FLOWER_AUTH=USER:PASSWORD, or SPEAKER_OPEN_TO_ALL=true to let anyone in"
        )
    given = [f"--address={settings.flower_host}", f"--port={settings.flower_port}", f"--max-tasks={TASKS}"]
    given += [f"--basic-auth={','.join(entries)}"] if entries else []
    prefix = settings.flower_path_prefix.strip("/")
    return given + ([f"--url-prefix={prefix}"] if prefix else [])


def users(settings: Settings) -> list[str]:
    """The entries `USER:PASSWORD` of the settings. Raises `ConfigurationError`, without showing any of them."""
    texts = [part.strip() for part in settings.flower_auth.split(",") if part.strip()]
    if settings.flower_auth_file is not None:
        try:
            lines = settings.flower_auth_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise ConfigurationError(f"SPEAKER_FLOWER_AUTH_FILE cannot be read: {error}") from None
        texts += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    for number, text in enumerate(texts, start=1):
        user, colon, password = text.partition(":")
        if not (user and colon and password) or "," in text:
            raise ConfigurationError(f"entry {number} of SPEAKER_FLOWER_AUTH is not USER:PASSWORD (without a comma)")
    return texts
