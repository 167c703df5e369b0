"""One sender per destination on PostgreSQL, where two may come at the same moment; the rows of proof there too."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from node_under_test import opened
from owing import Debtor, hearing, to
from peers.difficult_pacs import difficult_pacs
from peers.postgres import postgres
from peers.processes import eventually

from triage.repositories import deliveries
from triage.states import DeliveryStatus, Proof

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]

SENDERS = 6


def test_of_many_senders_one_gets_a_batch_and_proof_comes_as_on_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "BATCH", 2)  # so that there is something left for the others
    with postgres() as url, opened(tmp_path / "data", database_url=url) as node, difficult_pacs() as pacs:
        owing = Debtor(node, destinations=to(pacs.address))
        for number in range(3):
            owing.owe(pacs.address, number=number)
        together = threading.Barrier(SENDERS)
        claimed: list[int] = []

        def claim() -> None:
            together.wait(20)
            with node.bench.database.write() as session:
                batch: Sequence[object] = deliveries.claim_batch(session, pacs.address, node.clock())
            claimed.append(len(batch))

        threads = [threading.Thread(target=claim) for _ in range(SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(claimed) == [0] * (SENDERS - 1) + [2]

        node.clock.pass_by(minutes=5)  # the one that claimed never sent
        with hearing(node) as pacs.reports_to:
            assert owing.deliver(pacs.address) == 6
            owing.prove(pacs.address)
            expected = {(DeliveryStatus.COMMITTED, Proof.COMMITTED)}
            eventually(
                lambda: {(d.status, d.proof) for d in owing.deliveries()} == expected,
                within=20,
                what="all is committed",
            )
