"""Indexes of large banks: fewer bytes to read for each question, or fewer rows to look at, and exact scores at the end.

An index names candidates; their scores are then computed from the bank's own float32 rows, so that an answer's score
is the same with and without one. Matching 100,000 rows takes 7 to 12 ms in float32 on one core here, 4 ms in float16,
and 0.3 ms in an approximate index of half precision, which takes some 10 s to build. `faiss` does the work; it is an
extra (`pip install speaker-tasks[index]`).
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from banks.bank import Bank
from speaker_tasks.errors import ConfigurationError

Storage = Literal["float32", "float16", "int8"]
CANDIDATES = 256
"""Rows that an index names at least, to be scored exactly."""
SEEN_LISTS = 32
"""Lists of an approximate index that are looked at for one question."""
TRAINED_ON = 64
"""Rows for each list from which an approximate index is trained."""
_CODES = {"float16": "SQfp16", "int8": "SQ8"}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexRules:
    """When a bank gets an index, and which."""

    storage: Storage = "float32"
    """What scans of all rows read; float32 needs no index."""
    approximate_from: int = 0
    """Banks of so many rows and more get an approximate index; 0: none."""

    def kind(self, rows: int) -> str:
        """The `faiss` description of the index for a bank of so many rows; empty for none."""
        codes = _CODES.get(self.storage, "")
        if self.approximate_from and rows >= self.approximate_from:
            return f"IVF{max(1, int(4 * rows**0.5))},{codes or _CODES['float16']}"
        return codes


class RowIndex:
    """An index over the rows of one bank. Raises `ConfigurationError` without `faiss`."""

    def __init__(self, vectors: np.ndarray, kind: str) -> None:
        try:
            import faiss
        except ImportError:
            raise ConfigurationError(
                "indexes of large banks need faiss: pip install 'speaker-tasks[index]', or leave SPEAKER_MATCH_STORAGE "
                "and SPEAKER_APPROXIMATE_FROM as they are"
            ) from None
        rows, size = vectors.shape
        self.kind = kind
        self._index: Any = faiss.index_factory(size, kind, faiss.METRIC_INNER_PRODUCT)
        lists = getattr(self._index, "nlist", 256)
        sample = np.random.default_rng(0).permutation(rows)[: TRAINED_ON * lists]
        self._index.train(vectors[np.sort(sample)])
        self._index.add(vectors)
        if hasattr(self._index, "nprobe"):
            self._index.nprobe = SEEN_LISTS

    def rows(self, query: np.ndarray, k: int) -> np.ndarray:
        """The likely `k` best rows for a query (D,), in ascending order; at least `CANDIDATES` if there are."""
        wanted = min(max(k, CANDIDATES), self._index.ntotal)
        _, neighbours = self._index.search(np.ascontiguousarray(query, np.float32)[None], wanted)
        return np.sort(neighbours[0][neighbours[0] >= 0])


_indexes: WeakKeyDictionary[Bank, RowIndex | None] = WeakKeyDictionary()
_lock = threading.Lock()


def index_of(bank: Bank) -> RowIndex | None:
    """The bank's index, if it has one that is ready."""
    return _indexes.get(bank)


def prepare(bank: Bank, rules: IndexRules) -> threading.Thread | None:
    """Begin to build the bank's index, if the rules give it one; until it is ready, all rows are scanned."""
    kind = rules.kind(len(bank))
    with _lock:
        if not kind or not len(bank) or bank in _indexes:
            return None
        _indexes[bank] = None
    thread = threading.Thread(target=_build, args=(bank, kind), name="bank-index", daemon=True)
    thread.start()
    return thread


def _build(bank: Bank, kind: str) -> None:
    try:
        _indexes[bank] = RowIndex(bank.vectors, kind)
    except ConfigurationError as error:
        _logger.error("bank %r is scanned as a whole: %s", bank.name, error)
    except Exception:
        _logger.exception("bank %r is scanned as a whole: its index %s cannot be built", bank.name, kind)
