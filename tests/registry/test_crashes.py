"""kill -9 in the middle of pushes and promotions: nothing is torn, nothing is lost, a second try succeeds, and `gc` finds what was left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
POINTS = 50
"""Kills of each kind, on each place."""


@pytest.mark.parametrize("work", ["pushes", "promotions"])
def test_what_is_killed_leaves_nothing_torn(work: str, location: str, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "tests.registry.crashes", work, location, str(scratch), str(POINTS), "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout)
    assert result["kills"] == POINTS
    assert 0 < result["after_the_move"] < POINTS, result
    assert result["left_something"] > 0, result
