"""The application for Celery's own commands: `celery -A speaker_tasks.entry flower`, `... inspect active`."""

from speaker_tasks.celery_app import make_celery
from speaker_tasks.settings import Settings
from speaker_tasks.worker import attach

_settings = Settings()
app = make_celery(_settings)
attach(app, _settings)
