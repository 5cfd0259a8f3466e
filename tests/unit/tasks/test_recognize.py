"""The steps of a recognition, by hand and without a server."""

import numpy as np
import pytest

from banks.bank import Bank
from speaker_tasks.errors import EmptyBank, ModelMismatch
from speaker_tasks.tasks.recognize import check_bank, two_decimals


@pytest.mark.parametrize(
    ("score", "text"),
    [(0.8712, "0.87"), (1.0, "1.00"), (0.996, "1.00"), (-0.127, "-0.13"), (-0.001, "0.00"), (0, "0.00")],
)
def test_scores_are_text_with_two_decimals(score: float, text: str) -> None:
    assert two_decimals(score) == text


def test_an_empty_bank_is_told_apart_from_one_of_another_model() -> None:
    with pytest.raises(EmptyBank, match="'all'"):
        check_bank(Bank((), np.zeros((0, 512), np.float32), model=""), "all", "compact-0123456789ab")
    old = Bank(("a",), np.zeros((1, 512), np.float32), model="vgg", name="old")
    with pytest.raises(ModelMismatch) as raised:
        check_bank(old, "old", "compact-0123456789ab")
    assert {"vgg", "compact-0123456789ab"} <= set(raised.value.details.values())
    check_bank(old, "old", "vgg-0123456789ab")
