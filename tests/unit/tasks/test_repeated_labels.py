"""A speaker with two rows, as in the union of two banks, is judged by the row that the score is of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from banks.bank import Bank
from banks.ranking import enrolled_vectors
from speaker_tasks.scoring.cohort import Cohort
from speaker_tasks.scoring.decision import Judge
from speaker_tasks.scoring.thresholds import OperatingPoints
from speaker_tasks.tasks import arguments
from speaker_tasks.tasks import identify as task
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.listening import Heard
from speaker_tasks.tasks.running import Question
from speaker_tasks.tasks.thresholds import Terms
from speaker_tasks.tasks.timings import Timings

MODEL = "fake-0123456789ab"
RANDOM = np.random.default_rng(3)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


VOICE = unit(RANDOM.normal(size=16))
NEAR = unit(VOICE + 0.1 * RANDOM.normal(size=16))
FAR = unit(RANDOM.normal(size=16))
OTHERS = unit(RANDOM.normal(size=(3, 16)))
JUDGE = Judge(
    points=OperatingPoints.from_dict(
        {"seconds": [1.0, 9.0], "rates": [0.05, 0.01], "thresholds": [[1.5, 2], [1, 1.5]]}
    ),
    cohort=Cohort(unit(RANDOM.normal(size=(60, 16)) + FAR)),
)


def context(*rows: tuple[str, np.ndarray]) -> WorkerContext:
    """A worker that holds one bank of these rows."""
    bank = Bank(tuple(label for label, _ in rows), np.stack([vector for _, vector in rows]), model=MODEL, name="all")
    return cast(
        WorkerContext,
        SimpleNamespace(
            active=SimpleNamespace(
                bank=lambda name, token: ("all", bank), members=lambda name: ["staff"], left_out=lambda name: {}
            ),
            terms=SimpleNamespace(of=lambda bank, token: Terms(JUDGE, None)),
            embedder=SimpleNamespace(model_id=MODEL),
        ),
    )


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "hear", lambda *_: Heard(VOICE, 4.0, 4.0))


def asked(kind: type[arguments.Question], **options: Any) -> Question[Any]:
    return Question(kind(audio=["x"], **options), ("x",), b"", Timings())


def decision_of(answer: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(answer[key] for key in ("decision", "speaker", "score", "threshold"))


def test_the_threshold_is_of_the_nearest_row_whichever_stands_first() -> None:
    others = [(f"p{number}", vector) for number, vector in enumerate(OTHERS)]
    near_first = context(("Ann", NEAR), *others, ("Ann", FAR))
    far_first = context(("Ann", FAR), *others, ("Ann", NEAR))
    alone = context(("Ann", NEAR), *others)
    assert task.identify(alone, asked(arguments.Identify))["threshold"] < 1
    for question in (asked(arguments.Identify), asked(arguments.Identify, top_k=4)):
        answers = [task.identify(one, question) for one in (near_first, far_first, alone)]
        assert decision_of(answers[0]) == decision_of(answers[1]) == decision_of(answers[2])
    claimed = asked(arguments.Verify, speaker="Ann")
    answers = [task.verify(one, claimed) for one in (near_first, far_first, alone)]
    assert decision_of(answers[0]) == decision_of(answers[1]) == decision_of(answers[2])


def test_a_label_that_stands_once_keeps_its_row() -> None:
    bank = context(("Ann", FAR), ("Bob", NEAR), ("Ann", NEAR)).active.bank(None, b"")[1]
    found = enrolled_vectors(bank, ["Bob", "Ann"], VOICE)
    np.testing.assert_array_equal(found, [NEAR, NEAR])
