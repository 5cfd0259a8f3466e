"""The shapes of `/v1/banks`: what is asked and what is answered."""

from __future__ import annotations

from pydantic import BaseModel, Field, model_validator

from web.schemas import MAX_NAME, Asked

MAX_VERSION = 2**31


class Bank(BaseModel):
    """What is known of a bank without its vectors."""

    name: str
    version: int
    model: str
    speakers: int
    size: int
    created: str
    source: str
    versions: list[int] = Field(description="Those that are kept, newest first.")
    cohort: str | None = Field(None, description="The bank of other people that scores are normalised with (AS-norm).")


class BankAnswer(BaseModel):
    """One bank."""

    bank: Bank


class BankList(BaseModel):
    """All banks, and which one is asked where a question names none."""

    banks: list[Bank]
    active: str


class CohortOf(Asked):
    """A bank of other people, to tell scores as AS-norm; null: no more."""

    cohort: str | None = Field(min_length=1, max_length=200)


class NewBank(Asked):
    """A bank to make: empty, a copy of one, or the union of several."""

    name: str = Field(min_length=1, max_length=MAX_NAME)
    model: str | None = Field(None, max_length=MAX_NAME, description="Of an empty bank; default: the workers' model.")
    copy_of: str | None = Field(None, min_length=1, max_length=MAX_NAME)
    union_of: list[str] | None = Field(None, min_length=1, max_length=100)

    @model_validator(mode="after")
    def _one_way(self) -> NewBank:
        if sum(way is not None for way in (self.model, self.copy_of, self.union_of)) > 1:
            raise ValueError("only one of model, copy_of and union_of can be given")
        return self


class Change(BaseModel):
    """A change that is done: the bank's new version, and what went wrong beside it."""

    bank: str
    version: int
    warnings: list[str]


class Deleted(BaseModel):
    """A bank that is gone."""

    bank: str
    warnings: list[str]


class Snapshot(BaseModel):
    """Where a bank's snapshot was written."""

    bank: str
    place: str


class Speaker(BaseModel):
    """One enrolled speaker."""

    label: str
    recordings: int
    seconds: float


class SpeakerList(BaseModel):
    """The speakers of a bank."""

    speakers: list[Speaker]


class BankPath(BaseModel):
    """A bank by its name."""

    name: str = Field(min_length=1, max_length=MAX_NAME)


class SpeakerPath(BankPath):
    """A speaker of a bank."""

    speaker: str = Field(min_length=1, max_length=MAX_NAME)


class VersionQuery(Asked):
    """A kept version."""

    version: int | None = Field(None, ge=1, le=MAX_VERSION)


class DiffQuery(Asked):
    """Two kept versions; by default the last two."""

    before: int | None = Field(None, ge=1, le=MAX_VERSION)
    after: int | None = Field(None, ge=1, le=MAX_VERSION)


class RemoveQuery(Asked):
    """How to remove a speaker."""

    purge: bool = Field(False, description="From every version, snapshot and cache too: a voice is personal data.")


class ImportQuery(Asked):
    """How to read a bank file."""

    model: str | None = Field(None, min_length=1, max_length=MAX_NAME, description="Of a file that does not say it.")
    replace: bool = Field(False, description="Write a new version of a bank that is there.")


class Rename(Asked):
    """A speaker's new name."""

    name: str = Field(min_length=1, max_length=MAX_NAME)


class Merge(Asked):
    """Two speakers who are one."""

    speaker: str = Field(min_length=1, max_length=MAX_NAME, description="Whose clips go.")
    into: str = Field(min_length=1, max_length=MAX_NAME, description="Who gets them.")


class Rollback(Asked):
    """The version to go back to; by default the one before."""

    version: int | None = Field(None, ge=1, le=MAX_VERSION)


class SpeakerChange(BaseModel):
    """A speaker whose vector moved."""

    label: str
    count_before: int
    count_after: int
    cosine: float


class DiffAnswer(BaseModel):
    """What changed between two versions."""

    added: list[str]
    removed: list[str]
    renamed: list[list[str]]
    changed: list[SpeakerChange]


class Active(Asked):
    """The bank that is asked where a question names none; `all` is all of them."""

    bank: str = Field(min_length=1, max_length=MAX_NAME)


class AuditEntry(BaseModel):
    """One change: who, what, when. No voices."""

    id: str
    when: str
    who: str = Field(description="An API key's name, `cli:<user>`, `job:<id>`, or `service`.")
    what: str
    bank: str
    status: int
    request_id: str
    address: str


class AuditList(BaseModel):
    """The newest changes first."""

    entries: list[AuditEntry]


class AuditQuery(Asked):
    """How many entries."""

    limit: int = Field(100, ge=1, le=1000)
    bank: str | None = Field(None, max_length=200, description="Of one bank only.")
