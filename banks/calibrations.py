"""A bank's own thresholds in Redis: what `calibrate` fitted, for the model that it was fitted with."""

from __future__ import annotations

from typing import Any

import orjson

from banks.bank import same_model
from banks.store import BankStore


class BankJudges:
    """Fitted operating points by bank; a plain JSON object each: `model`, `version`, `operating`, `fitted`.

    A change moves the banks' token, so that every worker looks again.
    """

    key_template = "speaker:calibration:{bank}"

    def __init__(self, store: BankStore) -> None:
        self._store = store

    def get(self, bank: str, model: str) -> dict[str, Any] | None:
        """What was fitted for the bank with that model; None if nothing was, or with another."""
        stored: Any = self._store.redis.get(self.key_template.format(bank=bank))
        if stored is None:
            return None
        fitted: dict[str, Any] = orjson.loads(stored)
        return fitted if same_model(str(fitted.get("model", "")), model) else None

    def put(self, bank: str, fitted: dict[str, Any]) -> None:
        """Keep what was fitted."""
        with self._store.redis.pipeline(transaction=True) as pipe:
            pipe.set(self.key_template.format(bank=bank), orjson.dumps(fitted))
            self._store.touch(pipe)
            pipe.execute()

    def forget(self, bank: str) -> bool:
        """Back to the model's own thresholds; False if there were none to forget."""
        with self._store.redis.pipeline(transaction=True) as pipe:
            pipe.unlink(self.key_template.format(bank=bank))
            self._store.touch(pipe)
            return bool(pipe.execute()[0])
