"""How much of a recording is speech, and how clean it is: seconds of speech, noise, clipping.

Speech is found by WebRTC's detector (Gaussian mixtures over six bands, its numbers inside the wheel): 0.13 ms for a
second of sound, where a neural detector takes longer than our whole network. It takes steady noise and tones for
speech, so frames also have to rise and fall as speech does, and to lie within `RANGE_DB` of the loud ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import webrtcvad

from speaker_tasks.embedding.features import SAMPLE_RATE

FRAME = 480
"""Samples of one frame: 30 ms, the longest that the detector takes."""
EVERY = 2
"""The detector hears every second frame, which stands for those up to the next: half the cost."""
AGGRESSIVENESS = 2
"""0 to 3: how much the detector has to be sure of speech."""
RANGE_DB = 35.0
"""Frames that are softer than the loud ones by more than this are no speech."""
STEADY_DB = 2.0
"""Sound whose frames vary less than this, as standard deviation, is noise or a tone."""
NOISE_QUANTILE, LOUD_QUANTILE = 0.1, 0.95
SNR_LIMIT = 60.0
TRENDS = 7
"""Polynomials that are taken out of each frame before it is measured: what they follow is no voice.

Seven take out an offset whole, 30 Hz by 53 dB, 50 Hz by 25 dB, and leave 100 Hz within 1.5 dB, without a filter that
remembers its past.
"""
LEVEL = 0.25
"""The peak that blocks are brought to before the detector hears them: it knows speech of usual loudness."""
MAX_GAIN = 30.0


_TRENDS: np.ndarray = np.linalg.qr(np.polynomial.legendre.legvander(np.linspace(-1, 1, FRAME), TRENDS - 1))[0].astype(
    np.float32
)
"""(FRAME, TRENDS) float32, orthonormal columns."""


@dataclass(frozen=True)
class Speech:
    """What was measured of one recording."""

    seconds: float
    """Its length."""
    speech: float
    """Seconds of speech in it."""
    snr: float
    """Power of the speech over that of the softest tenth, in dB, at most `SNR_LIMIT`; 0 where there is no speech."""
    clipped: float
    """Share of samples that are cut off, 0 to 1."""


def measure(samples: np.ndarray) -> Speech:
    """Measure a clip, (T,) float32 at 16 kHz."""
    meter = Meter()
    meter.add(samples)
    return meter.result()


class Meter:
    """Measures a recording that comes in blocks; keeps one number a frame, so memory stays flat."""

    def __init__(self) -> None:
        self._detector = webrtcvad.Vad(AGGRESSIVENESS)
        self._rest = np.zeros(0, np.float32)
        self._power: list[np.ndarray] = []
        self._voiced: list[np.ndarray] = []
        self._samples = self._cut_off = 0

    def over(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The blocks as they are, measured on their way."""
        for block in blocks:
            self.add(block)
            yield block

    def add(self, block: np.ndarray) -> None:
        """Measure the next block, (T,) float32."""
        held = np.concatenate([self._rest, block]) if len(self._rest) else block
        self._samples += len(block)
        self._cut_off += _cut_off(block)
        count = len(held) // FRAME
        whole, self._rest = held[: count * FRAME].reshape(count, FRAME), held[count * FRAME :]
        if not count:
            return
        frames = whole - (whole @ _TRENDS) @ _TRENDS.T
        self._power.append(np.einsum("nf,nf->n", frames, frames) / np.float32(FRAME))
        heard = frames[::EVERY]
        peak = float(np.abs(heard).max())
        gain = min(LEVEL / max(peak, 1e-6), MAX_GAIN)
        raw = (heard * np.float32(gain * 32767)).astype("<i2").tobytes()
        starts, is_speech = range(0, len(raw), 2 * FRAME), self._detector.is_speech
        voiced = [is_speech(raw[start : start + 2 * FRAME], SAMPLE_RATE, FRAME) for start in starts]
        self._voiced.append(np.repeat(np.array(voiced, bool), EVERY)[:count])

    def result(self) -> Speech:
        """What all blocks together amount to."""
        seconds = self._samples / SAMPLE_RATE
        clipped = self._cut_off / max(1, self._samples)
        if not self._power:
            return Speech(seconds, 0.0, 0.0, clipped)
        power = np.maximum(np.concatenate(self._power), 1e-12)
        level = 10 * np.log10(power)
        loud = level > _quantile(np.sort(level), LOUD_QUANTILE) - RANGE_DB
        spoken = np.concatenate(self._voiced) & loud
        if not spoken.any() or level[loud].std() < STEADY_DB:
            return Speech(seconds, 0.0, 0.0, clipped)
        noise = _quantile(np.sort(power), NOISE_QUANTILE)
        ratio = max(float(power[spoken].mean()) / noise - 1, 1e-3)
        snr = float(min(SNR_LIMIT, 10 * np.log10(ratio)))
        return Speech(seconds, float(spoken.sum()) * FRAME / SAMPLE_RATE, snr, clipped)


def _cut_off(block: np.ndarray) -> int:
    """Samples on a plateau at the block's peak, from its mean, or at full scale."""
    if not len(block):
        return 0
    offset = np.float32(block.mean())
    sizes = np.abs(block - offset)
    peak = float(sizes.max())
    if peak < 0.05:
        return 0
    high = np.flatnonzero(sizes[1:] >= min(0.9 * peak, 0.99 - abs(offset))) + 1
    step = np.abs(block[high] - block[high - 1])
    plateau = (step <= 1e-4 * peak) & (sizes[high] >= 0.9 * peak)
    return int(np.count_nonzero(plateau | (np.abs(block[high]) >= 0.99)))


def _quantile(ascending: np.ndarray, share: float) -> float:
    """What `np.quantile` gives of finite, sorted values, to the bit; of so few it takes ten times as long."""
    place = (len(ascending) - 1) * share
    before = int(place)
    part = place - before
    low, high = ascending[before], ascending[min(before + 1, len(ascending) - 1)]
    return float(low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part))
