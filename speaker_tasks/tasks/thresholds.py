"""By what a bank's answers are judged: its own thresholds or the model's, and its cohort; read when something moved."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from banks import asnorm
from banks.bank import Bank
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.operations.banks import BankKeeper
from speaker_tasks.scoring.decision import Judge
from speaker_tasks.settings import Settings


@dataclass(frozen=True)
class Terms:
    """One bank's."""

    judge: Judge
    cohort: str | None
    """The bank that scores are normalised with."""


class TermsKeeper:
    """The terms of the banks of one worker, kept until the banks' token moves. Thread-safe."""

    def __init__(self, settings: Settings, embedder: Embedder, keeper: BankKeeper) -> None:
        self._keeper, self._model = keeper, embedder.model_id
        self._margin, self._least_speech = settings.match_margin, settings.match_speech
        self._of_model = self._as_told(Judge.of_card(embedder.card.details))
        self.of_pairs = self._as_told(Judge.of_pairs(embedder.card.details))
        """For two recordings, neither of them an enrolled speaker."""
        self._lock = threading.Lock()
        self._token: bytes | None = None
        self._found: dict[str, Terms] = {}

    def of(self, bank: Bank, token: bytes) -> Terms:
        """The bank's terms: thresholds of its own where it has some of this model, else the model's."""
        with self._lock:
            if token != self._token:
                self._found, self._token = {}, token
            if bank.name not in self._found:
                self._found[bank.name] = self._read(bank.name)
            return self._found[bank.name]

    def _read(self, name: str) -> Terms:
        fitted = self._keeper.judges.get(name, self._model)
        judge = Judge.of_bank(fitted, self._of_model) if fitted else self._of_model
        return Terms(judge, asnorm.cohort_name(self._keeper.store, name))

    def _as_told(self, judge: Judge) -> Judge:
        return judge.with_settings(margin=self._margin, least_speech=self._least_speech)
