"""The peers: one Flask process that calls the network directly, with the compact network, and with Resemblyzer.

The same WAV files, the same web server with one process of 16 threads, no queue, no Redis, no jobs. `measure` starts
one and lets clients ask it; a peer that is not installed is left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.service import load
from speaker_tasks.launcher.server import free_port
from speaker_tasks.launcher.tether import tethered

if TYPE_CHECKING:
    from flask import Flask

ROOT = Path(__file__).parents[2]
PEERS = {"Flask, one process, the same network": "direct", "Flask, one process, Resemblyzer": "resemblyzer"}
START_SECONDS = 90.0


def direct() -> Flask:
    """The compact network behind Flask: `POST /embed`, a sound file in, its vector out."""
    from speaker_tasks.embedding.audio import decode
    from speaker_tasks.embedding.embedder import Embedder
    from speaker_tasks.settings import Settings

    embedder = Embedder.configured(Settings())
    embedder.warm()
    return _server(lambda data: embedder.embed(decode(data)))


def resemblyzer() -> Flask:
    """Resemblyzer behind Flask, without its voice activity detector, which would cost it more."""
    import io

    import soundfile
    import torch
    from resemblyzer import VoiceEncoder

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    encoder, lock = VoiceEncoder("cpu", verbose=False), threading.Lock()

    def embed(data: bytes) -> Any:
        samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
        with lock:
            return encoder.embed_utterance(samples)

    return _server(embed)


def _server(embed: Any) -> Flask:
    from flask import Flask, jsonify, request

    app = Flask(__name__)

    @app.post("/embed")
    def answer() -> Any:
        return jsonify({"vector": embed(request.get_data()).tolist()})

    return app


def measure(name: str, plans: list[load.Plan], paths: list[str], variables: dict[str, str]) -> dict[str, Any] | None:
    """What each plan gets from a peer; None, with a word, if it is not installed."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.service.peers", PEERS[name], str(port)]
    environment = os.environ | variables | {"PYTHONPATH": os.pathsep.join([str(ROOT), *paths])}
    process = subprocess.Popen(
        tethered(command, 9), env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        if not _answers(process, port):
            reason = (process.communicate()[1].strip().splitlines() or ["no word"])[-1]
            print(f"left out: {name}: {reason}")
            return None
        figures: dict[str, Any] = {}
        for plan in plans:
            report = load.run(replace(plan, port=port, path="/embed"))
            figures[str(plan.clients)] = {
                "rate": report.rate,
                "p50": report.percentile(50),
                "p99": report.percentile(99),
            }
        return figures
    finally:
        process.terminate()
        process.wait()


def _answers(process: subprocess.Popen[str], port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/")
            connection.getresponse().read()
            return True
        except OSError:
            time.sleep(0.2)
    return False


def main(peer: str, port: int) -> None:
    """Serve a peer until SIGTERM."""
    from speaker_tasks.settings import Settings
    from web.processes import answer, listen

    settings = Settings(port=port, host="127.0.0.1", web_threads=16)
    application = {"direct": direct, "resemblyzer": resemblyzer}[peer]()
    answer(settings, application.wsgi_app, listen(settings), os.pipe()[0])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
