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


SHARED = ("attacked_node", "embedded_house", "scaled_house")
"""Products that are started once for several files: costly, so one process of a test run has each of them."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side (``--dist loadgroup``) a file stays together, and so do all tests of a shared product."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        house = getattr(getattr(item, "callspec", None), "params", {}).get("house")
        wanted = [name for name in SHARED if name in fixtures or name == f"{house}_house"]
        item.add_marker(pytest.mark.xdist_group(wanted[0] if wanted else item.nodeid.partition("::")[0]))
