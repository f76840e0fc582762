"""A small soak in CI; `bench/soak.py` alone asks a million times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "bench" / "soak.py"


@pytest.mark.slow
def test_under_mixed_load_and_swaps_no_answer_is_wrong_mixed_up_or_lost() -> None:
    run = subprocess.run(
        [sys.executable, str(SOAK), "--requests", "4000", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.stdout, run.stderr
    found = json.loads(run.stdout)
    assert found["right"], found
    assert found["rows answered"] > 4000
    assert found["rows answered by the neighbour"] > 200
    assert found["swaps of the champion"] > 0
    assert found["seen"]["cut off while sending"] > 0
    assert run.returncode == 0
