"""Bank files: npz archives that the first server's readers understand, and the ones that they left behind.

Old readers take the first array as labels and the second as features *by position*, so ours keep that order: `label`
(unicode), `train_feats` (float64), then `card` (JSON in a unicode scalar) and columns that old readers never look at.
Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from banks.bank import Bank, Clips, checked_vectors
from banks.names import clean_name
from speaker_tasks.errors import NotFound, SpeakerTasksError, TooLarge, Unusable

MAX_UNPACKED_BYTES = 8 * 1024**3
"""What the arrays of one file may take in memory: eight times a bank of 400,000 speakers in float32."""
UNNAMED = "unnamed {row}"
"""What a speaker without a name is called: nobody can ask for, rename or remove one without."""
_PLACE = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*://|[^/:]+\Z")
"""How the place of a recording begins, or what an upload was called. Anything else might name what only this service
may name, as a key in Redis."""
_CLIP_ARRAYS = ("clip_owners", "clip_vectors", "clip_seconds", "clip_weights")


def read_npz(path: Path | str, *, model: str) -> Bank:
    """Read a bank file; `model` is the model of a file that does not say which one made it.

    Raises `NotFound` for no such file, `TooLarge` for arrays past `MAX_UNPACKED_BYTES`, `NotFinite` for NaN or
    infinity, and `Unusable` for what is not a bank: no archive, pickled (object) labels, labels that are not one
    column or not names, another number of vectors than labels, clips of nobody.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return read_npz_from(file, str(path), model=model)
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(f"there is no bank file {path}", path=str(path)) from None


def read_npz_from(file: IO[bytes], what: str, *, model: str) -> Bank:
    """`read_npz` from an open file; `what` names it in messages."""
    arrays = _arrays(file, what)
    labels, vectors = _by_name_or_position(arrays, what)
    card = _card(arrays.get("card"), what)
    try:
        bank = Bank(
            labels=_names(_labels(labels, what), what),
            vectors=_features(vectors, what),
            model=str(card.get("model") or model),
            counts=arrays.get("counts", np.zeros(0, np.int64)),
            seconds=arrays.get("seconds", np.zeros(0, np.float32)),
            name=str(card.get("name", "")),
            version=_integer(card.get("version")),
            created=str(card.get("created", "")),
            source=str(card.get("source", "") or f"npz:{Path(what).name}"),
            aliases=_aliases(card, what),
        )
    except (TypeError, ValueError, OverflowError) as error:  # a column of another type
        raise Unusable(f"{what} is not a bank file: {error}") from None
    return replace(bank, clips=_clips(arrays, card, bank, what))


def write_npz(path: Path | str, bank: Bank) -> None:
    """Write `bank` so that no reader ever sees half a file: beside the target first, then renamed over it."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            write_npz_to(file, bank)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_npz_to(file: IO[bytes], bank: Bank) -> None:
    """`write_npz` into an open file."""
    card: dict[str, Any] = {
        "format": 1,
        "name": bank.name,
        "model": bank.model,
        "version": bank.version,
        "created": bank.created,
        "source": bank.source,
    }
    arrays: dict[str, np.ndarray] = {
        "label": np.array(bank.labels, dtype=np.str_),
        "train_feats": bank.vectors.astype(np.float64),
    }
    columns: dict[str, np.ndarray] = {"counts": bank.counts, "seconds": bank.seconds}
    if bank.aliases:
        card["aliases"] = dict(bank.aliases)
    if bank.clips is not None:
        clips = bank.clips
        card["clips"] = {"keys": clips.keys, "paths": clips.paths, "spans": clips.spans}
        columns |= dict(zip(_CLIP_ARRAYS, (clips.owners, clips.vectors, clips.seconds, clips.weights), strict=True))
    arrays["card"] = np.array(json.dumps(card, ensure_ascii=False))
    np.savez(file, **arrays, **columns)  # type: ignore[arg-type]  # the stub takes allow_pickle for one of the arrays


def _arrays(file: IO[bytes], what: str) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise TooLarge(f"{what} unpacks to {unpacked} bytes; {MAX_UNPACKED_BYTES} are allowed", bytes=unpacked)
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            return {name: _array(stored, name, what) for name in stored.files}
    except SpeakerTasksError:
        raise
    except Exception as error:  # zipfile, zlib and numpy's parser of headers raise many kinds for broken files
        raise Unusable(f"{what} is not a bank file: {str(error)[:200] or type(error).__name__}") from None


def _array(stored: Any, name: str, what: str) -> np.ndarray:
    try:
        array = np.asarray(stored[name])
        if not _is_text(array):
            raise Unusable(f"{what}: array {name!r} holds text that is not Unicode", array=name)
        return array
    except ValueError as error:
        if "pickled data" not in str(error) and "Object arrays" not in str(error):
            raise
        raise Unusable(
            f"{what}: array {name!r} holds Python objects, which are never unpickled here; write the file again "
            "with label=np.array(names, dtype=str)",
            array=name,
        ) from None


def _is_text(array: np.ndarray) -> bool:
    """Whether text has Unicode's characters only; numpy believes a file, and Python fails on the first use."""
    if array.dtype.kind != "U" or not array.nbytes:
        return True
    codes = np.ascontiguousarray(array).reshape(-1).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    return int(codes.max()) <= sys.maxunicode


def _by_name_or_position(arrays: dict[str, np.ndarray], what: str) -> tuple[np.ndarray, np.ndarray]:
    if "label" in arrays and "train_feats" in arrays:
        return arrays["label"], arrays["train_feats"]
    if len(arrays) < 2:
        raise Unusable(f"{what} holds {len(arrays)} arrays; labels and vectors are wanted", arrays=list(arrays))
    first, second, *_ = arrays.values()
    return first, second


def _labels(labels: np.ndarray, what: str) -> tuple[str, ...]:
    if labels.ndim != 1:
        raise Unusable(
            f"{what}: labels of shape {labels.shape}; one name a speaker, (N,), is wanted", shape=list(labels.shape)
        )
    if labels.dtype.kind == "S":
        try:
            return tuple(label.decode() for label in labels.tolist())
        except UnicodeDecodeError:
            raise Unusable(f"{what}: labels are bytes that are not UTF-8") from None
    if labels.dtype.kind not in "Uiu":
        raise Unusable(f"{what}: labels of type {labels.dtype}; text is wanted", dtype=str(labels.dtype))
    return tuple(str(label) for label in labels.tolist())


def _names(labels: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The labels as names are kept; who has none is called `UNNAMED`."""
    named = []
    for row, label in enumerate(labels, start=1):
        try:
            named.append(clean_name(label) if label.strip() else UNNAMED.format(row=row))
        except Unusable as error:
            raise Unusable(f"{what}: label {row} cannot be kept: {error.message}", label=row) from None
    return tuple(named)


def _aliases(card: dict[str, Any], what: str) -> dict[str, str]:
    aliases = card.get("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(name, str) for name in aliases.values()):
        raise Unusable(f"{what}: the earlier names in its card are not names")
    return aliases


def _features(vectors: np.ndarray, what: str) -> np.ndarray:
    if vectors.dtype.kind not in "fiu":
        raise Unusable(f"{what}: vectors of type {vectors.dtype}; numbers are wanted", dtype=str(vectors.dtype))
    return vectors


def _card(card: np.ndarray | None, what: str) -> dict[str, Any]:
    if card is None:
        return {}
    try:
        read = json.loads(str(card))
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise Unusable(f"{what}: its card is not a JSON object")
    return read


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0


def _clips(arrays: dict[str, np.ndarray], card: dict[str, Any], bank: Bank, what: str) -> Clips | None:
    info = card.get("clips")
    if info is None:
        return None
    try:
        owners, vectors, seconds, weights = (arrays[name] for name in _CLIP_ARRAYS)
        keys, paths = tuple(map(str, info["keys"])), tuple(map(str, info["paths"]))
        spans = tuple((float(span[0]), float(span[1])) if span else None for span in info["spans"])
        clips = Clips(
            keys=keys,
            owners=owners.astype(np.int64),
            vectors=checked_vectors(vectors, len(keys)),
            seconds=seconds.astype(np.float32),
            weights=weights.astype(np.int64),
            paths=paths,
            spans=spans,
        )
    except (KeyError, TypeError, IndexError, ValueError, OverflowError):
        raise Unusable(f"{what}: its clips are not complete") from None
    lengths = {(len(paths),), (len(spans),), clips.owners.shape, clips.seconds.shape, clips.weights.shape}
    if lengths != {(len(keys),)}:
        raise Unusable(f"{what}: the columns of its clips are not of equal length")
    if keys and not (clips.owners.min() >= 0 and clips.owners.max() < len(bank)):
        raise Unusable(f"{what}: a clip belongs to row {clips.owners.max()}, and there are {len(bank)} speakers")
    if keys and clips.vectors.shape[1] != bank.size:
        raise Unusable(
            f"{what}: its clips have vectors of {clips.vectors.shape[1]} values, its speakers of {bank.size}"
        )
    foreign = next((path for path in paths if path and not _PLACE.match(path)), None)
    if foreign is not None:
        raise Unusable(
            f"{what}: a clip lies at {foreign[:80]!r}; an absolute path, a URL or a file's name is wanted",
            path=foreign[:200],
        )
    return clips
