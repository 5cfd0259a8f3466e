"""A store of banks, and banks to put into it."""

from __future__ import annotations

import numpy as np
import pytest
from redis import Redis

from banks.bank import Bank
from banks.store import BankStore


@pytest.fixture
def store(redis: Redis) -> BankStore:
    return BankStore(redis)


def unit_vectors(rows: int, *, seed: int = 0, size: int = 512) -> np.ndarray:
    """(rows, size) float32 unit vectors."""
    drawn = np.random.default_rng(seed).standard_normal((rows, size)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def make_bank(*labels: str, model: str = "vgg", seed: int = 0, size: int = 512) -> Bank:
    return Bank(labels, unit_vectors(len(labels), seed=seed, size=size), model=model)
