"""What a worker process does: pin its GPU, load and warm the model, tell Redis that it is ready, and stop well.

Celery's threads pool never sends `worker_process_init`; the model is loaded in `worker_init`, before the pool exists.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import redis
from celery import Celery, signals

from speaker_tasks import tasks, unacked
from speaker_tasks.celery_app import OTHER_QUEUE, RECOGNIZE_QUEUE, SERVED, make_celery, refuse_cluster
from speaker_tasks.errors import ConfigurationError, SpeakerTasksError
from speaker_tasks.heartbeat import WorkerRecord
from speaker_tasks.intake import Announce
from speaker_tasks.settings import Settings
from speaker_tasks.wire import Parcel

if TYPE_CHECKING:
    from speaker_tasks.tasks.context import WorkerContext

logger = logging.getLogger(__name__)

FRAMEWORKS = ("keras", "tensorflow", "torch", "jax", "openvino")
MASK = "CUDA_VISIBLE_DEVICES"
HIDDEN = "-1"


class WorkerRefused(SystemExit):
    """Leaves Celery's start, which swallows plain exceptions of its hooks; `error` says why."""

    def __init__(self, error: SpeakerTasksError) -> None:
        super().__init__(f"the worker does not start: {error}")
        self.error = error


def run_worker(settings: Settings, *, queues: Sequence[str] = SERVED, log_level: str = "INFO") -> int:
    """Serve until a signal ends it: the exit status.

    The GPU must be pinned before (see `pin_gpu`). Raises `WeightsMissing`, `WeightsRefused` or `ConfigurationError` if
    the worker cannot start.
    """
    unacked.install()
    app = make_celery(settings)
    _check_queues(queues)
    hooks = attach(app, settings, queues)
    try:
        worker = app.Worker(
            hostname=f"worker-{os.getpid()}@{socket.gethostname()}",
            queues=[OTHER_QUEUE if name == RECOGNIZE_QUEUE else name for name in queues],
            loglevel=log_level,
            without_gossip=True,
            without_mingle=True,
        )
        worker.start()
    except WorkerRefused as refused:
        raise refused.error from None
    finally:
        for signal, hook in hooks:
            signal.disconnect(hook)
    return int(worker.exitcode or 0)


def attach(app: Celery, settings: Settings, queues: Sequence[str] = SERVED) -> list[tuple[Any, Callable[..., None]]]:
    """Make a worker of `app` load the model, beat and stop as it should: the connected signals and hooks."""
    app.conf.include = tasks.MODULES
    pulse: list[Any] = []
    reserve: list[Any] = []

    def start(**_: Any) -> None:
        try:
            record = load(app, settings, queues)
        except SpeakerTasksError as error:
            raise WorkerRefused(error) from None
        except Exception as error:
            # Celery would log it and go on without a model.
            logger.exception("the model could not be loaded")
            raise WorkerRefused(SpeakerTasksError(f"the model could not be loaded: {error!r}")) from error
        from speaker_tasks.pulse import Pulse
        from speaker_tasks.tasks.context import current
        from speaker_tasks.tasks.reserve import Reserve

        pulse.append(Pulse(current(), record))
        if RECOGNIZE_QUEUE in queues:
            reserve.append(Reserve(current(), current().reserved))

    def ready(sender: Any = None, **_: Any) -> None:
        from speaker_tasks.tasks.context import current

        current().intake.announce = announcer(sender)
        for one in (*pulse, *reserve):
            one.start()

    def begin(task_id: str = "", **_: Any) -> None:
        from speaker_tasks.tasks.context import current

        current().outbox.begun(task_id)

    def leave(**_: Any) -> None:
        for one in pulse:
            one.leave()

    def stop(**_: Any) -> None:
        for one in (*reserve, *pulse):
            one.stop()

    hooks: list[tuple[Any, Callable[..., None]]] = [
        (signals.worker_init, start),
        (signals.worker_ready, ready),
        (signals.task_prerun, begin),
        (signals.worker_shutting_down, leave),
        (signals.worker_shutdown, stop),
    ]
    for signal, hook in hooks:
        signal.connect(hook, weak=False)
    return hooks


def announcer(consumer: Any) -> Announce:
    """What tells Flower of the tasks that threads take by themselves, in Celery's words, while Flower wants to know."""

    def announce(kind: str, parcel: Parcel, **more: Any) -> None:
        dispatcher = getattr(consumer, "event_dispatcher", None)  # another one after each reconnection
        if dispatcher is not None and dispatcher.enabled:
            dispatcher.send(kind, uuid=parcel.id, root_id=parcel.id, **more)

    return announce


def load(app: Celery, settings: Settings, queues: Sequence[str]) -> WorkerRecord:
    """Load the model, run it once, and install the tasks' context: what the worker may then say of itself."""
    from speaker_tasks.embedding.embedder import Embedder
    from speaker_tasks.tasks import context

    embedder = Embedder.configured(settings)
    seconds = embedder.warm()
    logger.warning("model %s on %s is warm: first inference %.2f s", embedder.model_id, embedder.device, seconds)
    built = context.build(app, settings, embedder)
    context.install(built)
    _check_redis(built)
    host, pid = socket.gethostname(), os.getpid()
    return WorkerRecord(
        id=f"{host}-{pid}-{int(time.time()):x}",
        host=host,
        pid=pid,
        model=embedder.model_id,
        device=embedder.device,
        runtime=embedder.runtime,
        precision=embedder.precision,
        started=time.time(),
        queues=tuple(queues),
    )


def pin_gpu(environ: MutableMapping[str, str], gpu: int | None, device: str) -> None:
    """Let this process see one GPU only, or none for the device `cpu`. Call it before any framework is imported.

    Raises `ConfigurationError` if the GPU is not there to be seen, or it is too late.
    """
    if gpu is None and device != "cpu":
        return
    if loaded := [name for name in FRAMEWORKS if name in sys.modules]:
        raise ConfigurationError(f"{loaded[0]} is imported already: a GPU can no longer be chosen")
    if gpu is None:
        environ[MASK] = HIDDEN
        return
    if device == "cpu":
        raise ConfigurationError(f"--gpu {gpu} contradicts the device cpu; leave one of them out")
    environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    environ[MASK] = visible_device(gpu, environ.get(MASK))


def visible_device(gpu: int, inherited: str | None) -> str:
    """The mask for the GPU number `gpu` of those that an inherited mask shows: 1 of `2,5` is `5`."""
    if gpu < 0:
        raise ConfigurationError(f"GPUs are counted from 0; got {gpu}")
    if inherited is None:
        return str(gpu)
    shown = [part.strip() for part in inherited.split(",") if part.strip() and part.strip() != HIDDEN]
    if gpu >= len(shown):
        raise ConfigurationError(f"there is no GPU {gpu}: {MASK}={inherited!r} shows {len(shown)}")
    return shown[gpu]


def _check_redis(context: WorkerContext) -> None:
    """What only Redis can tell. A server that is away is no reason to refuse: Celery waits for it, and so do we."""
    try:
        refuse_cluster(context.redis)
        _restore(context)
        context.keeper.load_files(context.active)
    except redis.RedisError as error:
        logger.warning("Redis does not answer yet: %s", error)


def _restore(context: WorkerContext) -> None:
    try:
        restored = context.keeper.restore()
    except SpeakerTasksError as error:
        logger.error("banks cannot be restored: %s", error)
    else:
        if restored:
            logger.warning("restored from snapshots: %s", ", ".join(restored))


def _check_queues(queues: Sequence[str]) -> None:
    if unknown := [name for name in queues if name not in SERVED]:
        raise ConfigurationError(f"there is no queue {unknown[0]!r}; there is {', '.join(SERVED)}")
