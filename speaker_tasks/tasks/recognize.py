"""The first server's questions: recording -> vector -> best row of the current list -> JSON, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from banks.bank import Bank, check_model
from banks.matching import match
from speaker_tasks.embedding import audio as sound
from speaker_tasks.errors import EmptyBank
from speaker_tasks.tasks import arguments
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.listening import embed, samples_of
from speaker_tasks.tasks.running import Question, question


@question("speaker", "recognize", arguments.Question)
def speaker(context: WorkerContext, question: Question[arguments.Question]) -> dict[str, Any]:
    """Who of the current bank speaks. The bank is looked at before the network runs: a wrong one costs no computing."""
    samples = _samples(context, question)
    mode, bank = context.active.get(question.token)
    check_bank(bank, mode, context.embedder.model_id)
    vector = embed(context, samples, question.timings)
    with question.timings.step("match"):
        best = match(bank, vector)[0]
    return {
        "name": best.label,
        "score": two_decimals(best.score),
        "cosine": round(best.score, 6),
        "feats_mode": mode,
        "model": context.embedder.model_id,
    }


@question("feats", "embed", arguments.Question)
def feats(context: WorkerContext, question: Question[arguments.Question]) -> dict[str, Any]:
    """The recording's vector, as the first server showed it: a list of one list of 512 numbers."""
    samples = _samples(context, question)
    return {"feats": embed(context, samples, question.timings)[np.newaxis], "model": context.embedder.model_id}


def _samples(context: WorkerContext, question: Question[arguments.Question]) -> np.ndarray:
    """The recording's samples (T,). Raises what `decode` and `audio.check` raise."""
    with question.timings.step("decode"):
        return sound.check(samples_of(context, question.recordings[0], sound.Reading()))


def check_bank(bank: Bank, mode: str, model: str) -> None:
    """Raise `EmptyBank` or `ModelMismatch` if no vector of `model` can be matched against the bank."""
    if not len(bank):
        raise EmptyBank(
            f"nobody is enrolled in the current list {mode!r}; enroll speakers or choose another", mode=mode
        )
    check_model(bank, model)


def two_decimals(score: float) -> str:
    """The score as the first server wrote it: text with two decimals, and no minus before a zero."""
    return f"{round(score, 2) + 0.0:.2f}"
