"""The task about a bank alone: who of its speakers would be recognised."""

from __future__ import annotations

from typing import Any

from banks.bank import check_model
from banks.editing import known_label
from speaker_tasks.errors import TooLarge, Unusable
from speaker_tasks.scoring.selfcheck import recognised, warnings
from speaker_tasks.tasks import arguments
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.running import Question, question

MOST_CLIPS = 20_000
"""Of a bank that is checked as a whole: with more it takes minutes."""


@question("check", "check", arguments.Check)
def check(context: WorkerContext, question: Question[arguments.Check]) -> dict[str, Any]:
    """What becomes of each speaker's own clips, each asked of the bank without it, by the thresholds that serve."""
    options = question.options
    bank = context.banks.get(options.bank, clips=True)
    check_model(bank, context.embedder.model_id)
    speakers = None if options.speaker is None else {known_label(bank, options.speaker)}
    count = 0 if bank.clips is None else len(bank.clips)
    if speakers is None and count > MOST_CLIPS:
        raise TooLarge(
            f"bank {bank.name!r} has {count} recordings; as a whole at most {MOST_CLIPS} are checked here: name a "
            "speaker, or use `speaker-tasks banks check`",
            recordings=count,
        )
    checks = recognised(bank, context.terms.of(bank, question.token).judge, speakers)
    if not checks:
        raise Unusable(f"bank {bank.name!r} keeps no clips, or its model has no thresholds: nothing can be tried")
    return {
        "bank": bank.name,
        "version": bank.version,
        "model": bank.model,
        "speakers": [one.to_dict() for one in checks],
        "warnings": warnings(checks),
    }
