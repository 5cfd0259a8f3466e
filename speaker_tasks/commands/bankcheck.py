"""For commands: whether the people of a bank would be recognised, by the weights that are set up on this machine."""

from __future__ import annotations

from typing import Any

from banks.bank import Bank, same_model
from speaker_tasks.embedding import weights
from speaker_tasks.errors import ModelMismatch
from speaker_tasks.operations.banks import BankKeeper
from speaker_tasks.scoring.decision import Judge
from speaker_tasks.scoring.selfcheck import Recognised, recognised, warnings

__all__ = ["Recognised", "check", "compare", "warnings"]


def check(keeper: BankKeeper, bank: Bank) -> list[Recognised]:
    """What becomes of each speaker's own clips, by the thresholds that serve now; `bank` has its clips.

    Raises `ModelMismatch` if this machine's weights are of another model, and what loading them raises.
    """
    model = _of_model(keeper, bank)
    fitted = keeper.judges.get(bank.name, bank.model)
    return recognised(bank, Judge.of_bank(fitted, model) if fitted else model)


def compare(keeper: BankKeeper, bank: Bank, fitted: dict[str, Any]) -> list[tuple[Recognised, Recognised]]:
    """For each speaker what is so now, and what it would be by the thresholds `fitted`. Raises as `check`."""
    after = recognised(bank, Judge.of_bank(fitted, _of_model(keeper, bank)))
    return list(zip(check(keeper, bank), after, strict=False))


def _of_model(keeper: BankKeeper, bank: Bank) -> Judge:
    settings = keeper.settings
    card = weights.load(settings.model, path=settings.weights, data_dir=settings.data_dir).card
    if not same_model(card.model_id, bank.model):
        raise ModelMismatch(
            f"bank {bank.name!r} holds vectors of {bank.model!r}, and the weights that are set up here are "
            f"{card.model_id!r}: set SPEAKER_MODEL or SPEAKER_WEIGHTS as the workers have them",
            bank_model=bank.model,
            model=card.model_id,
        )
    judge = Judge.of_card(card.details)
    return judge.with_settings(margin=settings.match_margin, least_speech=settings.match_speech)
