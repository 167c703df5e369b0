"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# Networks and arrays here are tiny: threads waiting for each other cost more than they bring, and there are two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real DICOM objects; the test is skipped where it is absent."""
    folder = Path(os.environ.get("FIRSTREAD_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set FIRSTREAD_TEST_DATA")
    return folder


settings.register_profile("deep")  # custody's histories by the hundred: make test ARGS=--hypothesis-profile=deep
