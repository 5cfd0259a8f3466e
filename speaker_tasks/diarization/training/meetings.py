"""Meetings mixed from single recordings: made-up turn-taking, training voices, a room, levels and noise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from speaker_tasks.diarization.segmentation import (
    CLASSES,
    FIRST_SAMPLE,
    FRAME_SAMPLES,
    FRAMES,
    LOCAL_SPEAKERS,
    WINDOW_SAMPLES,
)
from speaker_tasks.diarization.training.turntaking import Turns, conversation
from speaker_tasks.embedding.audio import SAMPLE_RATE
from speaker_tasks.embedding.training.corpus import read_manifest
from speaker_tasks.embedding.training.degrade import reverberate, synthetic_room, telephone
from speaker_tasks.embedding.training.split import development_speakers, noise_recordings

LEAST_SECONDS = 8.0
"""A speaker with less sound is left out."""
LEVEL = 0.05
"""Root mean square of each recording."""
FADE = 160


@dataclass(frozen=True, eq=False)
class Sounds:
    """What meetings are mixed from."""

    voices: Mapping[str, np.ndarray]
    """Each speaker's recordings, one behind the other, of the same level: (T,) int16."""
    noises: Sequence[np.ndarray]
    """(T,) float32."""

    @classmethod
    def read(cls, speech: Path, noise: Path, *, development: bool = False) -> Sounds:
        """Those of the training speakers who are not set aside for development, or of those who are."""
        clips = read_manifest(speech, "train")
        aside, by_speaker = development_speakers(clips), defaultdict(list)
        for clip in clips:
            if (clip.speaker in aside) == development:
                by_speaker[clip.speaker].append(clip)
        voices = {
            speaker: np.concatenate([_levelled(_samples(clip.path)) for clip in recordings])
            for speaker, recordings in by_speaker.items()
            if sum(clip.seconds for clip in recordings) >= LEAST_SECONDS
        }
        return cls(voices, [_samples(path) for path in noise_recordings(noise, training=True)])


def meeting(random: np.random.Generator, sounds: Sounds, speakers: int, seconds: float) -> tuple[np.ndarray, Turns]:
    """The sound (T,) float32 of a made-up meeting, and its turns."""
    turns = conversation(random, speakers, seconds)
    return filled(random, sounds, turns, seconds), turns


def filled(random: np.random.Generator, sounds: Sounds, turns: Turns, seconds: float) -> np.ndarray:
    """Turns filled with voices in a room: (T,) float32."""
    length, speakers = round(seconds * SAMPLE_RATE), max((number for _, _, number in turns), default=-1) + 1
    mix, room, phone = np.zeros(length, np.float32), synthetic_room(random), random.random() < 0.1
    for number, name in enumerate(random.choice(sorted(sounds.voices), speakers, replace=False)):
        track = _track(random, sounds.voices[name], [turn for turn in turns if turn[2] == number], length)
        wet = np.float32(random.uniform(0.0, 0.6))
        track = (1 - wet) * track + wet * reverberate(track, room)
        if phone and random.random() < 0.5:
            track = telephone(track, random)
        mix += track * np.float32(10 ** (random.uniform(-7, 4) / 20))
    return _noisy(random, mix, sounds.noises)


def nothing(random: np.random.Generator, noises: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A window in which nobody speaks, and its classes: a recorded noise, chords, or noise alone."""
    kind = random.random()
    if kind < 0.5 and noises:
        samples = _recorded(random, noises, WINDOW_SAMPLES)
    elif kind < 0.9:
        samples = _chords(random)
    else:
        samples = np.zeros(WINDOW_SAMPLES, np.float32)
    level = float(np.sqrt(np.mean(samples**2))) + 1e-3
    samples = samples + pink(random, WINDOW_SAMPLES) * np.float32(level / 10 ** (random.uniform(5, 40) / 20))
    return _loud(random, samples), np.zeros(FRAMES, np.int64)


def _chords(random: np.random.Generator) -> np.ndarray:
    """Notes with a few harmonics, several at once, each fading: (WINDOW_SAMPLES,) float32."""
    samples = np.zeros(WINDOW_SAMPLES, np.float32)
    at, beat = 0, int(random.uniform(0.15, 1.5) * SAMPLE_RATE)
    while at < WINDOW_SAMPLES:
        time = np.arange(min(WINDOW_SAMPLES - at, 2 * beat)) / SAMPLE_RATE
        for note in random.integers(-12, 13, int(random.integers(1, 5))):
            tone = sum(np.sin(2 * np.pi * 330 * 2 ** (note / 12) * part * time) / part for part in range(1, 5))
            samples[at : at + len(time)] += (tone * np.exp(-time * random.uniform(0.5, 5))).astype(np.float32)
        at += beat
    return samples


def _samples(path: Path) -> np.ndarray:
    samples, _ = soundfile.read(path, dtype="float32")
    return np.asarray(samples, np.float32)


def _levelled(samples: np.ndarray) -> np.ndarray:
    loudness = np.sqrt(np.mean(samples**2)) + 1e-6
    levelled: np.ndarray = np.clip(samples / loudness * LEVEL * 32767, -32767, 32767).astype(np.int16)
    return levelled


def _track(random: np.random.Generator, voice: np.ndarray, turns: Turns, length: int) -> np.ndarray:
    """One speaker's turns: their recordings, read on and on from a random place."""
    track, at = np.zeros(length, np.float32), int(random.integers(len(voice)))
    for start, end, _ in turns:
        first = round(start * SAMPLE_RATE)
        count = min(round(end * SAMPLE_RATE), length) - first
        if count <= 2 * FADE:
            continue
        piece = voice[(at + np.arange(count)) % len(voice)].astype(np.float32) / 32767
        piece[:FADE] *= np.linspace(0, 1, FADE, dtype=np.float32)
        piece[-FADE:] *= np.linspace(1, 0, FADE, dtype=np.float32)
        track[first : first + count] = piece
        at += count
    return track


def _noisy(random: np.random.Generator, mix: np.ndarray, noises: Sequence[np.ndarray]) -> np.ndarray:
    """With pink noise, sometimes with a recorded noise too, at a random level."""
    level = float(np.sqrt(np.mean(mix**2))) + 1e-6
    mix = mix + pink(random, len(mix)) * np.float32(level / 10 ** (random.uniform(15, 35) / 20))
    if noises and random.random() < 0.3:
        noise = _recorded(random, noises, len(mix))
        loudness = float(np.sqrt(np.mean(noise**2))) + 1e-6
        mix += noise * np.float32(level / loudness / 10 ** (random.uniform(8, 25) / 20))
    return _loud(random, mix)


def _recorded(random: np.random.Generator, noises: Sequence[np.ndarray], count: int) -> np.ndarray:
    """So many samples of one of the noises, from a random place, over again where it is shorter."""
    noise = noises[int(random.integers(len(noises)))]
    return np.take(noise, random.integers(len(noise)) + np.arange(count), mode="wrap")


def _loud(random: np.random.Generator, samples: np.ndarray) -> np.ndarray:
    """Of a random loudness."""
    return (samples * (random.uniform(0.1, 0.7) / np.abs(samples).max())).astype(np.float32)


def pink(random: np.random.Generator, count: int) -> np.ndarray:
    """Noise with as much power in each octave, of deviation 1: (count,) float32."""
    spectrum = np.fft.rfft(random.standard_normal(count).astype(np.float32))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise = np.fft.irfft(spectrum, count)
    scaled: np.ndarray = (noise / np.std(noise)).astype(np.float32)
    return scaled


def windows(samples: np.ndarray, turns: Turns) -> list[tuple[np.ndarray, np.ndarray]]:
    """The windows of a meeting, one behind the other, each with its classes (FRAMES,) int64.

    Local speakers are numbered by how much they speak in the window; of more than two at once, and of more than three
    in all, those who speak least are left out.
    """
    firsts = range(0, len(samples) - WINDOW_SAMPLES + 1, WINDOW_SAMPLES)
    return [(samples[first : first + WINDOW_SAMPLES], _classes(turns, first)) for first in firsts]


def _classes(turns: Turns, first: int) -> np.ndarray:
    centres = (first + FIRST_SAMPLE + FRAME_SAMPLES * np.arange(FRAMES)) / SAMPLE_RATE
    active: dict[int, np.ndarray] = {}
    for start, end, speaker in turns:
        if end > centres[0] and start < centres[-1]:
            active.setdefault(speaker, np.zeros(FRAMES, bool))[(centres >= start) & (centres < end)] = True
    most = sorted(active.values(), key=lambda frames: -int(frames.sum()))[:LOCAL_SPEAKERS]
    speaks = np.zeros((FRAMES, LOCAL_SPEAKERS), bool)
    for number, frames in enumerate(most):
        speaks[:, number] = frames & (speaks.sum(axis=1) < 2)
    code = np.zeros(2**LOCAL_SPEAKERS, np.int64)
    for number, members in enumerate(CLASSES):
        code[sum(1 << member for member in members)] = number
    classes: np.ndarray = code[speaks @ (1 << np.arange(LOCAL_SPEAKERS))]
    return classes
