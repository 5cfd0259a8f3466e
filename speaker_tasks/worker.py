"""What a worker process does: pin its GPU, load and warm the model, tell Redis that it is ready, and stop well.

Celery's threads pool never sends `worker_process_init`; the model is loaded in `worker_init`, before the pool exists.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import redis
from celery import Celery, signals
from celery.exceptions import SecurityWarning

from speaker_tasks import logs, tasks, tracing
from speaker_tasks.celery_app import QUEUES, make_celery, refuse_cluster
from speaker_tasks.errors import ConfigurationError, SpeakerTasksError
from speaker_tasks.gpus import MASK, gpus, shown
from speaker_tasks.interpreter import outdated
from speaker_tasks.jobs.delivery import JOB_HEADER
from speaker_tasks.jobs.heartbeat import WorkerRecord
from speaker_tasks.jobs.places import queue_at
from speaker_tasks.redis_server import eviction
from speaker_tasks.settings import Settings

if TYPE_CHECKING:
    from speaker_tasks.tasks.context import WorkerContext
    from speaker_tasks.tasks.housekeeping import Housekeeping

logger = logging.getLogger(__name__)

FRAMEWORKS = ("keras", "tensorflow", "torch", "jax", "openvino")
HIDDEN = "-1"
EVENT_SECONDS = 5.0
"""How often Celery tells Flower that the worker is there."""
WAIT_FOR_SERVER_SECONDS = 10.0
"""How long a thread other than the consumer's tries to connect."""
LOUD = ("celery.worker.strategy", "celery.app.trace")
"""Loggers that write two lines a task, which costs as much as the task's own way through Celery; errors they tell."""


class WorkerRefused(SystemExit):
    """Leaves Celery's start, which swallows plain exceptions of its hooks; `error` says why."""

    def __init__(self, error: SpeakerTasksError) -> None:
        super().__init__(f"the worker does not start: {error}")
        self.error = error


def run_worker(settings: Settings, *, queues: Sequence[str] = QUEUES, log_level: str = "INFO") -> int:
    """Serve until a signal ends it: the exit status.

    The GPU must be pinned before (see `pin_gpu`). Raises `WeightsMissing`, `WeightsRefused` or `ConfigurationError` if
    the worker cannot start.
    """
    app = make_celery(settings)
    _check_queues(queues)
    tracing.start(settings, "speaker-worker")
    if lacking := outdated():
        logger.warning(lacking)
    if os.geteuid() == 0:
        logger.warning("this worker runs as root, and decodes what others send: a user of its own is safer")
    warnings.filterwarnings("ignore", category=SecurityWarning)  # Celery says it in eight lines, also to some others
    hooks = attach(app, settings, queues)
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.INFO if log_level == "DEBUG" else logging.WARNING)
    try:
        worker = app.Worker(
            hostname=f"worker-{os.getpid()}@{socket.gethostname()}",
            queues=list(queues),
            loglevel=log_level,
            heartbeat_interval=EVENT_SECONDS,
            without_gossip=True,
            without_mingle=True,
            quiet=True,  # no banner
        )
        worker.start()
    except WorkerRefused as refused:
        raise refused.error from None
    finally:
        for signal, hook in hooks:
            signal.disconnect(hook)
    return int(worker.exitcode or 0)


def attach(app: Celery, settings: Settings, queues: Sequence[str] = QUEUES) -> list[tuple[Any, Callable[..., None]]]:
    """Make a worker of `app` load the model, beat and stop as it should: the connected signals and hooks."""
    app.conf.include = tasks.MODULES
    app.conf.broker_transport_options = app.conf.broker_transport_options | {"wait_for_server": WAIT_FOR_SERVER_SECONDS}
    begun: list[tuple[WorkerContext, Housekeeping]] = []

    def start(sender: Any = None, **_: Any) -> None:
        try:
            context, record = load(app, settings, queues)
        except SpeakerTasksError as error:
            raise WorkerRefused(error) from None
        except Exception as error:
            # Celery would log it and go on without a model.
            logger.exception("the model could not be loaded")
            raise WorkerRefused(SpeakerTasksError(f"the model could not be loaded: {error!r}")) from error
        from speaker_tasks.tasks import figures
        from speaker_tasks.tasks.housekeeping import Housekeeping

        sender.concurrency = context.threads
        if settings.metrics_port:
            try:
                figures.publish(context)
            except SpeakerTasksError as error:
                raise WorkerRefused(error) from None
        begun.append((context, Housekeeping(context, record)))

    def ready(sender: Any = None, **_: Any) -> None:
        for context, housekeeping in begun:
            for queue in queues:
                sender.add_task_queue(queue_at(queue, context.place))
            housekeeping.start()

    def leave(**_: Any) -> None:
        for context, _housekeeping in begun:
            context.leaving.set()

    def stop(**_: Any) -> None:
        for _context, housekeeping in begun:
            housekeeping.stop()
        tracing.stop()

    def prerun(task: Any = None, **_: Any) -> None:
        task.request.end_span = tracing.begin(f"run {task.name}", "CONSUMER", tracing.carried(task.request.get))

    def postrun(task: Any = None, **_: Any) -> None:
        task.request.end_span({"speaker.job": _job_of(task.request)}, False)

    def revoked(request: Any = None, **_: Any) -> None:
        for context, _housekeeping in begun:
            cancel(context, request)

    def failed(sender: Any = None, exception: Any = None, **_: Any) -> None:
        for context, _housekeeping in begun:
            end_failed(context, sender.request, exception)

    def log(loglevel: Any = None, **_: Any) -> None:
        logs.configure(settings.log_format, loglevel)

    hooks: list[tuple[Any, Callable[..., None]]] = [
        (signals.setup_logging, log),
        (signals.worker_init, start),
        (signals.worker_ready, ready),
        (signals.worker_shutting_down, leave),
        (signals.worker_shutdown, stop),
        (signals.task_revoked, revoked),
        (signals.task_failure, failed),
    ]
    if settings.otlp_endpoint:
        hooks += [(signals.task_prerun, prerun), (signals.task_postrun, postrun)]
    for signal, hook in hooks:
        signal.connect(hook, weak=False)
    return hooks


def cancel(context: WorkerContext, request: Any) -> None:
    """A task was revoked (`celery control revoke`, Flower): so is its job."""
    job_id = _job_of(request)
    try:
        context.jobs.finish(job_id, "canceled", message_id=request.id)
    except redis.RedisError as error:
        logger.warning("job %s is not canceled though its task was revoked: %s", job_id, error)


def end_failed(context: WorkerContext, request: Any, error: Exception) -> None:
    """A task ended by an error that it should have written down: so does its job, which would run for ever.

    What Redis refused while the worker is leaving is not such an error: another worker does it again. Nor does it
    matter to whoever runs the task by now, if this worker was taken for dead.
    """
    from speaker_tasks.tasks.running import internal, is_passing

    if isinstance(error, SpeakerTasksError) or is_passing(error):
        return
    job_id = _job_of(request)
    try:
        if context.deliveries.holder(request.id) in (None, context.worker):
            context.jobs.finish(job_id, "failed", error=internal().to_dict(), message_id=request.id)
    except redis.RedisError as away:
        logger.warning("job %s is not ended though its task failed: %s", job_id, away)


def _job_of(request: Any) -> str:
    """The job of a task's call: the one that its message names, else the one that was made for it."""
    return str(request.get(JOB_HEADER) or request.id)


def load(app: Celery, settings: Settings, queues: Sequence[str]) -> tuple[WorkerContext, WorkerRecord]:
    """Load the model, run it once, and install the tasks' context: what the worker may then say of itself."""
    from speaker_tasks.embedding.embedder import Embedder
    from speaker_tasks.tasks import context

    embedder = Embedder.configured(settings)
    seconds = embedder.warm()
    logger.warning("model %s on %s is warm: first inference %.2f s", embedder.model_id, embedder.device, seconds)
    if embedder.device == "cpu" and settings.device == "auto" and (idle := gpus()):
        logger.warning("%d GPUs lie idle: `speaker-tasks worker --gpus all` uses them", len(idle))
    built = context.build(app, settings, embedder)
    context.install(built)
    _check_redis(built)
    record = WorkerRecord(
        id=built.worker,
        host=socket.gethostname(),
        pid=os.getpid(),
        model=embedder.model_id,
        device=embedder.device,
        runtime=embedder.runtime,
        precision=embedder.precision,
        started=time.time(),
        queues=tuple(queues),
        roots=built.roots,
        place=built.place,
    )
    return built, record


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
    devices = shown(inherited)
    if gpu >= len(devices):
        raise ConfigurationError(f"there is no GPU {gpu}: {MASK}={inherited!r} shows {len(devices)}")
    return devices[gpu]


def _check_redis(context: WorkerContext) -> None:
    """What only Redis can tell. A server that is away is no reason to refuse: Celery waits for it, and so do we."""
    try:
        refuse_cluster(context.redis)
        if lost := eviction(context.redis):
            logger.warning("%s; set maxmemory-policy noeviction", lost)
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
    if unknown := [name for name in queues if name not in QUEUES]:
        raise ConfigurationError(f"there is no queue {unknown[0]!r}; there is {', '.join(QUEUES)}")
