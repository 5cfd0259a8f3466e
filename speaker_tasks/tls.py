"""TLS to Redis: whose certificates are believed, and which one is shown."""

from __future__ import annotations

from typing import Any

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings


def tls_options(settings: Settings) -> dict[str, Any]:
    """Certificate options for redis-py, beside the URL. Raises `ConfigurationError` if there is no such file."""
    files = {
        "ssl_ca_certs": settings.redis_ca,
        "ssl_certfile": settings.redis_cert,
        "ssl_keyfile": settings.redis_key,
    }
    given = {name: path for name, path in files.items() if path is not None}
    for name, path in given.items():
        if not path.is_file():
            variable = {"ssl_ca_certs": "CA", "ssl_certfile": "CERT", "ssl_keyfile": "KEY"}[name]
            raise ConfigurationError(f"SPEAKER_REDIS_{variable}: there is no file {path}")
    if ("ssl_certfile" in given) != ("ssl_keyfile" in given):
        raise ConfigurationError("SPEAKER_REDIS_CERT and SPEAKER_REDIS_KEY belong together: set both, or none")
    return {name: str(path) for name, path in given.items()}
