"""The whole way over TLS: a modality sends with its certificate, two processes receive, a PACS gets the results."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from houses import REPORTS, SECONDARY_CAPTURE, Phantoms
from peers import dcmtk
from peers.certificates import Authority
from peers.node import embedded
from peers.processes import eventually, free_port
from pydicom import dcmread

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def test_images_in_and_results_out_over_tls(tmp_path: Path, phantoms: Phantoms) -> None:
    authority = Authority(tmp_path / "hospital")
    own, modality, pacs = (authority.issue(f"{name}.example") for name in ("firstread", "modality", "pacs"))
    tls_port = free_port()
    with dcmtk.storescp(tmp_path / "pacs", options=dcmtk.tls(pacs, authority.file)) as receiver:
        to = {"address": receiver.address, "tls": True, "certificate": "DNS:pacs.example"}
        with embedded(
            tmp_path / "node",
            [],
            FIRSTREAD_DESTINATIONS=json.dumps([to]),
            FIRSTREAD_DICOM_TLS_PORT=str(tls_port),
            FIRSTREAD_DICOM_TLS_CERTIFICATE=str(own.certificate),
            FIRSTREAD_DICOM_TLS_KEY=str(own.key),
            FIRSTREAD_DICOM_TLS_TRUSTED=str(authority.file),
            FIRSTREAD_CALLING_AE_TITLES='[{"ae_title": "MODALITY", "certificate": "DNS:modality.example"}]',
            FIRSTREAD_LISTENER_PROCESSES="2",
        ) as node:
            path = phantoms.with_pneumothorax
            dcmtk.send(path, tls_port, options=dcmtk.tls(modality, authority.file))
            case = node.settled(str(dcmread(path).StudyInstanceUID))
            assert case["analysis_status"] == "SUCCEEDED"
            kinds = [str(received.SOPClassUID) for received in receiver.received()]
            assert sorted(kind in REPORTS for kind in kinds) == [False, True]
            assert SECONDARY_CAPTURE in kinds

            listener = node.parts()["listen"]
            processes = Path(f"/proc/{listener}/task/{listener}/children")
            before = set(processes.read_text().split())
            assert len(before) == 2
            os.kill(int(min(before)), signal.SIGKILL)
            eventually(
                lambda: len(set(processes.read_text().split()) - before) == 1, within=30, what="a successor of one"
            )
            assert node.parts()["listen"] == listener
            assert node.get("/readyz")["status"] == "ready"
            for other in phantoms.normal[:2]:
                dcmtk.send(other, tls_port, options=dcmtk.tls(modality, authority.file))
                assert node.settled(str(dcmread(other).StudyInstanceUID))["analysis_status"] == "SUCCEEDED"
            assert not node.errors()
