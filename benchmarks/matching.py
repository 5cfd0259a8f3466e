"""What it costs to find the best speaker of a large bank, on one core: `python -m benchmarks.matching [rows ...]`."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from banks.bank import EMBEDDING_SIZE, Bank
from banks.index import IndexRules, prepare
from banks.matching import match

QUERIES = 100


def voices(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of voices near 64 common directions, (rows, 512), and unit queries near some of them."""
    random = np.random.default_rng(0)
    common = random.standard_normal((64, EMBEDDING_SIZE)).astype(np.float32)
    vectors = random.standard_normal((rows, 64)).astype(np.float32) @ common
    vectors *= random.uniform(0.9, 1, (rows, 1)).astype(np.float32) / np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[random.integers(0, rows, QUERIES)]
    queries = queries + 0.022 * random.standard_normal(queries.shape).astype(np.float32)
    return vectors, queries / np.linalg.norm(queries, axis=1, keepdims=True)


def main() -> None:
    table = Table(
        "rows", "storage", "build s", "median ms", "best ms", "same top-1", title="the best speaker, one core"
    )
    for rows in [int(one) for one in sys.argv[1:]] or [10_000, 100_000]:
        vectors, queries = voices(rows)
        labels = tuple(str(row) for row in range(rows))
        exact: list[int] = []
        for rules in (IndexRules(), IndexRules("float16"), IndexRules("int8"), IndexRules("float16", 1)):
            bank = Bank(labels, vectors, model="benchmark")
            started = time.perf_counter()
            thread = prepare(bank, rules)
            if thread is not None:
                thread.join()
            built = time.perf_counter() - started
            nearest, took = [], []
            for query in queries:
                started = time.perf_counter()
                nearest.append(match(bank, query)[0].row)
                took.append((time.perf_counter() - started) * 1000)
            exact = exact or nearest
            same = np.mean(np.array(nearest) == np.array(exact))
            name = rules.kind(rows) or "float32"
            cells = (f"{built:.1f}", f"{statistics.median(took):.2f}", f"{min(took):.2f}", f"{same:.0%}")
            table.add_row(f"{rows:,}", name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
