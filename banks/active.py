"""The mode of the first server: which bank is the current one, for every web process and every worker.

A mode is `all`, `custom`, or a bank's name; `moring` (spelled so) also answers to `morning`. `all` is the union of the
npz banks that the settings name, `ai` first, and with none configured of all banks there are. The mode and the banks
are read from Redis only when the token there moved, so that `get` costs one round trip. A bank of another model than
the workers' is left out of `all`, and `left_out` says so: one file must not stop every question that names no bank.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from banks.bank import EMBEDDING_SIZE, Bank, misfit, union
from banks.index import IndexRules, prepare
from banks.names import ALIASES, ALL, CUSTOM
from banks.npz import read_npz
from banks.store import BankStore
from speaker_tasks.errors import Conflict, NotFound, Unusable


class ActiveMode:
    """The current mode and its bank. Thread-safe; one a process is enough."""

    def __init__(
        self,
        store: BankStore,
        *,
        ai: Path | None = None,
        moring: Path | None = None,
        legacy_model: str = "vgg",
        size: int = EMBEDDING_SIZE,
        index: IndexRules | None = None,
        model: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`model` gives the id of the model that the workers run; None while it is not known."""
        self._store, self._size, self._legacy_model, self._index = store, size, legacy_model, index
        self._files = {name: path for name, path in (("ai", ai), ("moring", moring)) if path is not None}
        self._mode_key = f"{store.prefix}mode"
        self._lock = threading.Lock()
        self._model = model
        self._seen: tuple[bytes, str | None] | None = None
        """The token and the model that what follows was read for."""
        self._found: dict[str | None, tuple[str, Bank]] = {}
        """What was asked for since the token moved; None is the current mode."""
        self._banks: dict[str, tuple[str, Bank]] = {}
        self._left_out: dict[str, str] = {}
        self._members: tuple[str, ...] = ()

    def load_files(self) -> list[str]:
        """Put the npz banks that the settings name into Redis, once for each content of the file; gives their names.

        A bank that was changed since stays as it is until its file changes. Raises what `read_npz` raises.
        """
        changed = []
        for name, path in self._files.items():
            loaded = f"{self._store.prefix}loaded:{name}"
            bank = read_npz(path, model=self._legacy_model)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if self._store.redis.get(loaded) == digest.encode() and name in self._store.names():
                continue
            before = self._store.version(name) if name in self._store.names() else 0
            try:
                self._store.put(name, bank, expect_version=before)
            except Conflict:
                continue  # another process that starts now was first with the same file
            self._store.redis.set(loaded, digest)
            changed.append(name)
        return changed

    def token(self) -> bytes:
        """Moves with every change of a bank or of the mode; one small round trip."""
        return self._store.redis.get(self._store.token_key) or b"0"  # type: ignore[return-value]

    def get(self, token: bytes | None = None) -> tuple[str, Bank]:
        """The mode and its bank; `token` spares the look at it, for whoever has just seen it.

        Raises `NotFound` if the mode's bank was deleted.
        """
        return self.bank(None, token)

    def bank(self, name: str | None = None, token: bytes | None = None) -> tuple[str, Bank]:
        """The bank of a name or of a mode, and the name; the current mode's without one. Raises as `get`."""
        seen = self.token() if token is None else token, self._model()
        with self._lock:
            if seen != self._seen:
                self._found, self._seen = {}, seen
            if name not in self._found:
                mode = self.mode() if name is None else self._mode_of(name)
                self._found[name] = mode, self._indexed(self._bank(mode))
            return self._found[name]

    def left_out(self, name: str) -> dict[str, str]:
        """The banks that are missing in the bank or mode `name` as it was read last, each with the reason."""
        return dict(self._left_out) if name == ALL else {}

    def members(self, name: str) -> list[str]:
        """The banks that the bank or mode `name` was made of when it was read last."""
        return list(self._members) if name == ALL else [name]

    @staticmethod
    def is_mode(name: str) -> bool:
        """Whether it is one of the first server's names for what is no bank of its own."""
        return name == ALL or name in ALIASES

    def mode(self) -> str:
        """The mode's name; `all` until someone sets another."""
        stored = self._store.redis.get(self._mode_key)
        return stored.decode() if stored else ALL  # type: ignore[union-attr]

    def set_mode(self, name: str) -> tuple[str, Bank]:
        """Make `name` the mode of all processes. Raises `NotFound`, naming the modes there are, and changes nothing."""
        names, mode = self._store.names(), self._mode_of(name)
        if mode != ALL and mode not in names:
            modes = [ALL, *names]
            raise NotFound(f"there is no mode {name!r}; there is {', '.join(modes)}", known=modes)
        with self._lock:
            bank = self._bank(mode)
        self._set(mode)
        return mode, bank

    def set_custom(
        self, labels: Sequence[str], vectors: Sequence[Sequence[float]] | np.ndarray, model: str
    ) -> tuple[str, Bank]:
        """Make a list of the caller's own the mode `custom`.

        Raises `Unusable` or `NotFinite` for an empty list, labels that are not text, or vectors that are not
        (labels, size); nothing is changed then.
        """
        if not len(labels):
            raise Unusable("the list is empty: at least one label and its vector are wanted")
        wrong = next((label for label in labels if not isinstance(label, str)), None)
        if wrong is not None:
            raise Unusable(f"labels are text; got {wrong!r}")
        bank = Bank(tuple(labels), np.asarray(_table(vectors)), model=model, name=CUSTOM, source="ModifyFeatsCustom")
        if bank.size != self._size:
            raise Unusable(f"vectors of {bank.size} values; {self._size} are wanted", size=bank.size, wanted=self._size)
        self._store.put(CUSTOM, bank)
        self._set(CUSTOM)
        return CUSTOM, bank

    def forget(self, name: str) -> bool:
        """Go back to the default mode if it is the bank `name`, which was deleted; says whether it was."""
        if self.mode() != name:
            return False
        self._set(ALL)
        return True

    def reset(self) -> tuple[str, Bank]:
        """Back to the default mode, `all`."""
        return self.set_mode(ALL)

    def _mode_of(self, name: str) -> str:
        """A bank may have the name of an alias; then it is meant."""
        return name if name not in ALIASES or name in self._store.names() else ALIASES[name]

    def _set(self, mode: str) -> None:
        with self._store.redis.pipeline(transaction=True) as pipe:
            pipe.set(self._mode_key, mode)
            self._store.touch(pipe)
            pipe.execute()

    def _bank(self, mode: str) -> Bank:
        if mode != ALL:
            return self._fresh(mode)
        names = list(self._files) or [name for name in self._store.names() if name != CUSTOM]
        self._banks = {name: kept for name, kept in self._banks.items() if name in names}
        fitting = self._fitting([self._fresh(name) for name in names])
        self._members = tuple(bank.name for bank in fitting)
        return union(fitting, name=ALL, size=self._size)

    def _fitting(self, banks: list[Bank]) -> list[Bank]:
        """The banks that can be asked together; those of the largest model if nobody knows which one the workers run.

        If none fits, those that another model could ask, so that the error names that model.
        """
        filled = [bank for bank in banks if len(bank)]
        speakers = Counter[tuple[str, int]]()
        for bank in filled:
            speakers[bank.model, bank.size] += len(bank)
        if not speakers:
            self._left_out = {}
            return []
        largest, size = speakers.most_common(1)[0][0]
        for model, values in ((self._model() or largest, self._size), (largest, size)):
            reasons = [(one.name, misfit(one.name, one.model, one.size, model, values)) for one in filled]
            self._left_out = {name: why for name, why in reasons if why is not None}
            if len(self._left_out) < len(filled):
                break
        return [bank for bank in filled if bank.name not in self._left_out]

    def _indexed(self, bank: Bank) -> Bank:
        """The bank, whose index is on its way if it is to have one."""
        if self._index is not None:
            prepare(bank, self._index)
        return bank

    def _fresh(self, name: str) -> Bank:
        """The bank's current version, from memory if it is the one that was read last."""
        current = self._store.history(name)[0]
        have = self._banks.get(name)
        if have is None or have[0] != current.data or have[1].version != current.version:
            self._banks[name] = (current.data, self._store.get(name, version=current.version))
        return self._banks[name][1]


def _table(vectors: Any) -> np.ndarray:
    try:
        return np.asarray(vectors, np.float64)
    except (TypeError, ValueError):
        raise Unusable("the vectors are not lists of numbers, all of one length") from None
