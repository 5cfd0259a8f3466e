"""What programs import: `SpeakerTasks(url, key).identify("x.wav")`, its async twin, and what their calls answer.

Imports nothing heavy: httpx is all that it needs.
"""

from speaker_tasks.sdk.async_client import AsyncSpeakerTasks
from speaker_tasks.sdk.calls import Progress
from speaker_tasks.sdk.results import Candidate, Identification, Job, Timeline, Turn, Vector, Verification
from speaker_tasks.sdk.sync_client import SpeakerTasks

__all__ = [
    "AsyncSpeakerTasks",
    "Candidate",
    "Identification",
    "Job",
    "Progress",
    "SpeakerTasks",
    "Timeline",
    "Turn",
    "Vector",
    "Verification",
]
