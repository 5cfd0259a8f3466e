"""The shapes of `/v1/banks`: what is asked and what is answered."""

from __future__ import annotations

from pydantic import BaseModel, Field, model_validator

from web.v1.schemas import MAX_NAME, MAX_WAIT, RequestModel

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

    active: str
    warnings: list[str] = Field(description="Banks that are left out of `all`, and why.")
    banks: list[Bank]


class CohortOf(RequestModel):
    """A bank of other people, to tell scores as AS-norm; null: no more."""

    cohort: str | None = Field(min_length=1, max_length=200)


class NewBank(RequestModel):
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


class Clip(BaseModel):
    """One kept recording of a speaker."""

    key: str = Field(description="Its content's hash, and its part if it is one.")
    path: str = Field(description="Where it was read; empty if nobody kept it.")
    start: float | None
    end: float | None
    seconds: float
    recordings: int = Field(description="How many recordings the vector stands for: 1, but for files without clips.")
    cosine: float | None = Field(description="With the speaker's other recordings; null if there are none.")
    nearest: str | None = Field(description="The other speaker whom it is most like.")
    nearest_cosine: float | None


class ClipList(BaseModel):
    """The recordings of a speaker."""

    clips: list[Clip]


class KeptVersion(BaseModel):
    """A version that is kept."""

    version: int
    created: str
    source: str = Field(description="What made it: an enrollment's job, a change, a file.")
    speakers: int
    model: str
    restores: int | None = Field(description="The version that a rollback or a redo brought back.")


class VersionList(BaseModel):
    """The kept versions of a bank, newest first."""

    versions: list[KeptVersion]


class Recognised(BaseModel):
    """Whether one speaker would be recognised."""

    speaker: str
    named: int = Field(description="How many of the own recordings would be named rightly.")
    clips: int = Field(description="How many were tried, 10 at most; 0 for a speaker with a single one.")
    nearest: str | None = Field(description="The other speaker whom they are most like.")
    reason: str | None = Field(description="Why most of the others would not be named; `another`: under another name.")
    doubtful: bool
    message: str


class CheckAnswer(BaseModel):
    """Who of a bank would be recognised."""

    bank: str
    version: int
    model: str
    speakers: list[Recognised]
    warnings: list[str] = Field(description="A sentence, with the cure, for each who would hardly be named.")


class CheckQuery(RequestModel):
    """Whom to check, and how long to wait for the answer."""

    speaker: str | None = Field(None, min_length=1, max_length=MAX_NAME, description="One speaker; default: all.")
    wait: float | None = Field(None, ge=0, le=MAX_WAIT, allow_inf_nan=False, description="Seconds; 0: 202 at once.")


class BankPath(BaseModel):
    """A bank by its name."""

    name: str = Field(min_length=1, max_length=MAX_NAME)


class SpeakerPath(BankPath):
    """A speaker of a bank."""

    speaker: str = Field(min_length=1, max_length=MAX_NAME)


class ClipPath(BankPath):
    """A clip of a bank: its key, or how that begins."""

    key: str = Field(min_length=1, max_length=200)


class ClipQuery(RequestModel):
    """Whose clips."""

    speaker: str = Field(min_length=1, max_length=MAX_NAME)


class MoveClip(RequestModel):
    """Whose the clip is."""

    speaker: str = Field(min_length=1, max_length=MAX_NAME, description="Who gets it.")
    new: bool = Field(False, description="Create the speaker if the bank does not have it.")


class VersionQuery(RequestModel):
    """A kept version."""

    version: int | None = Field(None, ge=1, le=MAX_VERSION)


class DiffQuery(RequestModel):
    """Two kept versions; by default the last two."""

    before: int | None = Field(None, ge=1, le=MAX_VERSION)
    after: int | None = Field(None, ge=1, le=MAX_VERSION)


class RemoveQuery(RequestModel):
    """How to remove a speaker."""

    purge: bool = Field(False, description="From every version, snapshot and cache too: a voice is personal data.")


class ImportQuery(RequestModel):
    """How to read a bank file."""

    model: str | None = Field(None, min_length=1, max_length=MAX_NAME, description="Of a file that does not say it.")
    replace: bool = Field(False, description="If the bank exists, write a new version of it.")


class Rename(RequestModel):
    """A speaker's new name."""

    name: str = Field(min_length=1, max_length=MAX_NAME)


class Merge(RequestModel):
    """Two speakers who are one."""

    speaker: str = Field(min_length=1, max_length=MAX_NAME, description="Whose clips go.")
    into: str = Field(min_length=1, max_length=MAX_NAME, description="Who gets them.")


class Rollback(RequestModel):
    """The version to go back to; by default the one before."""

    version: int | None = Field(None, ge=1, le=MAX_VERSION)


class SpeakerChange(BaseModel):
    """A speaker whose vector moved."""

    label: str
    count_before: int
    count_after: int
    cosine: float


class DiffAnswer(BaseModel):
    """Show what changed between two versions of a bank."""

    added: list[str]
    removed: list[str]
    renamed: list[list[str]]
    changed: list[SpeakerChange]


class Active(RequestModel):
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


class AuditQuery(RequestModel):
    """How many entries."""

    limit: int = Field(100, ge=1, le=1000)
    bank: str | None = Field(None, max_length=200, description="Only changes of this bank.")
