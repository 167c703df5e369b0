"""Fixtures of the network tests."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from network_samples import RecordingNode, part10_file, radiograph
from peers.processes import eventually

from dicom_node.archive import Archive


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


@pytest.fixture
def node(archive: Archive) -> Iterator[RecordingNode]:
    """A listening node on a free port of loopback."""
    with RecordingNode(archive) as running:
        yield running


@pytest.fixture
def radiograph_file(tmp_path: Path) -> Path:
    path = tmp_path / "radiograph.dcm"
    path.write_bytes(part10_file(radiograph()))
    return path


@pytest.fixture
def program() -> Callable[[str], str]:
    """The path of a neighbour's program; the test is skipped where it is not installed."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find


@pytest.fixture
def nothing_left_open() -> Iterator[None]:
    """Fails the test when threads or file descriptors outlive it."""
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    yield
    # The thread of an association whose peer has its answer may be in its last lines.
    eventually(lambda: threading.active_count() <= threads, within=5, what="threads have ended")
    assert len(os.listdir("/proc/self/fd")) <= descriptors  # noqa: PTH208
