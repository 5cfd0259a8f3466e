"""Inputs by chance for a stack that runs: no 5xx, each job ends, and no process grows without bound."""

from __future__ import annotations

import shutil

import psutil

from tests.fuzz.__main__ import KINDS, run
from tests.fuzz.service import Service
from tests.integration.stack import Stack, Web

INPUTS = {"recordings": 30, "bodies": 40, "archives": 10, "bank files": 20}
OTHERS = 8
MOST_BYTES = 2 << 30
"""Two thirds of what a container of a worker may have; by then this one may have heard timelines, too."""


def test_no_input_is_a_fault_of_ours(stack: Stack, web: Web) -> None:
    folder = stack.folder / "data" / "strange"
    try:
        for kind, read in Service(web.url, folder).readers().items():
            assert kind in KINDS
            print(kind, run(kind, INPUTS.get(kind, OTHERS), read=read))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for process in stack.processes:
        if process.popen.poll() is None:
            for one in (found := psutil.Process(process.pid), *found.children(recursive=True)):
                assert one.memory_info().rss < MOST_BYTES, (one.cmdline(), one.memory_info().rss)
    assert stack.client().workers(), "the worker lives"
