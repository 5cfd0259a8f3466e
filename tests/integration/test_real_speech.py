"""People that no training has heard: enrolled from three recordings each, recognised from the others."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from speaker_tasks.embedding.audio import SAMPLE_RATE, decode
from tests.integration.stack import PROGRAMS, Stack, Web

SPEAKERS = 20
ENROLLED_CLIPS = 3
CLIENTS = 4
LONGEST_SECONDS = 6.0
"""Of longer recordings the beginning is asked about."""

TOP1_FLOOR = 0.97
"""The share of recordings whose speaker was named in the run that set it, 0.979, less a margin."""


@pytest.fixture
def speakers(shared_dir: Path) -> dict[str, list[Path]]:
    """Every second validation speaker, so that all corpora have their share: name -> recordings."""
    folders = sorted((shared_dir / "speech" / "validation").iterdir())[::2][:SPEAKERS]
    assert len(folders) == SPEAKERS
    return {folder.name: sorted(folder.glob("*.opus")) for folder in folders}


@pytest.mark.speech
def test_strangers_to_the_training_are_recognised(
    stack: Stack, web: Web, speakers: dict[str, list[Path]], tmp_path: Path
) -> None:
    for name, clips in speakers.items():
        (tmp_path / name).mkdir()
        for clip in clips[:ENROLLED_CLIPS]:
            shutil.copy(clip, tmp_path / name)
    enroll = subprocess.run(
        [str(PROGRAMS / "speaker-tasks"), "enroll", str(tmp_path), "--bank", "validation"],
        env=stack.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert enroll.returncode == 0, enroll.stdout + enroll.stderr
    changed = web.post("/ModifyFeatsMode", json={"feats_mode": "validation"})
    assert sorted(changed.json()["label"]) == sorted(speakers)

    def named(asked: tuple[str, Path]) -> bool:
        name, clip = asked
        samples = decode(clip)[: int(LONGEST_SECONDS * SAMPLE_RATE)]
        answer = web.post("/speaker", data=orjson.dumps({"speaker": samples}, option=orjson.OPT_SERIALIZE_NUMPY))
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["name"] == name)

    others = [(name, clip) for name, clips in speakers.items() for clip in clips[ENROLLED_CLIPS:]]
    with ThreadPoolExecutor(CLIENTS) as pool:
        right = sum(pool.map(named, others))
    top1 = right / len(others)
    print(f"\ntop-1: {right} of {len(others)} recordings, {top1:.1%}, of {SPEAKERS} speakers")
    assert top1 >= TOP1_FLOOR
