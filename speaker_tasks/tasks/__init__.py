"""Thin tasks: fetch the input, call embedding, banks and enrollment, write the outcome to the job's record."""

MODULES = (
    "speaker_tasks.tasks.recognize",
    "speaker_tasks.tasks.identify",
    "speaker_tasks.tasks.webhook",
    "speaker_tasks.tasks.enroll",
)
"""What a worker imports."""
