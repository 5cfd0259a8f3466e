"""Where recordings come from: sources to one manifest, a report on every recording, and the plain enrollment flow."""

from enrollment.flow import Enrolled, SpeakerEnroll
from enrollment.manifest import Entry, Manifest

__all__ = ["Enrolled", "Entry", "Manifest", "SpeakerEnroll"]
