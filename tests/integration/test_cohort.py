"""A bank with a cohort tells how far its scores stand out."""

from __future__ import annotations

import io

import numpy as np
import requests
import soundfile

from banks.bank import Bank
from banks.store import BankStore
from tests.integration.sounds import RATE, voice
from tests.integration.stack import Stack, Web


def test_candidates_carry_their_as_norm_once_the_bank_has_a_cohort(stack: Stack, web: Web) -> None:
    client = stack.client()
    store, model = BankStore(client.redis), client.model()
    drawn = np.random.default_rng(0).standard_normal((25, 512)).astype(np.float32)
    vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    store.put("staff", Bank(("Ann", "Bob"), vectors[:2], model=model))
    store.put("cohort", Bank(tuple(f"c{i}" for i in range(23)), vectors[2:], model=model))
    sound = io.BytesIO()
    soundfile.write(sound, voice(1, 3.0), RATE, format="WAV")

    def ask() -> list[dict[str, object]]:
        headers = {"Content-Type": "audio/wav"}
        answer = web.post("/v1/identify", params={"bank": "staff"}, data=sound.getvalue(), headers=headers)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["candidates"])

    assert all("as_norm" not in one for one in ask())
    address = f"{web.url}/v1/banks/staff/cohort"
    assert requests.put(address, json={"cohort": "nobody"}, timeout=60).status_code == 404
    assert requests.put(address, json={"cohort": "cohort"}, timeout=60).json()["bank"]["cohort"] == "cohort"
    assert all(isinstance(one["as_norm"], float) for one in ask())
    store.delete("cohort")
    assert all("as_norm" not in one for one in ask()), "a cohort that is gone is no error"
