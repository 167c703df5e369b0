"""The first command a newcomer types, as they type it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def demo(cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    return subprocess.run(
        [sys.executable, "-m", "firstread", "demo", "--once"],
        cwd=cwd,
        env={**inherited, "COLUMNS": "120", **environment},
        capture_output=True,
        text=True,
        timeout=450,
        check=False,
    )


@pytest.mark.slow
def test_the_demo_brings_every_study_through_and_puts_the_pneumothorax_on_top(tmp_path: Path) -> None:
    result = demo(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "8 studies through" in result.stdout
    assert "committed by it" in result.stdout
    rows = [
        line.split() for line in result.stdout.splitlines() if re.match(r"\s+\d\s+\d\s+(STAT|URGENT|ROUTINE)", line)
    ]
    last_picture = rows[-8:]
    assert [row[0] for row in last_picture] == [str(place) for place in range(1, 9)]
    assert last_picture[0][1:3] == ["5", "STAT"]
    assert list(tmp_path.iterdir()) == [], "the demo leaves nothing behind"


@pytest.mark.slow
def test_a_demo_that_cannot_run_says_why_and_fails(tmp_path: Path) -> None:
    result = demo(tmp_path, FIRSTREAD_DEVICE="quantum")
    assert result.returncode == 78
    assert "device" in result.stderr
