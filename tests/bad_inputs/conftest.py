"""One running firstread for all cases that come over the DICOM port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from peers.node import embedded

from bad_inputs.attacked import DATA_SET_MEGABYTES, ELSEWHERE, KNOWN, PLACES, Attacked
from triage.database import Database


@pytest.fixture(scope="session")
def attacked_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    settings = {
        "FIRSTREAD_CALLING_AE_TITLES": f"{KNOWN}@127.0.0.1,{ELSEWHERE}@10.0.0.0/8",
        "FIRSTREAD_MAX_ASSOCIATIONS": str(PLACES),
        "FIRSTREAD_MAX_DATA_SET_MEGABYTES": str(DATA_SET_MEGABYTES),
    }
    with embedded(tmp_path_factory.mktemp("attacked"), [], **settings) as node:
        database = Database(f"sqlite:///{node.data / 'firstread.sqlite'}")
        yield Attacked(node, database)
        database.dispose()
        assert not node.errors(), node.log.read_text(errors="replace").partition("Traceback")[2][:4000]


@pytest.fixture
def attacked(attacked_node: Attacked) -> Iterator[Attacked]:
    """The running node; afterwards it must be as well as before."""
    with attacked_node.unharmed():
        yield attacked_node
