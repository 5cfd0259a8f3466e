"""A bank's own thresholds in Redis: what `calibrate` fitted, for the model that it was fitted with."""

from __future__ import annotations

from typing import Any

import orjson
import redis

from banks.bank import same_model


class BankJudges:
    """Fitted operating points by bank; a plain JSON object each: `model`, `version`, `operating`, `fitted`."""

    key_template = "speaker:calibration:{bank}"

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def get(self, bank: str, model: str) -> dict[str, Any] | None:
        """What was fitted for the bank with that model; None if nothing was, or with another."""
        stored: Any = self.client.get(self.key_template.format(bank=bank))
        if stored is None:
            return None
        fitted: dict[str, Any] = orjson.loads(stored)
        return fitted if same_model(str(fitted.get("model", "")), model) else None

    def put(self, bank: str, fitted: dict[str, Any]) -> None:
        """Keep what was fitted."""
        self.client.set(self.key_template.format(bank=bank), orjson.dumps(fitted))

    def forget(self, bank: str) -> bool:
        """Back to the model's own thresholds; False if there were none to forget."""
        return bool(self.client.unlink(self.key_template.format(bank=bank)))
