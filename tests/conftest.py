"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# Networks and arrays here are tiny: threads waiting for each other cost more than they bring, and there are two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def logging_as_found() -> Iterator[None]:
    """What a test set up for log lines ends with it: a later one reads its own standard output."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real DICOM objects; the test is skipped where it is absent."""
    folder = Path(os.environ.get("FIRSTREAD_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set FIRSTREAD_TEST_DATA")
    return folder


def pytest_collection_finish() -> None:
    """Tests and what they import stay to the end: the collector need not walk them again and again (a tenth of the
    time of most tests).
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


# How long an example takes says something of the machine's load and nothing of the code: bounds of time have tests of
# their own.
settings.register_profile("usual", deadline=None)
settings.load_profile("usual")
# For CI, the same examples every time: no dice are thrown for whether a change is good. New ones are found at home.
settings.register_profile("same", deadline=None, derandomize=True)
# Custody's histories by the hundred: make test ARGS=--hypothesis-profile=deep
settings.register_profile("deep", deadline=None)

SHARED: Final = {
    "attacked_node": ("test_damaged_streams.py", "test_dataset.py", "test_dimse.py", "test_network.py"),
    "houses": (
        "test_radiographs.py", "test_scaled.py", "test_series_through_the_house.py", "test_through_ohif.py",
        "test_not_for_the_model.py",
    ),
}  # fmt: skip
"""Files that share a product which takes long to start: side by side they stay together."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``--dist loadfile``, with the files of :data:`SHARED` as one."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415 - only where tests run side by side

    together = {file: product for product, files in SHARED.items() for file in files}

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return together.get(Path(file).name, file)

    return Scheduling(config, log)
