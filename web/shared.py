"""What the views of one application share."""

from __future__ import annotations

import logging
import threading
import time

import redis
from flask import current_app

from banks.active import ActiveMode
from banks.audit import AuditLog
from speaker_tasks.client import TaskClient
from speaker_tasks.errors import SpeakerTasksError
from speaker_tasks.jobs.quota import Quota
from speaker_tasks.operations.banks import BankKeeper
from speaker_tasks.operations.timelines import TimelineKeeper
from speaker_tasks.settings import Settings

logger = logging.getLogger(__name__)

EXTENSION = "speaker_tasks"
BELIEVED_SECONDS = 1.0


class Services:
    """What the views of one application share: settings, the way to the workers, the banks. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = TaskClient(settings)
        self.keeper = BankKeeper(self.client.redis, settings)
        self.banks = self.keeper.store
        self.timelines = TimelineKeeper(self.client.redis, settings, self.keeper)
        self.audit: AuditLog = self.keeper.audit
        self._active = ActiveMode(
            self.banks,
            ai=settings.ai_bank,
            moring=settings.moring_bank,
            legacy_model=settings.legacy_model,
            model=self.keeper.serving_model,
        )
        life = settings.payload_ttl + int(settings.wait_seconds)
        self.questions = Quota(self.client.redis, kind="questions", most=settings.key_questions, life=life, pause=2)
        self.enrollments = Quota(
            self.client.redis, kind="enrollments", most=settings.key_enrollments, life=settings.job_ttl, pause=30
        )
        self.limited = False
        """Whether callers' requests and jobs are counted: not on a private service without keys."""
        self.streams = threading.BoundedSemaphore(max(1, settings.web_threads // 2))
        """Streams of events hold a thread each; the other half of the threads stays free for questions."""
        self._loading = threading.Lock()
        self._loaded = False
        self._seen_worker = float("-inf")

    def check_workers(self) -> None:
        """Raise `NoWorker` or `RedisFull` if nobody with a warm model lives; that someone does is believed for 1 s."""
        if time.monotonic() - self._seen_worker < BELIEVED_SECONDS:
            return
        if not self.client.workers():
            raise self.client.no_worker()
        self._seen_worker = time.monotonic()

    @property
    def active(self) -> ActiveMode:
        """The current mode; the first use puts the npz banks of the settings into Redis."""
        with self._loading:
            if not self._loaded:
                self._load_files()
        return self._active

    def _load_files(self) -> None:
        try:
            self.keeper.load_files(self._active)
        except redis.RedisError:
            raise  # tried again with the next request
        except SpeakerTasksError as error:
            logger.error("a default bank cannot be loaded: %s", error)
        self._loaded = True


def services() -> Services:
    """The current application's services."""
    shared: Services = current_app.extensions[EXTENSION]
    return shared
