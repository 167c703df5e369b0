"""The whole product with destinations of every temper: a silent one delays nobody, a good one proves what it has."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from houses import Phantoms
from peers.dcmtk import send
from peers.difficult_pacs import Door, difficult_pacs
from peers.node import embedded
from peers.processes import eventually, free_port

from dicom_node.stand_in_pacs import StandInPacs
from triage.identifiers import PeerAddress

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def test_silent_destinations_delay_nobody_and_a_good_one_commits(tmp_path: Path, phantoms: Phantoms) -> None:
    port = free_port()
    us = PeerAddress("FIRSTREAD", "127.0.0.1", port)
    with ExitStack() as stack:
        silent = [stack.enter_context(difficult_pacs(ae_title=f"S{n}", door=Door.SILENT)) for n in range(9)]
        good = stack.enter_context(StandInPacs(tmp_path / "pacs", reports_to={"FIRSTREAD": us}))
        addresses = [*(pacs.address for pacs in silent), str(good.address)]
        node = stack.enter_context(embedded(tmp_path / "node", addresses, dicom_port=port))
        for path in (phantoms.with_pneumothorax, phantoms.normal[0]):
            send(path, port)
            assert len(good.wait_for(2, timeout=40)) >= 2
        assert len(good.wait_for(4, timeout=40)) == 4

        def look() -> bool:
            items = node.get("/api/v1/admin/deliveries", limit=200)["items"]
            proofs = {item["proof"] for item in items if item["destination"] == str(good.address)}
            assert proofs == {"COMMITTED"}, proofs
            return True

        eventually(look, within=40, what="the good destination has committed to everything")
        others = node.get("/api/v1/admin/deliveries", limit=200)["items"]
        assert {i["status"] for i in others if i["destination"] != str(good.address)} <= {"PENDING", "SENDING"}
        assert all(pacs.connections for pacs in silent)
        assert node.errors() == []
        for pacs in silent:  # or the node waits for them before it ends
            pacs.hang_up()
