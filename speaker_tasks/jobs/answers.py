"""Answers that are kept for an hour, and name people: a purge takes a speaker out of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import orjson

from speaker_tasks.jobs.record import JobRecord
from speaker_tasks.jobs.store import JobStore

VECTORS = frozenset({"vector", "embed"})
"""Kinds of jobs whose answer is a vector: whose voice it is, nobody can tell, so a purge forgets them all."""
CELERY_KEY = "celery-task-meta-"
"""How the keys begin under which Celery's result backend keeps what a caller of ours asked it for."""
ENROLLMENT, TIMELINE = "enroll", "timeline"
_JOB = JobStore.key_template.format(id="")


def purge(jobs: JobStore, bank: str, names: Collection[str], someone: str) -> int:
    """Forget the answers that name one of the names as of the bank, and all vectors; gives how many.

    An enrollment stays in the list of jobs: there the names become `someone`. A question about another bank alone
    means somebody else of that name.
    """
    gone = 0
    for job in _ended(jobs):
        if job.kind == ENROLLMENT:
            _rename(jobs, job.id, {"result": job.result, "error": job.error}, names, someone)
        elif job.kind in VECTORS or (_may_mean(bank, job.about, job.result) and _named(_told(job), names)):
            _forget(jobs, job.id)
            gone += 1
    return gone


def _told(job: JobRecord) -> Any:
    """What an answer tells of people. A timeline tells of who speaks: others leave it by `TimelineStore.purge`."""
    if job.kind != TIMELINE or job.result is None:
        return [job.about, job.result]
    return [job.about, [one["speaker"] for one in job.result["speakers"]]]


def purge_bank(jobs: JobStore, bank: str) -> None:
    """Forget the answers to questions about one bank by its name, and what its enrollments came to."""
    for job in _ended(jobs):
        if _bank_of(job.about, job.result) != bank:
            continue
        if job.kind == ENROLLMENT:
            jobs.client.hdel(jobs.key(job.id), "result", "error")
        else:
            _forget(jobs, job.id)


def _ended(jobs: JobStore) -> Iterator[JobRecord]:
    for key in jobs.client.scan_iter(f"{_JOB}*", count=500):
        job_id = key.decode().removeprefix(_JOB)
        if ":" in job_id:  # a report lies beside its job
            continue
        if (job := jobs.stored(job_id)) is not None and job.over:
            yield job


def _forget(jobs: JobStore, job_id: str) -> None:
    jobs.client.unlink(jobs.key(job_id), jobs.reply_template.format(id=job_id), CELERY_KEY + job_id)


def _bank_of(about: dict[str, Any], result: dict[str, Any] | None) -> Any:
    target = (result or {}).get("bank", about.get("bank"))
    return target.get("name") if isinstance(target, dict) else target


def _may_mean(bank: str, about: dict[str, Any], result: dict[str, Any] | None) -> bool:
    """Whether a question may have been about the bank: several banks together, or by no name, are."""
    target = (result or {}).get("bank", about.get("bank"))
    if not isinstance(target, dict):
        return target in (None, bank)
    return target.get("name") == bank or bool(target.get("banks")) or target.get("name") in ("all", None)


def _named(value: Any, names: Collection[str]) -> bool:
    if isinstance(value, str):
        return value in names or any(repr(name) in value for name in names)
    if isinstance(value, dict):
        return any(_named(one, names) for pair in value.items() for one in pair)
    return isinstance(value, list) and any(_named(one, names) for one in value)


def _rename(jobs: JobStore, job_id: str, fields: dict[str, Any], names: Collection[str], someone: str) -> None:
    for name, value in fields.items():
        if value is not None and _named(value, names):
            jobs.client.hset(jobs.key(job_id), name, orjson.dumps(_without(value, names, someone)))


def _without(value: Any, names: Collection[str], someone: str) -> Any:
    if isinstance(value, str):
        for name in names:
            value = someone if value == name else value.replace(repr(name), someone)
        return value
    if isinstance(value, dict):
        return {_without(key, names, someone): _without(one, names, someone) for key, one in value.items()}
    return [_without(one, names, someone) for one in value] if isinstance(value, list) else value
