"""The bank: enrolled speakers, one row each, of one model; and the clips that its rows are the means of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from speaker_tasks.errors import ModelMismatch, NotFinite, Unusable

EMBEDDING_SIZE = 512
_MODEL_ID = re.compile(r"(?P<name>.+)-[0-9a-f]{12}")


@dataclass(frozen=True, eq=False)
class Clips:
    """The kept recordings of a bank, columns of equal length M, in the order in which they were enrolled.

    A row that came without its clips (an old npz file) is one clip of itself, with the weight of its recordings.
    """

    keys: tuple[str, ...]
    """Each recording's identity within the bank: its content hash, and its span if it is part of a file."""
    owners: np.ndarray
    """(M,) int64: the row of the bank that the clip belongs to."""
    vectors: np.ndarray
    """(M, D) float32 unit vectors."""
    seconds: np.ndarray
    """(M,) float32."""
    weights: np.ndarray
    """(M,) int64: how many recordings the vector stands for; 1 but for rows that came without clips."""
    paths: tuple[str, ...]
    """Where the recording was read, as an absolute path or a URL; the file's name if it was uploaded; or empty."""
    spans: tuple[tuple[float, float] | None, ...]
    """Start and end in seconds of the part that was used; None is the whole file."""

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, indices: np.ndarray | Sequence[int]) -> Clips:
        """The clips at `indices`, in that order."""
        chosen = np.asarray(indices, np.int64)
        return Clips(
            keys=tuple(self.keys[i] for i in chosen),
            owners=self.owners[chosen],
            vectors=self.vectors[chosen],
            seconds=self.seconds[chosen],
            weights=self.weights[chosen],
            paths=tuple(self.paths[i] for i in chosen),
            spans=tuple(self.spans[i] for i in chosen),
        )


@dataclass(frozen=True, eq=False)
class Bank:
    """Enrolled speakers of one model.

    `vectors` are means of unit vectors and are **not** normalised again: scores stay comparable with those that the
    first server's clients logged. Labels may repeat (the union of two banks that know the same person).

    Raises `Unusable` where the columns' shapes do not fit each other, `NotFinite` for NaN or infinity.
    """

    labels: tuple[str, ...]
    vectors: np.ndarray
    """(N, D) float32."""
    model: str
    """Id of the model that made the vectors, or its bare name where a file did not say more."""
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """(N,) int64: recordings behind each row; 0 where unknown."""
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """(N,) float32: seconds behind each row; 0 where unknown."""
    name: str = ""
    version: int = 0
    created: str = ""
    source: str = ""
    """What made this version: a file, a job, an operation."""
    clips: Clips | None = None
    """None: not kept, or not asked for."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Earlier names of speakers, before a rename or a merge, and their names now."""

    def __post_init__(self) -> None:
        rows = len(self.labels)
        object.__setattr__(self, "vectors", checked_vectors(self.vectors, rows))
        object.__setattr__(self, "counts", _column(self.counts, rows, np.int64, "counts"))
        object.__setattr__(self, "seconds", _column(self.seconds, rows, np.float32, "seconds"))
        if self.aliases:
            labels = set(self.labels)
            kept = {old: new for old, new in self.aliases.items() if new in labels and old not in labels}
            object.__setattr__(self, "aliases", kept)
        if not self.created:
            object.__setattr__(self, "created", datetime.now(UTC).isoformat(timespec="seconds"))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """The number of values in a vector."""
        return int(self.vectors.shape[1])


def checked_vectors(vectors: object, rows: int) -> np.ndarray:
    """`vectors` as a read-only (rows, D) float32 array. Raises `Unusable` or `NotFinite`."""
    try:
        given = np.asarray(vectors)
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(given, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise Unusable("the vectors are not a table of numbers with rows of equal length") from None
    if array.ndim != 2:
        raise Unusable(f"the vectors have shape {array.shape}; (speakers, values) is wanted", shape=list(array.shape))
    if len(array) != rows:
        raise Unusable(f"{rows} labels but {len(array)} vectors", labels=rows, vectors=len(array))
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise NotFinite(f"vector {row} holds NaN or infinity", row=row)
    if array is given and array.flags.writeable:
        array = array.copy()
    array.setflags(write=False)
    return array


def same_model(a: str, b: str) -> bool:
    """Whether two model ids name one model: equal, or one is the bare name (`vgg`) of the other (`vgg-<hash>`)."""
    return bool(a) and bool(b) and (a == b or a == _bare(b) or b == _bare(a))


def check_model(bank: Bank, model: str) -> None:
    """Raise `ModelMismatch` (409) unless vectors of `model` may be compared with the bank's; an empty bank fits all."""
    if len(bank) and not same_model(bank.model, model):
        raise ModelMismatch(
            f"bank {bank.name!r} holds vectors of {bank.model!r}, not of {model!r}: vectors of two models are never "
            "compared; enroll the bank again under the other model",
            bank=bank.name,
            bank_model=bank.model,
            model=model,
        )


def union(banks: Sequence[Bank], *, name: str, size: int = EMBEDDING_SIZE) -> Bank:
    """All rows of `banks`, in order; labels that two banks share stay twice. Raises `ModelMismatch`."""
    filled = [bank for bank in banks if len(bank)]
    if not filled:
        return Bank((), np.zeros((0, size), np.float32), model="", name=name)
    first = max(filled, key=lambda bank: len(bank.model))
    for bank in filled:
        check_model(bank, first.model)
        if bank.size != first.size:
            raise Unusable(f"bank {bank.name!r} has vectors of {bank.size} values, {first.name!r} of {first.size}")
    if len(filled) == 1:
        return replace(filled[0], name=name, clips=None)
    return Bank(
        labels=tuple(label for bank in filled for label in bank.labels),
        vectors=np.concatenate([bank.vectors for bank in filled]),
        model=first.model,
        counts=np.concatenate([bank.counts for bank in filled]),
        seconds=np.concatenate([bank.seconds for bank in filled]),
        name=name,
        source="union of " + ", ".join(bank.name for bank in filled),
    )


def misfit(name: str, model: str, size: int, wanted_model: str | None, wanted_size: int) -> str | None:
    """Why a bank's vectors cannot be asked together with others, in a sentence; None if they can.

    `wanted_model` is None where it is not known.
    """
    if size != wanted_size:
        return f"bank {name!r} has vectors of {size} values, not of {wanted_size}: it was made by another model"
    if wanted_model is not None and not same_model(model, wanted_model):
        return f"bank {name!r} holds vectors of {model!r}, not of {wanted_model!r}"
    return None


def _bare(model: str) -> str:
    match = _MODEL_ID.fullmatch(model)
    return match["name"] if match else model


def _column(values: object, rows: int, dtype: type, what: str) -> np.ndarray:
    array: np.ndarray = np.array(values, dtype)
    if array.shape == (0,):
        array = np.zeros(rows, dtype)
    if array.shape != (rows,):
        raise Unusable(f"{rows} labels but {what} of shape {array.shape}")
    array.setflags(write=False)
    return array
