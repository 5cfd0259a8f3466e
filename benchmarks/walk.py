"""The way of one question through our own functions: `python -m benchmarks.walk [RECORDING] [--calls]`.

Prints how many of them are called for `POST /v1/identify` in the web process and in the worker, in how many modules,
and which modules are entered from another one several times. Web and worker run in one process here, on an embedded
server, after a few questions that warm the network up. A generator counts each time that it goes on.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OURS = tuple(f"{ROOT / name}{os.sep}" for name in ("speaker_tasks", "web", "banks", "enrollment"))
RECORDING = ROOT / "banks" / "demo" / "speakers" / "Alice" / "5.ogg"
WARM_UP = 5
THREAD = "client"

calls: list[tuple[str, str, str]] = []
"""Thread, module and function of each call since the last question began."""


def note(frame: FrameType, event: str, _: Any) -> None:
    """Remember a call of ours."""
    name = frame.f_code.co_filename
    if event == "call" and name.startswith(OURS):
        calls.append((threading.current_thread().name, str(Path(name).relative_to(ROOT)), frame.f_code.co_qualname))


def ask(recording: bytes, url: str, folder: str) -> None:
    """Enrol the recording, ask who it is a few times in this very thread, then end the process' worker."""
    from banks.bank import Bank
    from banks.store import BankStore
    from speaker_tasks.client import TaskClient
    from speaker_tasks.settings import Settings
    from web.app import create_app

    settings = Settings(redis_url=url, data_dir=Path(folder))
    client = TaskClient(settings)
    http = create_app(settings).test_client()

    def answer(question: str) -> dict[str, Any]:
        given = http.post(f"/v1/{question}", data=recording, content_type="application/octet-stream")
        assert given.status_code == 200, given.text
        return dict(given.json)

    try:
        while not client.workers():
            time.sleep(0.1)
        vector = answer("embed")
        bank = Bank(("Alice",), np.array([vector["vector"]], np.float32), model=vector["model"])
        BankStore(client.redis).put("people", bank)
        for _ in range(WARM_UP):
            calls.clear()
            answer("identify")
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def show(part: str, walked: list[tuple[str, str]], every: bool) -> None:
    """Print what one part called."""
    entered: Counter[str] = Counter()
    last = ""
    for module, _ in walked:
        entered[module] += module != last
        last = module
    print(f"{part}: {len(walked)} calls of {len(set(walked))} functions in {len(entered)} modules")
    print("  entered more than once: " + ", ".join(f"{name} {n}" for name, n in entered.most_common() if n > 1))
    if every:
        print("\n".join(f"    {module} {function}" for module, function in walked))


def main() -> None:
    """Serve, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", nargs="?", type=Path, default=RECORDING)
    parser.add_argument("--calls", action="store_true", help="print each call")
    options = parser.parse_args()
    from speaker_tasks.launcher.server import EmbeddedServer
    from speaker_tasks.settings import Settings
    from speaker_tasks.worker import run_worker

    with tempfile.TemporaryDirectory(prefix="walk-") as folder, EmbeddedServer(Path(folder) / "redis") as server:
        threading.setprofile(note)
        client = threading.Thread(target=ask, args=(options.recording.read_bytes(), server.url, folder), name=THREAD)
        client.start()
        run_worker(Settings(redis_url=server.url, data_dir=Path(folder)), log_level="WARNING")
        client.join()
    threading.setprofile(None)  # type: ignore[arg-type]
    pool = [name for name, module, _ in calls if module == "speaker_tasks/tasks/identify.py"]
    show("web", [call[1:] for call in calls if call[0] == THREAD], options.calls)
    show("worker", [call[1:] for call in calls if pool and call[0] == pool[0]], options.calls)


if __name__ == "__main__":
    sys.exit(main())
