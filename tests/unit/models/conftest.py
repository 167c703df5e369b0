"""A small bundle with random weights, written once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from model_samples import make_metadata

from models import networks
from models.bundle import Bundle
from models.bundle_writer import write_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Written and verified; read-only for tests."""
    torch.manual_seed(11)
    metadata = make_metadata()
    network = networks.build(metadata.architecture, len(metadata.findings))
    directory = tmp_path_factory.mktemp("bundles") / metadata.name
    return write_bundle(directory, metadata, network.state_dict(), evaluation={"auc": None}, model_card="# Tiny\n")


@pytest.fixture
def bundle_copy(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle directory that a test may damage."""
    return Path(shutil.copytree(tiny_bundle.directory, tmp_path / "site" / tiny_bundle.metadata.name))
