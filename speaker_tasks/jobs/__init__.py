"""Jobs in Redis: their records, the task messages that do their work, the audio that they are about."""

from speaker_tasks.jobs.record import JobRecord, State, new_id
from speaker_tasks.jobs.store import JobStore

__all__ = ["JobRecord", "JobStore", "State", "new_id"]
