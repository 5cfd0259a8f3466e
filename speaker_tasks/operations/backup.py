"""Backup and restore of banks with their versions and settings, the active mode and the audit log.

The file is a zip: `backup.json` describes it, and each key of Redis is one member, in a form of our own that no
version of Redis changes. It has no recordings, running jobs, cached vectors or rate limits.
"""

from __future__ import annotations

import importlib.metadata
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import redis

from banks.store import BankStore
from speaker_tasks.errors import Conflict, Malformed, NotFound, Unavailable

FORMAT = 1
ABOUT, KEYS = "backup.json", "api-keys.txt"
PATTERNS = ("speaker:bank*", "speaker:calibration:*", "speaker:mode", "speaker:loaded:*", "speaker:audit")
TRIES = 5
BATCH = 500
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class About:
    """A backup's description."""

    format: int
    program: str
    """The version that wrote it."""
    made: str
    """ISO 8601, UTC."""
    banks: tuple[str, ...]
    members: dict[str, dict[str, str]]
    """Name in the zip -> `key` and `kind` (string, hash, set, stream)."""


def back_up(client: redis.Redis, path: Path, *, keys: str = "") -> About:
    """Write a backup; `keys` is the text of the API keys' file, hashed as it is. Raises `Unavailable`.

    The file appears whole or not at all. If keys change meanwhile, they are read again.
    """
    store, part = BankStore(client), path.with_name(f"{path.name}.part")
    try:
        for _ in range(TRIES):
            token = client.get(store.token_key)
            about = _write(client, store, part, keys)
            if client.get(store.token_key) == token:
                part.chmod(0o600)
                part.replace(path)
                return about
    finally:
        part.unlink(missing_ok=True)
    raise Unavailable("the banks change faster than they can be read; try again later", retry_after=60)


def restore(client: redis.Redis, path: Path, *, replace: bool = False) -> About:
    """Put a backup's banks into Redis, in one step. Raises `NotFound`, `Malformed` for a file that is none.

    Raises `Conflict` if there are banks, unless they are to be replaced: all of them then.
    """
    about = describe(path)
    present = BankStore(client).names()
    if present and not replace:
        raise Conflict(f"there are banks already: {', '.join(present)}; --replace deletes them first", banks=present)
    with zipfile.ZipFile(path) as file, client.pipeline(transaction=True) as pipe:
        for key in _keys(client):
            pipe.unlink(key)
        for name, member in about.members.items():
            _put(pipe, member["key"], member["kind"], list(_parts(file.read(name))))
        BankStore(client).touch(pipe)
        pipe.execute()
    return about


def describe(path: Path) -> About:
    """A backup's description. Raises `NotFound`, `Malformed`."""
    try:
        with zipfile.ZipFile(path) as file:
            if damaged := file.testzip():
                raise Malformed(f"{path} is damaged: {damaged}")
            about = orjson.loads(file.read(ABOUT))
    except FileNotFoundError:
        raise NotFound(f"there is no {path}", path=str(path)) from None
    except (zipfile.BadZipFile, KeyError, orjson.JSONDecodeError, OSError) as error:
        raise Malformed(f"{path} is no backup of this service: {error}") from None
    if about.get("format") != FORMAT:
        raise Malformed(f"{path} has the format {about.get('format')!r}; {FORMAT} is read here: update speaker-tasks")
    return About(**about | {"banks": tuple(about["banks"])})


def api_keys(path: Path) -> str:
    """The entries of API keys that a backup holds; nothing if there were none."""
    with zipfile.ZipFile(path) as file:
        return file.read(KEYS).decode() if KEYS in file.namelist() else ""


def _write(client: redis.Redis, store: BankStore, part: Path, keys: str) -> About:
    members: dict[str, dict[str, str]] = {}
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for number, key in enumerate(_keys(client)):
            kind = str(client.type(key), "ascii")  # type: ignore[arg-type]
            if kind == "none" or client.ttl(key) != -1:  # a version that is being written
                continue
            name = f"data/{number:06d}"
            members[name] = {"key": key, "kind": kind}
            with file.open(name, "w", force_zip64=True) as member:
                for value in _values(client, key, kind):
                    member.write(_LENGTH.pack(len(value)) + value)
        version = importlib.metadata.version("speaker-tasks")
        about = About(FORMAT, version, datetime.now(UTC).isoformat(timespec="seconds"), tuple(store.names()), members)
        file.writestr(ABOUT, orjson.dumps(asdict(about), option=orjson.OPT_INDENT_2))
        if keys:
            file.writestr(KEYS, keys)
    return about


def _keys(client: redis.Redis) -> list[str]:
    keys = {key.decode() for pattern in PATTERNS for key in client.scan_iter(pattern, count=1000)}
    return sorted(keys)


def _values(client: Any, key: str, kind: str) -> Iterator[bytes]:
    match kind:
        case "string":
            yield client.get(key) or b""
        case "set":
            yield from sorted(client.sscan_iter(key))
        case "hash":
            for field, value in client.hscan_iter(key, count=BATCH):
                yield from (field, value)
        case "stream":
            last = "-"
            while page := client.xrange(key, min=last, count=BATCH):
                for entry, fields in page:
                    parts = [one.decode(errors="replace") for pair in fields.items() for one in pair]
                    yield from (entry, orjson.dumps(parts))
                last = f"({page[-1][0].decode()}"
        case _:
            raise Malformed(f"{key} is a {kind}, which no backup knows")


def _put(pipe: redis.client.Pipeline, key: str, kind: str, values: list[bytes]) -> None:
    pairs = [values[at : at + 2] for at in range(0, len(values), 2)]
    match kind:
        case "string":
            pipe.set(key, values[0])
        case "set":
            pipe.sadd(key, *values)
        case "hash":
            for at in range(0, len(values), 2 * BATCH):
                pipe.hset(key, items=values[at : at + 2 * BATCH])
        case "stream":
            for entry, parts in pairs:
                fields: list[Any] = orjson.loads(parts)
                pipe.xadd(key, dict(zip(fields[::2], fields[1::2], strict=True)), id=entry)
        case _:
            raise Malformed(f"{key} is a {kind}, which no backup knows")


def _parts(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        yield data[at : at + length]
        at += length
