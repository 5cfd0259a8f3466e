"""What a worker cannot do goes to one that can, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from speaker_tasks.errors import EmptyBank, ModelMismatch, NotFound, OutsideRoots, SpeakerTasksError
from speaker_tasks.jobs.heartbeat import WorkerRecord
from speaker_tasks.jobs.places import Places, place_of, queue_at, sees, visible
from speaker_tasks.settings import Settings
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.handing import place_for

A, B = "compact-0", "campplus-0"


def worker(model: str, *roots: str, queues: tuple[str, ...] = ("recognize", "enroll")) -> WorkerRecord:
    place = place_of(model, roots)
    return WorkerRecord(f"{model}{roots}", "host", 1, model, "cpu", "openvino", "f32", 0.0, queues, roots, place)


def context(own: WorkerRecord, *others: WorkerRecord, roots: tuple[Path, ...] = ()) -> WorkerContext:
    places = Places(lambda: [own, *others], own.place)
    found = SimpleNamespace(places=places, roots=own.roots, settings=Settings(data_roots=roots))
    return cast(WorkerContext, found)


def place(here: WorkerContext, error: SpeakerTasksError, *paths: str, queue: str = "recognize") -> str | None:
    return place_for(here, queue, error, paths)


MISMATCH = ModelMismatch("", bank_model=B, model=A)


def test_a_bank_of_another_model_goes_to_a_worker_of_that_model() -> None:
    other = worker(B)
    assert place(context(worker(A), other), MISMATCH) == other.place
    assert place(context(worker(A), worker(A, "/x")), MISMATCH) is None
    assert place(context(worker(A), worker(B, queues=("enroll",))), MISMATCH) is None, "it takes no questions"
    assert place(context(worker(A)), MISMATCH) is None


@pytest.mark.parametrize("error", [NotFound("there is no /data/a.wav"), OutsideRoots("not below")])
def test_a_path_that_is_hidden_here_goes_to_a_worker_that_sees_it(error: SpeakerTasksError) -> None:
    other = worker(A, "/data")
    assert place(context(worker(A), other), error, "/data/a.wav") == other.place
    assert place(context(worker(A, "/data"), worker(B, "/data")), error, "/data/a.wav") is None, "it is not there"
    assert place(context(worker(A), other), error, "/database/a.wav") is None
    assert place(context(worker(A), other), error, "speaker:audio:0", "s3://data/a.wav") is None


def test_a_folder_that_came_after_the_start_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    here = context(worker(A), worker(A, str(tmp_path)), roots=(tmp_path,))
    assert place(here, NotFound("gone"), str(tmp_path / "b.wav")) is None


def test_other_errors_are_answers() -> None:
    assert place(context(worker(A), worker(B)), EmptyBank("nobody")) is None


def test_equal_workers_share_a_place_and_an_empty_folder_is_not_seen(tmp_path: Path) -> None:
    assert place_of(A, ("/x", "/y")) == place_of(A, ("/y", "/x")) != place_of(B, ("/x", "/y"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.wav").touch()
    (tmp_path / "empty").mkdir()
    roots = (tmp_path / "full", tmp_path / "empty", tmp_path / "none")
    assert visible(roots) == (str(tmp_path / "full"),)
    assert sees(f"{tmp_path}/full/b.wav", visible(roots))
    assert queue_at("recognize", "") == "recognize"
    assert queue_at("recognize", "p") == "recognize.p"
