"""People for the `/v1` tests: the bundled synthetic voices, enrolled into a bank from what the service itself heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from banks.bank import Bank, Clips
from banks.editing import new
from banks.store import BankStore
from tests.integration.stack import Stack, Web


def enroll(stack: Stack, web: Web, folder: Path, bank: str, *, clips: int = 3, labels: list[str] | None = None) -> Bank:
    """A bank of the people below `folder`, each from the first clips; it keeps the clips."""
    names = labels or sorted(path.name for path in folder.iterdir())
    owners, vectors, seconds, keys = [], [], [], []
    for owner, name in enumerate(names):
        for path in sorted((folder / name).iterdir())[:clips]:
            answer = web.post("/v1/embed", data=path.read_bytes(), headers={"Content-Type": "audio/ogg"})
            assert answer.status_code == 200, answer.text
            owners.append(owner)
            vectors.append(answer.json()["vector"])
            seconds.append(answer.json()["speech_seconds"])
            keys.append(f"{name}/{path.name}")
    model = answer.json()["model"]
    kept = Clips(
        tuple(keys),
        np.array(owners),
        np.array(vectors, np.float32),
        np.array(seconds, np.float32),
        np.ones(len(keys), np.int64),
        ("",) * len(keys),
        (None,) * len(keys),
    )
    made = new(names, kept, model, size=512)
    BankStore(stack.client().redis).put(bank, made)
    return made
