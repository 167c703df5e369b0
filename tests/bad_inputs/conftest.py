"""One running firstread for all cases that come over the DICOM port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from peers.certificates import Authority
from peers.node import embedded
from peers.processes import free_port

from bad_inputs.attacked import DATA_SET_MEGABYTES, ELSEWHERE, KNOWN, PLACES, Attacked
from triage.database import Database


@pytest.fixture(scope="session")
def attacked_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    own, tls_port = authority.issue("node"), free_port()
    settings = {
        "FIRSTREAD_DICOM_TLS_PORT": str(tls_port),
        "FIRSTREAD_DICOM_TLS_CERTIFICATE": str(own.certificate),
        "FIRSTREAD_DICOM_TLS_KEY": str(own.key),
        "FIRSTREAD_DICOM_TLS_TRUSTED": str(authority.file),
        "FIRSTREAD_CALLING_AE_TITLES": f"{KNOWN}@127.0.0.1,{ELSEWHERE}@10.0.0.0/8",
        "FIRSTREAD_MAX_ASSOCIATIONS": str(PLACES),
        "FIRSTREAD_MAX_DATA_SET_MEGABYTES": str(DATA_SET_MEGABYTES),
    }
    with embedded(tmp_path_factory.mktemp("attacked"), [], **settings) as node:
        database = Database(f"sqlite:///{node.data / 'firstread.sqlite'}")
        yield Attacked(node, database, tls_port, authority)
        database.dispose()
        assert not node.errors(), node.log.read_text(errors="replace").partition("Traceback")[2][:4000]


@pytest.fixture
def attacked(attacked_node: Attacked) -> Iterator[Attacked]:
    """The running node; afterwards it must be as well as before."""
    with attacked_node.unharmed():
        yield attacked_node
