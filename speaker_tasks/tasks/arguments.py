"""What the tasks take, by name and in JSON; anything else is a typed error, at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from speaker_tasks.errors import Malformed

MOST_NAME = 200
MOST_CANDIDATES = 100
MOST_ROSTER = 1_000
MOST_SPEAKERS = 50
"""In one recording."""
MOST_SOURCE = 1_400_000
"""Characters of a recording in base64: a megabyte."""


class Arguments(BaseModel):
    """Base of all: an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Question(Arguments):
    """One recording."""

    audio: list[str] = Field(min_length=1, max_length=1)
    """The key of a payload, a path or URL that the worker may read, or a file in base64."""
    webhook: str | None = Field(None, max_length=300)

    @field_validator("audio", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("audio")
    @classmethod
    def _not_too_large(cls, value: list[str]) -> list[str]:
        if any(len(one) > MOST_SOURCE for one in value):
            raise ValueError("base64 takes a megabyte at most; name a path, or ask over HTTP")
        return value


class Identify(Question):
    """Who of a bank speaks."""

    bank: str | None = Field(None, min_length=1, max_length=MOST_NAME)
    top_k: int = Field(5, ge=1, le=MOST_CANDIDATES)
    threshold: float | None = Field(None, ge=-1, le=1, allow_inf_nan=False)


class Verify(Question):
    """Whether it is the claimed speaker."""

    speaker: str = Field(min_length=1, max_length=MOST_NAME)
    bank: str | None = Field(None, min_length=1, max_length=MOST_NAME)
    threshold: float | None = Field(None, ge=-1, le=1, allow_inf_nan=False)


class Compare(Question):
    """Whether two recordings are of one voice."""

    audio: list[str] = Field(min_length=2, max_length=2)
    threshold: float | None = Field(None, ge=-1, le=1, allow_inf_nan=False)


class Check(Question):
    """Who of a bank would be recognised; there is no recording."""

    audio: list[str] = Field(default=[], max_length=0)
    bank: str = Field(min_length=1, max_length=MOST_NAME)
    speaker: str | None = Field(None, min_length=1, max_length=MOST_NAME)
    """One speaker alone."""


class Timeline(Question):
    """Who of a bank speaks when."""

    bank: str | None = Field(None, min_length=1, max_length=MOST_NAME)
    roster: list[str] | None = Field(None, min_length=1, max_length=MOST_ROSTER)
    """Who of the bank may be present."""
    speakers: int | None = Field(None, ge=1, le=MOST_SPEAKERS)
    min_speakers: int | None = Field(None, ge=1, le=MOST_SPEAKERS)
    max_speakers: int | None = Field(None, ge=1, le=MOST_SPEAKERS)
    overlap: bool = True

    @model_validator(mode="after")
    def _counts_agree(self) -> Timeline:
        if self.speakers is not None and (self.min_speakers or self.max_speakers):
            raise ValueError("give speakers, or min_speakers and max_speakers")
        if (self.min_speakers or 1) > (self.max_speakers or MOST_SPEAKERS):
            raise ValueError("min_speakers is more than max_speakers")
        return self


class Enroll(Arguments):
    """Recordings into a bank."""

    bank: str = Field(min_length=1)
    path: str | None = None
    """What the workers can read; or a `source` that was uploaded."""
    source: dict[str, str] = Field(default_factory=dict)
    mode: Literal["create", "add", "replace", "rebuild"] = "add"
    options: dict[str, Any] = Field(default_factory=dict)
    dry_run: bool = False
    force: bool = False
    model: str | None = Field(None, min_length=1, max_length=MOST_NAME)
    """The id of the model to enroll under, where workers run several."""


Kind = TypeVar("Kind", bound=Arguments)


def read(kind: type[Kind], positional: Sequence[Any], named: Mapping[str, Any]) -> Kind:
    """The arguments of a call. Raises `Malformed` with the name of what is wrong."""
    if positional:
        raise Malformed(f"arguments are given by name; got {len(positional)} without one")
    try:
        return kind(**named)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"]
        if first["type"] == "extra_forbidden":
            message = f"there is no such argument; there is {', '.join(kind.model_fields)}"
        raise Malformed(f"{where}: {message}", where=where) from None
