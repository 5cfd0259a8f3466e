"""What an embedding process does to its libraries."""

from __future__ import annotations

import subprocess
import sys


def test_an_embedding_process_multiplies_in_one_thread() -> None:
    code = (
        "import threadpoolctl; from speaker_tasks.embedding import machine; machine.settle();"
        "print({one['num_threads'] for one in threadpoolctl.threadpool_info() if one['user_api'] == 'blas'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{1}"
