"""Odd recordings through the real service, as timelines: an answer or a clear refusal for each.

    python -m benchmarks.odd_recordings [--only NAME,NAME] [--speech FOLDER] [--hours 4] [--list]

Starts an embedded server, web and a worker on loopback, enrols the demo's speakers except Carol, makes the recordings
and sends one after the other. The languages are spoken by espeak-ng (`apt-get install espeak-ng`) and left out without
it; real people are the development speakers of FOLDER (`manifest.tsv` and the recordings that it names; by default
`$SPEAKER_SHARED/speech`), on whom nothing is trained. Prints what became of each: seconds of sound, seconds taken,
turns, how many speak and were found, seconds under the name of somebody who does not speak then, and the status with
the error. Four hours of noise are the last, from a file of 350 MB. Exits with 1 if a recording ends in a 5xx or not
within `--timeout` seconds.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import soxr
from rich.console import Console
from rich.table import Table

from benchmarks.service.stack import ServingStack
from speaker_tasks.embedding.audio import SAMPLE_RATE, decode
from speaker_tasks.embedding.training.corpus import Clip
from speaker_tasks.embedding.training.split import development_clips
from speaker_tasks.errors import SpeakerTasksError
from speaker_tasks.sdk.calls import plain
from speaker_tasks.sdk.client import SpeakerTasks
from speaker_tasks.timelines.document import UNKNOWN
from tools.make_demo_meeting import SPEAKERS, Turn, meeting
from tools.make_demo_voices import trimmed

ROOT = Path(__file__).parents[1]
GUEST = "Carol"
LEVEL = 0.08
"""Root mean square of each sentence."""
PAUSE_SECONDS = 0.5
STEP = 0.01
"""Seconds of the grid on which wrong names are counted."""
SENTENCES = {
    "ar": "صباح الخير جميعا. لنبدأ بنتائج الربع الأخير من السنة.",
    "bg": "Добро утро на всички. Нека започнем с резултатите от последното тримесечие.",
    "bn": "সবাইকে সুপ্রভাত। চলুন গত তিন মাসের ফলাফল দিয়ে শুরু করি।",
    "cmn-latn-pinyin": "大家早上好。我们先来看一下上个季度的结果。",
    "cs": "Dobré ráno všem. Začněme s výsledky za poslední čtvrtletí.",
    "da": "Godmorgen alle sammen. Lad os begynde med resultaterne fra sidste kvartal.",
    "de": "Guten Morgen zusammen. Fangen wir mit den Ergebnissen des letzten Quartals an.",
    "el": "Καλημέρα σε όλους. Ας ξεκινήσουμε με τα αποτελέσματα του τελευταίου τριμήνου.",
    "en-us": "Good morning everyone. Let us begin with the results of the last quarter.",
    "es": "Buenos días a todos. Empecemos con los resultados del último trimestre.",
    "et": "Tere hommikust kõigile. Alustame viimase kvartali tulemustega.",
    "fa": "صبح همه به خیر. بیایید با نتایج سه ماه گذشته شروع کنیم.",
    "fi": "Hyvää huomenta kaikille. Aloitetaan viime neljänneksen tuloksista.",
    "fr-fr": "Bonjour à tous. Commençons par les résultats du dernier trimestre.",
    "hi": "सभी को सुप्रभात। आइए पिछली तिमाही के परिणामों से शुरू करें।",
    "hu": "Jó reggelt mindenkinek. Kezdjük az utolsó negyedév eredményeivel.",
    "id": "Selamat pagi semuanya. Mari kita mulai dengan hasil kuartal terakhir.",
    "it": "Buongiorno a tutti. Cominciamo dai risultati dell'ultimo trimestre.",
    "ja": "みなさん、おはようございます。ぜんかいの けっかから はじめましょう。",
    "ko": "여러분 안녕하세요. 지난 분기의 결과부터 시작하겠습니다.",
    "nl": "Goedemorgen allemaal. Laten we beginnen met de resultaten van het laatste kwartaal.",
    "pl": "Dzień dobry wszystkim. Zacznijmy od wyników ostatniego kwartału.",
    "pt-br": "Bom dia a todos. Vamos começar com os resultados do último trimestre.",
    "ro": "Bună dimineața tuturor. Să începem cu rezultatele ultimului trimestru.",
    "ru": "Доброе утро всем. Давайте начнём с результатов последнего квартала.",
    "sv": "God morgon allihop. Låt oss börja med resultaten från förra kvartalet.",
    "sw": "Habari za asubuhi nyote. Tuanze na matokeo ya robo ya mwisho ya mwaka.",
    "tr": "Herkese günaydın. Son çeyreğin sonuçlarıyla başlayalım.",
    "uk": "Доброго ранку всім. Почнімо з результатів останнього кварталу.",
    "vi": "Chào buổi sáng mọi người. Chúng ta hãy bắt đầu với kết quả của quý trước.",
}
"""Two sentences in each of thirty languages, by espeak-ng's name of the language."""
VARIANTS = (
    *("Alex", "Andrea", "Andy", "robert", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky"),
    *("Lee", "miguel", "Mario", "Michael", "Mike", "adam", "anika", "antonio", "aunty", "belinda"),
    *("benjamin", "boris", "caleb", "david", "ed", "f1", "f5", "grandma", "iven", "m3"),
)
"""espeak-ng's variants of a voice, none of which the demo's have; with a size of the throat each is a person."""
MEETINGS = 5
"""Meetings of real people."""
FEW = ("Andrea", "miguel", "belinda", "boris")
"""The variants that share a meeting."""


@dataclass(frozen=True)
class Odd:
    """A recording to be sent."""

    content: bytes | Path
    """Its file; a path where it is read in place."""
    truth: list[Turn] = field(default_factory=list)
    """Who speaks when: start and end in seconds, and a name, which may be one of the bank's."""

    @property
    def speakers(self) -> int:
        """How many people speak in it."""
        return len({name for _, _, name in self.truth})


@dataclass
class Outcome:
    """What became of a recording."""

    seconds: float | None
    taken: float
    status: int
    message: str = ""
    turns: int = 0
    found: int = 0
    wrong: float = 0.0
    """Seconds under names of people who do not speak then."""


def flac(samples: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    """The samples as a FLAC file."""
    return written(samples, rate, format="FLAC")


def written(samples: np.ndarray, rate: int, **how: str) -> bytes:
    """The samples as a file of any format of soundfile's."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **how)
    return file.getvalue()


def clip(name: str, number: int) -> np.ndarray:
    """A recording of the demo's."""
    return decode(SPEAKERS / name / f"{number}.ogg")


def said(language: str, variant: str) -> np.ndarray:
    """The sentences of a language by a variant: (T,) float32 at 16 kHz. Raises ValueError if espeak-ng says nothing."""
    number = VARIANTS.index(variant)
    pitch, scale = 20 + 7 * number % 60, 0.86 + 0.01 * (11 * number % 30)
    command = ["espeak-ng", "-v", f"{language}+{variant}", "-p", str(pitch), "-s", "165", "--stdout"]
    wav = subprocess.run([*command, SENTENCES[language]], check=True, capture_output=True).stdout
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    if len(samples) < rate:
        raise ValueError(f"espeak-ng says nothing in {language} as {variant}")
    samples = soxr.resample(trimmed(samples), rate * scale, SAMPLE_RATE)
    return samples / np.sqrt(np.mean(samples**2)) * LEVEL


def languages(variants: Sequence[str]) -> Odd:
    """All languages one after the other, in turn by these variants."""
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    pieces, turns, at = [pause], [], PAUSE_SECONDS
    for number, language in enumerate(SENTENCES):
        variant = variants[number % len(variants)]
        pieces += [said(language, variant), pause]
        turns.append((at, at + len(pieces[-2]) / SAMPLE_RATE, f"as {variant}"))
        at = turns[-1][1] + PAUSE_SECONDS
    sound = np.concatenate(pieces)
    noise = np.random.default_rng(0).normal(0, 1e-3, len(sound)).astype(np.float32)
    return Odd(flac(np.clip(sound + noise, -1, 1)), turns)


def real_languages(speech: Path) -> Odd:
    """People of a corpus of sixty languages, who say one thing each."""
    clips = _real(speech, "cv_rsample60lang")
    samples, turns = _in_turn([of_one[0] for of_one in clips.values()])
    return Odd(flac(samples), turns)


def real_meeting(speech: Path, number: int, telephone: str = "") -> Odd:
    """Four people of whom each has the floor six times, others for each number; by a telephone of a kind."""
    able = [clips for clips in _real(speech, "cv_zhCN").values() if len(clips) >= 6]
    people = able[4 * number : 4 * number + 4]
    samples, turns = _in_turn([of_one[turn] for turn in range(6) for of_one in people])
    return by_telephone(samples, turns, telephone) if telephone else Odd(flac(samples), turns)


def by_telephone(samples: np.ndarray, turns: list[Turn], subtype: str) -> Odd:
    """The sound over a telephone: 300 to 3,400 Hz at 8 kHz, as a WAV file of that kind."""
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    spectrum[(hertz < 300) | (hertz > 3400)] = 0
    narrow = soxr.resample(np.fft.irfft(spectrum, len(samples)).astype(np.float32), SAMPLE_RATE, 8000)
    return Odd(written(narrow, 8000, format="WAV", subtype=subtype), turns)


def _real(speech: Path, corpus: str) -> dict[str, list[Clip]]:
    """The recordings of 3 to 9 s of each development speaker of a corpus."""
    people: dict[str, list[Clip]] = {}
    for one in development_clips(speech):
        if one.corpus == corpus and 3 <= one.seconds <= 9:
            people.setdefault(one.speaker, []).append(one)
    return people


def _in_turn(clips: Sequence[Clip]) -> tuple[np.ndarray, list[Turn]]:
    """Recordings one after the other at one level, with a little noise, and whose turns they are."""
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    pieces, turns, at = [pause], [], PAUSE_SECONDS
    for one in clips:
        samples = decode(one.path)
        pieces += [samples / np.sqrt(np.mean(samples**2)) * LEVEL, pause]
        turns.append((at, at + len(samples) / SAMPLE_RATE, one.speaker))
        at = turns[-1][1] + PAUSE_SECONDS
    sound = np.concatenate(pieces)
    noise = np.random.default_rng(0).normal(0, 1e-3, len(sound)).astype(np.float32)
    return np.clip(sound + noise, -1, 1), turns


def music(seconds: int = 120) -> np.ndarray:
    """Chords with a melody above them and a drum: (T,) float32 at 16 kHz."""
    chance, beat = np.random.default_rng(3), SAMPLE_RATE // 2
    time_ = np.arange(beat) / SAMPLE_RATE
    fade = np.exp(-3 * time_)
    beats = []
    for number in range(2 * seconds):
        root = 220.0 * 2 ** (np.array((0, 5, 7, 3))[number // 4 % 4] / 12)
        notes = [
            root,
            root * 2 ** (4 / 12),
            root * 2 ** (7 / 12),
            4 * root * 2 ** (chance.choice([0, 2, 4, 7, 9]) / 12),
        ]
        chord = sum(np.sin(2 * np.pi * note * part * time_) / part for note in notes for part in range(1, 6))
        drum = chance.normal(0, 1, beat) * np.exp(-40 * time_) * (number % 2)
        beats.append(0.05 * chord * fade + 0.1 * drum)
    return np.concatenate(beats).astype(np.float32)


def two_channels() -> Odd:
    """The demo's meeting in two channels, of which one is the other's inverse: their mix is silence."""
    samples, turns = meeting()
    return Odd(flac(np.stack([samples, -samples], axis=1)), turns)


def cut_short() -> Odd:
    """The first half of the demo's meeting's file."""
    samples, turns = meeting()
    whole = flac(samples)
    return Odd(whole[: len(whole) // 2], turns)


def one_speaker() -> np.ndarray:
    """Brian, who says his last clips over and over."""
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    return np.concatenate([part for number in (3, 4, 5) * 4 for part in (clip("Brian", number), pause)])


def not_finite() -> bytes:
    """A WAV file of floats, one of which is none."""
    samples = clip("Brian", 3).copy()
    samples[1000] = np.nan
    return written(samples, SAMPLE_RATE, format="WAV", subtype="FLOAT")


def noise(folder: Path, seconds: float) -> Path:
    """A FLAC file of white noise."""
    path, chance = folder / f"noise-{seconds:g}.flac", np.random.default_rng(1)
    minute = chance.normal(0, 0.05, 60 * SAMPLE_RATE).astype(np.float32)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, format="FLAC") as file:
        left = round(seconds * SAMPLE_RATE)
        while left > 0:
            file.write(np.roll(minute, int(chance.integers(len(minute))))[:left])
            left -= len(minute)
    return path


def recordings(folder: Path, speech: Path, hours: float) -> dict[str, Callable[[], Odd]]:
    """What makes each recording, by its name."""
    brian = [(0.0, 3600.0, "Brian")]
    hiss = np.random.default_rng(0).normal(0, 2e-4, 120 * SAMPLE_RATE).astype(np.float32)
    whole = dict[str, Callable[[], Odd]](
        music=lambda: Odd(flac(music())),
        silence=lambda: Odd(flac(np.zeros(120 * SAMPLE_RATE, np.float32))),
        hiss=lambda: Odd(flac(hiss)),
        one_speaker=lambda: Odd(flac(one_speaker()), brian),
        two_seconds=lambda: Odd(flac(clip("Brian", 3)[: 2 * SAMPLE_RATE]), brian),
        third_of_a_second=lambda: Odd(flac(clip("Brian", 3)[: SAMPLE_RATE // 3]), brian),
        phone=lambda: by_telephone(*meeting(2), "ALAW"),
        two_channels=two_channels,
        clipped=lambda: Odd(flac(np.clip(20 * one_speaker(), -1, 1)), brian),
        empty=lambda: Odd(b""),
        rubbish=lambda: Odd(np.random.default_rng(0).bytes(100_000)),
        cut_short=cut_short,
        not_finite=lambda: Odd(not_finite(), brian),
    )
    if shutil.which("espeak-ng"):
        whole |= {
            "30_languages_30_voices": lambda: languages(VARIANTS),
            "30_languages_4_voices": lambda: languages(FEW),
            "30_languages_1_voice": lambda: languages(FEW[1:2]),
        }
    if speech.is_dir():
        whole["30_languages_30_people"] = lambda: real_languages(speech)
        for number in range(MEETINGS):
            whole[f"4_people_{number + 1}"] = partial(real_meeting, speech, number)
            for kind in ("ALAW", "GSM610"):
                whole[f"4_people_{number + 1}_{kind}"] = partial(real_meeting, speech, number, kind)
    limit = hours * 3600
    return whole | {
        "noise": lambda: Odd(noise(folder, limit)),
        "noise_and_a_second": lambda: Odd(noise(folder, limit + 1)),
    }


def wrong_seconds(truth: Sequence[Turn], given: Sequence[Turn]) -> float:
    """Seconds of turns under a name of the bank while others speak, or nobody in the whole recording."""
    wrong = 0
    length = round(max((end for _, end, _ in [*truth, *given]), default=0.0) / STEP) + 1
    active: dict[str, np.ndarray] = {}
    for start, end, name in truth:
        active.setdefault(name, np.zeros(length, bool))[round(start / STEP) : round(end / STEP)] = True
    anyone = np.any(list(active.values()), axis=0) if active else np.ones(length, bool)
    for start, end, name in given:
        if not name.startswith(UNKNOWN):
            span = slice(round(start / STEP), round(end / STEP))
            wrong += int((anyone & ~active.get(name, np.zeros(length, bool)))[span].sum())
    return wrong * STEP


def sent(client: SpeakerTasks, odd: Odd, timeout: float) -> Outcome:
    """What becomes of a recording that is sent as a timeline."""
    began = time.monotonic()
    in_place = isinstance(odd.content, Path)
    try:
        timeline = client.timeline(odd.content, bank="demo", in_place=in_place, seconds=timeout)
    except SpeakerTasksError as error:
        return Outcome(None, time.monotonic() - began, error.status, f"{error.code}: {error.message}")
    taken = time.monotonic() - began
    wrong = wrong_seconds(odd.truth, [(turn.start, turn.end, turn.speaker) for turn in timeline.turns])
    message = "; ".join(timeline.raw["warnings"])
    return Outcome(timeline.seconds, taken, 200, message, len(timeline.turns), len(timeline.speakers), wrong)


def outcomes(
    client: SpeakerTasks, made: dict[str, Callable[[], Odd]], timeout: float
) -> Iterator[tuple[str, Odd, Outcome]]:
    """Each recording with what became of it."""
    for name, make in made.items():
        odd = make()
        yield name, odd, sent(client, odd, timeout)
        if isinstance(odd.content, Path):
            odd.content.unlink()


def enrol(client: SpeakerTasks, folder: Path) -> None:
    """The demo's speakers except the guest, by their first two clips."""
    for path in sorted(SPEAKERS.iterdir()):
        if path.name != GUEST:
            (folder / "people" / path.name).mkdir(parents=True)
            for number in (1, 2):
                shutil.copy(path / f"{number}.ogg", folder / "people" / path.name)
    begun = client.call(plain("POST", "/v1/banks/demo/enrollments", {"path": str(folder / "people")}))
    client.wait(begun["job"]["id"]).outcome()


def row(name: str, odd: Odd, outcome: Outcome) -> list[str]:
    """A row of the table."""
    if outcome.seconds is None:
        return [name, "", f"{outcome.taken:.1f}", "", str(odd.speakers), "", "", str(outcome.status), outcome.message]
    counts = [str(outcome.turns), str(odd.speakers), str(outcome.found), f"{outcome.wrong:.1f}"]
    return [name, f"{outcome.seconds:.1f}", f"{outcome.taken:.1f}", *counts, str(outcome.status), outcome.message]


def main() -> None:
    """Make, send, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of recordings, with commas between them")
    shared = Path(os.environ.get("SPEAKER_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--speech", type=Path, default=shared / "speech", help="recordings of real people")
    parser.add_argument("--hours", type=float, default=4.0, help="of noise")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds after which a recording hangs")
    parser.add_argument("--list", action="store_true", help="print the recordings' names and end")
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="odd-") as name:
        folder = Path(name)
        made = recordings(folder, options.speech, options.hours)
        if options.list:
            print("\n".join(made))
            return
        wanted = [one for one in options.only.split(",") if one] or list(made)
        if missing := set(wanted) - set(made):
            parser.error(f"there is no recording {', '.join(sorted(missing))}; there is {', '.join(made)}")
        table = Table(
            "recording", "sound, s", "taken, s", "turns", "speak", "found", "wrong name, s", "status", "message"
        )
        with (
            ServingStack(data_roots=str(folder), data_dir=str(folder / "data")) as stack,
            SpeakerTasks(f"http://{stack.settings.host}:{stack.settings.port}") as client,
        ):
            enrol(client, folder)
            for recording, odd, outcome in outcomes(client, {one: made[one] for one in wanted}, options.timeout):
                cells = row(recording, odd, outcome)
                print(" | ".join(cells), file=sys.stderr, flush=True)
                table.add_row(*cells)
                bad += outcome.status >= 500
        Console(width=180).print(table)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
