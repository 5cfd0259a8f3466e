"""Snapshots: each bank's newest version as one npz file, on disk or behind any `fsspec` URL."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import fsspec

from banks.bank import Bank
from banks.npz import read_npz_from, write_npz_to
from banks.store import BankStore
from speaker_tasks.errors import Conflict, SpeakerTasksError


class SnapshotFailed(SpeakerTasksError):
    """A snapshot could not be written, read or removed; the bank in Redis is as it should be."""

    status, code, exit_status = 500, "snapshot_failed", 5


class Snapshots:
    """One file a bank below `root`, a folder or an `fsspec` URL (`s3://bucket/banks`). A file is replaced whole."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self._files, self._folder = fsspec.core.url_to_fs(self.root)
        self._local = "file" in self._files.protocol

    def names(self) -> list[str]:
        """The banks that have a snapshot. Raises `SnapshotFailed`."""
        try:
            paths = self._files.ls(self._folder, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._failed("listed", error) from error
        names = (path.rsplit("/", 1)[-1] for path in paths)
        return sorted(unquote(name[: -len(".npz")]) for name in names if name.endswith(".npz") and name[0] != ".")

    def save(self, bank: Bank) -> str:
        """Write the bank's file, beside the old one first; gives its place. Raises `SnapshotFailed`."""
        path = self._path(bank.name)
        part = f"{self._folder}/.{uuid.uuid4().hex}.part"
        data = io.BytesIO()
        write_npz_to(data, bank)
        try:
            self._files.makedirs(self._folder, exist_ok=True)
            self._write(part, data.getvalue())
            self._files.mv(part, path)
        except Exception as error:
            self._discard(part)
            raise self._failed("written", error) from error
        return path

    def read(self, name: str, *, model: str = "") -> Bank:
        """The bank of a snapshot. Raises `SnapshotFailed`, and what reading a bank file raises."""
        try:
            with self._files.open(self._path(name), "rb") as file:
                data = io.BytesIO(file.read())
        except Exception as error:
            raise self._failed("read", error) from error
        return read_npz_from(data, self._path(name), model=model)

    def remove(self, name: str) -> None:
        """Remove a bank's file; none is no error. Raises `SnapshotFailed`."""
        try:
            if self._files.exists(self._path(name)):
                self._files.rm_file(self._path(name))
        except Exception as error:
            raise self._failed("removed", error) from error

    def restore(self, store: BankStore) -> list[str]:
        """Put the snapshots of banks that the store does not have into it; gives their names.

        Raises `SnapshotFailed`, and what reading a bank file raises.
        """
        return list(self._restored(store))

    def _restored(self, store: BankStore) -> Iterator[str]:
        have = set(store.names())
        for name in self.names():
            if name in have:
                continue
            try:
                store.put(name, self.read(name), expect_version=0)
            except Conflict:
                continue  # another process that starts now was first
            yield name

    def _write(self, path: str, data: bytes) -> None:
        with self._files.open(path, "wb") as file:
            file.write(data)
            file.flush()
            if self._local:
                os.fsync(file.fileno())

    def _discard(self, part: str) -> None:
        try:
            if self._files.exists(part):
                self._files.rm_file(part)
        except Exception:
            return  # what made the write fail may make this fail as well

    def _path(self, name: str) -> str:
        return f"{self._folder}/{quote(name, safe=' ')}.npz"

    def _failed(self, done: str, error: Exception) -> SnapshotFailed:
        return SnapshotFailed(f"snapshots in {self.root} cannot be {done}: {error}", snapshots=self.root)
