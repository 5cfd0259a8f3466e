"""Thin tasks: fetch the input, call the rooms below, write the outcome to the job's record."""

MODULES = (
    "speaker_tasks.tasks.recognize",
    "speaker_tasks.tasks.identify",
    "speaker_tasks.tasks.check",
    "speaker_tasks.tasks.webhook",
    "speaker_tasks.tasks.enroll",
    "speaker_tasks.tasks.timeline",
)
"""What a worker imports."""
