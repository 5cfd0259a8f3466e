"""Made-up voices for tests that need no real speech: a buzz with formants of its own for each speaker number."""

from __future__ import annotations

import numpy as np

RATE = 16_000


def voice(speaker: int, seconds: float = 2.0, take: int = 0) -> np.ndarray:
    """(T,) float32: the buzz of one made-up speaker; `take` changes what is "said", not who speaks."""
    random = np.random.default_rng([speaker, take])
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = (90 + 23 * speaker) * (1 + 0.05 * np.sin(2 * np.pi * (1.3 + take) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formants = np.array([400, 1500, 2700]) * (0.8 + 0.1 * speaker)
    wave = np.zeros_like(time)
    for harmonic in range(1, 30):
        frequency = harmonic * (90 + 23 * speaker)
        gain = sum(np.exp(-(((frequency - formant) / 250) ** 2)) for formant in formants)
        wave += gain * np.sin(harmonic * phase)
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 3.1 * time + take)
    wave = wave * syllables + 0.01 * random.normal(size=len(time))
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)
