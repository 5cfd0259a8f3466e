"""Half of the validation speakers are enrolled, the others are strangers: who is named, and who is not."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from banks.store import BankStore
from speaker_tasks.embedding.audio import SAMPLE_RATE, decode
from tests.integration.speaking import enroll
from tests.integration.stack import Stack, Web

BANK = "validation-half"
ENROLLED_CLIPS = 3
PROBES = {"enrolled": 4, "strangers": 7}
CLIENTS = 4

MAX_WRONG = 0.002
RIGHT_FLOOR = {3: 0.93, 8: 0.97}
"""The share of recordings of the enrolled that are a match with the right name, at least."""
MAX_STRANGERS_NAMED = 1
"""Of the strangers one sounds like somebody enrolled; of the other nineteen none is named, whatever they say."""


@pytest.fixture(scope="module")
def halves(stack: Stack, shared_web: Web, shared_dir: Path) -> Iterator[dict[str, list[Path]]]:
    """The folders of both halves; the first is enrolled."""
    folders = sorted((shared_dir / "speech" / "validation").iterdir())
    enrolled = folders[::2]
    enroll(stack, shared_web, enrolled[0].parent, BANK, clips=ENROLLED_CLIPS, labels=[one.name for one in enrolled])
    yield {"enrolled": enrolled, "strangers": folders[1::2]}
    BankStore(stack.client().redis).delete(BANK)


def probes(folder: Path, seconds: int, most: int) -> list[np.ndarray]:
    """Stretches of the person's other recordings, joined and cut."""
    whole = np.concatenate([decode(path) for path in sorted(folder.glob("*.opus"))[ENROLLED_CLIPS:]])
    size = seconds * SAMPLE_RATE
    return [whole[start : start + size] for start in range(0, len(whole) - size + 1, size)][:most]


@pytest.mark.speech
@pytest.mark.parametrize("seconds", [3, 8])
def test_strangers_are_not_named_and_the_enrolled_are(
    shared_web: Web, halves: dict[str, list[Path]], seconds: int
) -> None:
    def ask(question: tuple[str, str, np.ndarray]) -> tuple[str, str, str]:
        half, name, samples = question
        body = io.BytesIO()
        soundfile.write(body, samples, SAMPLE_RATE, format="WAV")
        headers = {"Content-Type": "audio/wav"}
        answer = shared_web.post(f"/v1/identify?bank={BANK}&top_k=1", data=body.getvalue(), headers=headers)
        assert answer.status_code == 200, answer.text
        result = answer.json()
        if result["decision"] == "match" and half == "enrolled":
            return half, name, "right" if result["speaker"] == name else "wrong"
        return half, name, result["decision"]

    questions = [
        (half, folder.name, probe)
        for half, folders in halves.items()
        for folder in folders
        for probe in probes(folder, seconds, PROBES[half])
    ]
    with ThreadPoolExecutor(CLIENTS) as pool:
        outcomes = list(pool.map(ask, questions))
    counted = {half: Counter(outcome for one, _, outcome in outcomes if one == half) for half in halves}
    print(f"\n{seconds} s of speech: { ({half: dict(count) for half, count in counted.items()}) }")
    named = {name for half, name, outcome in outcomes if half == "strangers" and outcome == "match"}
    assert len(named) <= MAX_STRANGERS_NAMED
    assert counted["enrolled"]["wrong"] <= MAX_WRONG * counted["enrolled"].total()
    assert counted["enrolled"]["right"] >= RIGHT_FLOOR[seconds] * counted["enrolled"].total()
