"""Telephones through the real worker: questions and enrollments map their vectors alike, and no others."""

from __future__ import annotations

import io
import shutil
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import soundfile

from banks.store import BankStore
from speaker_tasks.diarization.listening import Listener
from speaker_tasks.diarization.segmentation import Segmenter
from speaker_tasks.embedding.audio import decode
from speaker_tasks.embedding.embedder import Embedder
from tests.integration.stack import Stack, Web, wait_for
from tools.fit_plda import by_telephone

PEOPLE = ["Alice", "Brian"]
BANK = "telephones"


@pytest.fixture(scope="module")
def embedders() -> tuple[Embedder, Embedder]:
    """One that maps the vectors of telephones, and one that does not."""
    return Embedder.load("campplus"), Embedder.load("campplus", telephones=False)


@pytest.fixture(scope="module")
def called(stack: Stack, demo_speakers: Path) -> Iterator[Path]:
    """A folder that the worker may read: a recording of each by telephone, and one as it is."""
    root = stack.folder / "data" / uuid.uuid4().hex
    for name in PEOPLE:
        (root / name).mkdir(parents=True)
        soundfile.write(root / name / "called.wav", by_telephone(decode(demo_speakers / name / "1.ogg")), 16_000)
        shutil.copy(demo_speakers / name / "2.ogg", root / name)
    yield root
    shutil.rmtree(root)


def vector(web: Web, data: bytes) -> np.ndarray:
    answer = web.post("/v1/embed", data=data, headers={"Content-Type": "audio/wav"})
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["vector"], np.float32)


def alaw(samples: np.ndarray) -> bytes:
    """Samples at 8 kHz as the file of a telephone."""
    file = io.BytesIO()
    soundfile.write(file, samples, 8_000, format="WAV", subtype="ALAW")
    return file.getvalue()


def test_a_question_by_telephone_has_the_mapped_vector(
    shared_web: Web, called: Path, embedders: tuple[Embedder, Embedder]
) -> None:
    mapping, plain = embedders
    data = alaw(soundfile.read(called / "Alice" / "called.wav", dtype="float32")[0][::2])
    given, sound = vector(shared_web, data), decode(data)
    assert given @ mapping.embed(sound) > 0.999
    assert given @ plain.embed(sound) < 0.95


def test_a_meeting_by_telephone_is_known_as_one(called: Path, embedders: tuple[Embedder, Embedder]) -> None:
    mapping, _ = embedders

    def submit(spectrograms: Sequence[np.ndarray]) -> Future[np.ndarray]:
        found: Future[np.ndarray] = Future()
        found.set_result(mapping.run(spectrograms))
        return found

    listener = Listener(Segmenter(threads=1), mapping.spectrograms, submit)
    assert listener.hear([decode(called / "Alice" / "called.wav")]).telephone
    assert not listener.hear([decode(called / "Alice" / "2.ogg")]).telephone


def test_an_enrollment_has_the_vectors_that_questions_have(
    stack: Stack, shared_web: Web, called: Path, embedders: tuple[Embedder, Embedder]
) -> None:
    mapping, plain = embedders
    client, banks = stack.client(), BankStore(stack.client().redis)
    job = client.enroll({}, source={"folder": str(called)}, bank=BANK)
    wait_for("the end of the job", lambda: client.job(job.id).over)
    try:
        kept = banks.get(BANK, clips=True).clips
        assert kept is not None
        assert len(kept.keys) == 4
        for path, found in zip(kept.paths, kept.vectors, strict=True):
            sound, asked = decode(Path(path)), vector(shared_web, Path(path).read_bytes())
            assert found @ asked > 0.999
            assert found @ mapping.embed(sound) > 0.999
            assert (found @ plain.embed(sound) > 0.999) == path.endswith(".ogg")
    finally:
        banks.delete(BANK)


def test_two_people_who_call_are_less_alike_than_without_the_map(
    shared_web: Web, called: Path, embedders: tuple[Embedder, Embedder]
) -> None:
    _, plain = embedders
    files = [(called / name / "called.wav").read_bytes() for name in PEOPLE]
    answer = shared_web.post("/v1/compare", files={"first": files[0], "second": files[1]})
    assert answer.status_code == 200, answer.text
    one, other = (plain.embed(decode(data)) for data in files)
    assert answer.json()["score"] < float(one @ other) - 0.05
