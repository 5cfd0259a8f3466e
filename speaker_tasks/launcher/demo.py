"""`make demo`: the whole service in a temporary place; it enrols people and recognises clips it has not heard."""

from __future__ import annotations

import http.client
import json
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from banks.active import ActiveMode
from banks.store import BankStore
from enrollment.folder import scan
from enrollment.manifest import Entry, Manifest
from enrollment.report import SKIPPED
from speaker_tasks.client import TaskClient, outcome
from speaker_tasks.embedding.audio import SAMPLE_RATE, decode
from speaker_tasks.errors import NotFound, SpeakerTasksError, Unavailable, Unusable, from_dict
from speaker_tasks.jobs import JobRecord
from speaker_tasks.launcher import demo_meeting
from speaker_tasks.launcher.procfile import environment, read_procfile
from speaker_tasks.launcher.readiness import wait_until_ready
from speaker_tasks.launcher.server import free_port
from speaker_tasks.launcher.services import Services
from speaker_tasks.launcher.signals import stop_cleanly_on_sigterm
from speaker_tasks.launcher.up import with_redis
from speaker_tasks.settings import Settings

SPEAKERS = demo_meeting.DEMO / "speakers"
STALL_SECONDS = 120.0
"""An enrollment in which not one recording ends for so long is given up."""
ANSWER_SECONDS = 60.0
POLL_SECONDS = 0.05
OF_THE_CLIP = (413, 415, 422)
"""Statuses of what is wrong with a clip, and no reason to end the demo."""
NEXT = """
next: `make up`, then open http://127.0.0.1:6001 in a browser: the pages need no more commands
      `make demo DATA=folder` tries your own people: a folder with one sub-folder of recordings for each"""


@dataclass(frozen=True)
class Answer:
    """What the service said of one clip that it had not heard."""

    clip: str
    speaker: str
    name: str
    score: str
    milliseconds: float

    @property
    def right(self) -> bool:
        """Whether it named the speaker."""
        return self.name == self.speaker


def run_demo(settings: Settings, data: Path | None, console: Console) -> int:
    """Run the demo on the folder `data`, or on the synthetic speakers: 0 if every answer is right, else 1."""
    source = data or SPEAKERS
    manifest, held_out, alone = leave_one_out(scan(source))
    if not held_out:
        raise Unusable(f"{source} has no speaker with two recordings: nothing would be left to recognise")
    for speaker in alone:
        console.print(f"{speaker} has only one recording: enrolled, not recognised")
    started = time.monotonic()
    with ExitStack() as stack:
        stop_cleanly_on_sigterm()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="speaker-demo-")))
        settings = with_redis(_demo_settings(settings, folder, source), stack)
        services = stack.enter_context(Services(read_procfile(), _without_keys(environment(settings)), folder))
        with console.status("starting web, worker and Flower"):
            ready = wait_until_ready(settings, give_up=services.ended)
        console.print(f"ready in {time.monotonic() - started:.1f} s: model {ready['model']} on {ready['device']}")
        web = stack.enter_context(closing(Web(settings)))
        client = TaskClient(settings)
        stack.callback(client.redis.close)
        bank, without = stack.enter_context(_active_bank(client, manifest, services, web, console))
        answers = _answers(web, [clip for clip in held_out if clip.speaker not in without], console)
        _report(answers, console)
        right = bool(answers) and all(answer.right for answer in answers)
        if data is None:
            right = _ask_for_nobody(web, bank, held_out, console) and right
            right = _show_meeting(client, services, console) and right
            console.print(NEXT, soft_wrap=True)
    return 0 if right else 1


def _show_meeting(client: TaskClient, services: Services, console: Console) -> bool:
    """Who speaks when in the demo's meeting: whether all are there, by name."""
    bank = f"demo-{secrets.token_hex(4)}"

    def wait(job: JobRecord) -> JobRecord:
        return _wait_until_over(client, job, services)

    try:
        with console.status("listening to a meeting"):
            timeline = demo_meeting.ask(client, bank, wait)
    finally:
        with suppress(NotFound):
            BankStore(client.redis).delete(bank)
    return demo_meeting.show(timeline, console)


def _answers(web: Web, clips: Sequence[Entry], console: Console) -> list[Answer]:
    answers = []
    for clip in track(clips, "recognising clips that were not enrolled", console=console, transient=True):
        try:
            answers.append(_recognise(web, clip))
        except SpeakerTasksError as error:
            if error.status not in OF_THE_CLIP:
                raise
            console.print(f"{clip.row or clip.path} is left out: {error.message}", soft_wrap=True)
    return answers


def _ask_for_nobody(web: Web, bank: str, clips: Sequence[Entry], console: Console) -> bool:
    """Ask for somebody who is no longer enrolled, and with half a second: whether neither is given a name."""
    first, guest = clips[0], clips[len(clips) // 2 - 1]
    name = quote(bank)
    web.ask("DELETE", f"/v1/banks/{name}/speakers/{quote(guest.speaker)}")
    stranger = _identify(web, name, decode(Path(guest.path)))
    nearest = stranger["candidates"][0]
    console.print(
        f"{guest.speaker}, taken out of the bank: {'nobody' if stranger['speaker'] is None else stranger['speaker']}; "
        f"the nearest is {nearest['speaker']} with {nearest['score']:.2f} where {stranger['threshold']:.2f} is needed",
        soft_wrap=True,
    )
    short = _identify(web, name, decode(Path(first.path))[: SAMPLE_RATE // 2])
    console.print(f"half a second of {first.speaker}: {short['decision']}, {short['message']}", soft_wrap=True)
    return stranger["decision"] != "match" and short["decision"] == "inconclusive"


def _identify(web: Web, bank: str, samples: np.ndarray) -> dict[str, Any]:
    """The answer of `/v1/identify`; `samples` are (T,) float32 at 16 kHz."""
    return web.ask(
        "POST",
        f"/v1/identify?bank={bank}",
        {"samples": np.round(samples.astype(float), 5).tolist(), "rate": SAMPLE_RATE},
    )


def leave_one_out(manifest: Manifest) -> tuple[Manifest, list[Entry], list[str]]:
    """What to enrol, the last clip of each speaker to recognise, and the speakers who have but one clip."""
    clips: dict[str, list[Entry]] = {}
    for entry in manifest.entries:
        clips.setdefault(entry.speaker, []).append(entry)
    held_out = {speaker: mine.pop() for speaker, mine in clips.items() if len(mine) > 1}
    left = [entry for mine in clips.values() for entry in mine]
    alone = [speaker for speaker in clips if speaker not in held_out]
    return Manifest.of(left, manifest.skipped, manifest.speakers), list(held_out.values()), alone


def _demo_settings(settings: Settings, folder: Path, data: Path) -> Settings:
    """Free ports, a data folder that is thrown away, and leave to read the recordings."""
    changes = {
        "data_dir": folder,
        "data_roots": (*settings.data_roots, data.resolve()),
        "host": "127.0.0.1",
        "port": free_port(),
        "flower_port": free_port(),
    }
    return settings.model_copy(update=changes)


def _without_keys(variables: dict[str, str]) -> dict[str, str]:
    """The demo's own web process, on a free loopback port for some seconds, asks its only client for no key."""
    guards = {"SPEAKER_API_KEYS", "SPEAKER_API_KEYS_FILE", "SPEAKER_LEGACY", "SPEAKER_RATE_LIMIT"}
    return {name: value for name, value in variables.items() if name not in guards}


@contextmanager
def _active_bank(
    client: TaskClient, manifest: Manifest, services: Services, web: Web, console: Console
) -> Iterator[tuple[str, set[str]]]:
    """A bank of the manifest's speakers, made through the queue, as the current mode; afterwards all is as before.

    Gives its name, and the speakers of whom no recording could be used.

    It matters where the user's own Redis was given.
    """
    store, name = BankStore(client.redis), f"demo-{secrets.token_hex(4)}"
    before = ActiveMode(store).mode()
    try:
        without = _enroll(client, name, manifest, services, console)
        web.ask("POST", "/ModifyFeatsMode", {"feats_mode": name})
        yield name, without
        web.ask("POST", "/ModifyFeatsMode", {"feats_mode": before})
    finally:
        with suppress(NotFound):
            store.delete(name)


def _enroll(client: TaskClient, bank: str, manifest: Manifest, services: Services, console: Console) -> set[str]:
    """Enroll through the queue, say what was left out; the speakers of whom nothing is left."""
    started = time.monotonic()
    job = client.enroll_manifest(manifest.to_dict(), bank=bank)
    work = f"{len(manifest.speakers)} speakers from {len(manifest.entries)} clips"
    with console.status(f"enrolling {work}"):
        _wait_until_over(client, job, services)
    result = outcome(client.long_jobs.get(job.id))
    for entry in client.long_jobs.report(job.id):
        if entry["outcome"] not in ("enrolled", *SKIPPED):
            line = f"{entry['row'] or entry['path']} is left out: {entry['outcome']}: {entry['message']}"
            console.print(line, soft_wrap=True, markup=False)
    without = set(result["speakers_without"])
    for speaker in sorted(without):
        console.print(f"{speaker} is not enrolled: no recording of theirs could be used", markup=False)
    took = time.monotonic() - started
    console.print(
        f"enrolled {result['speakers']} speakers from {result['enrolled']} clips through the queue in {took:.1f} s"
    )
    return without


def _wait_until_over(client: TaskClient, job: JobRecord, services: Services) -> JobRecord:
    """The job when it has ended. Raises `Unavailable` if a process of the service has, or nothing moves."""
    done, moved = -1, time.monotonic()
    while not (job := client.long_jobs.get(job.id)).over:
        if reason := services.ended():
            raise Unavailable(reason)
        if job.done + job.failed != done:
            done, moved = job.done + job.failed, time.monotonic()
        if time.monotonic() - moved > STALL_SECONDS:
            raise Unavailable(f"the job {job.kind} stands still at {done} of {job.total}")
        time.sleep(POLL_SECONDS)
    return job


def _recognise(web: Web, clip: Entry) -> Answer:
    """What the service says of one clip. Raises what `decode` raises."""
    samples = decode(Path(clip.path))
    body = {"speaker": np.round(samples.astype(float), 5).tolist()}
    started = time.monotonic()
    said = web.ask("POST", "/speaker", body)
    took = 1e3 * (time.monotonic() - started)
    return Answer(Path(clip.path).name, clip.speaker, said["name"], said["score"], took)


class Web:
    """One kept-alive connection to the web process."""

    def __init__(self, settings: Settings) -> None:
        self._connection = http.client.HTTPConnection(settings.host, settings.port, timeout=ANSWER_SECONDS)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON answer; raises SpeakerTasksError if it is not a 200."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        said = json.loads(answer.read())
        if answer.status != HTTPStatus.OK:
            raise from_dict(said["error"]) if "error" in said else SpeakerTasksError(f"{path} answered {answer.status}")
        return said

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _report(answers: Sequence[Answer], console: Console) -> None:
    table = Table("clip", "answer", "score", "", "ms", title="Clips that were not enrolled")
    table.columns[4].justify = "right"
    for answer in answers:
        verdict = "[green]right[/]" if answer.right else "[red]wrong[/]"
        clip = f"{answer.speaker}/{answer.clip}"
        table.add_row(clip, answer.name, answer.score, verdict, f"{answer.milliseconds:.0f}")
    console.print(table)
    console.print(f"{sum(answer.right for answer in answers)} of {len(answers)} right")
