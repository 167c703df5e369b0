"""V finds what it is for: a rig that cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from faults.fork_server import ForkServer
from faults.invariants import Verdict
from faults.rig import Rig, rig
from triage.states import DeliveryStatus
from triage.tables import Delivery, Instance, ResultObject, Study

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A product at rest, with a radiograph and a CT through."""
    with ForkServer() as server, rig(tmp_path_factory.mktemp("rig") / "a", fork_server=server) as here:
        here.sender().deliver(here.exams.radiograph(), here.exams.ct(2))
        assert here.check().receipts == 3
        here.product.stop()
        yield here


def verdict(here: Rig) -> Verdict:
    return here.verify(within=1)


def test_a_file_that_changed_is_lost(settled: Rig) -> None:
    path = _stored(settled)
    before = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert len(verdict(settled).lost) == 1
    path.unlink()
    assert len(verdict(settled).lost) == 1
    path.write_bytes(before)
    assert verdict(settled).holds


def test_a_receipt_without_a_row_is_lost(settled: Rig) -> None:
    settled.receipts.acknowledged["2.25.1"].add("0" * 64)
    settled.receipts.studies.add("2.25.2")
    found = verdict(settled).lost
    assert any("2.25.1" in line for line in found)
    assert any("2.25.2" in line for line in found)
    del settled.receipts.acknowledged["2.25.1"]
    settled.receipts.studies.remove("2.25.2")
    assert verdict(settled).holds


def test_a_second_content_under_a_uid_is_a_duplicate(settled: Rig) -> None:
    uid = next(iter(settled.pacs.contents))
    settled.pacs.contents[uid].add("0" * 64)
    settled.pacs.contents["2.25.3"].add("1" * 64)
    assert len(verdict(settled).duplicated) == 2
    settled.pacs.contents[uid].remove("0" * 64)
    del settled.pacs.contents["2.25.3"]
    assert verdict(settled).holds


def test_a_result_that_did_not_arrive_is_lost(settled: Rig) -> None:
    uid, digests = settled.pacs.contents.popitem()
    assert len(verdict(settled).lost) == 1
    settled.pacs.contents[uid] = digests
    assert verdict(settled).holds


def test_work_that_is_still_owed_is_seen(settled: Rig) -> None:
    with settled.product.database.write() as session:
        session.execute(sa.update(Delivery).values(status=DeliveryStatus.PENDING))
    assert any("I6" in line for line in verdict(settled).broken)
    with settled.product.database.write() as session:
        session.execute(sa.update(Delivery).values(status=DeliveryStatus.SENT))
    assert verdict(settled).holds


def test_a_report_that_is_not_owed_to_a_destination_is_seen(settled: Rig) -> None:
    def owe_to(address: str) -> str:
        with settled.product.database.write() as session:
            report = session.scalars(sa.select(ResultObject).where(ResultObject.kind == "SR")).first()
            assert report is not None
            (delivery,) = report.deliveries
            before, delivery.destination = delivery.destination, address
            return before

    pacs = owe_to("ELSEWHERE@127.0.0.1:1")
    assert any(f"is not owed to {pacs}" in line for line in verdict(settled).lost)
    owe_to(pacs)
    assert verdict(settled).holds


def test_an_analysis_without_a_report_is_seen(settled: Rig) -> None:
    with settled.product.database.write() as session:
        session.execute(sa.update(ResultObject).where(ResultObject.kind == "SR").values(kind="XX"))
    assert any("has no report" in line for line in verdict(settled).lost)
    with settled.product.database.write() as session:
        session.execute(sa.update(ResultObject).where(ResultObject.kind == "XX").values(kind="SR"))
    assert verdict(settled).holds


def test_an_image_that_the_last_look_missed_is_seen(settled: Rig) -> None:
    with settled.product.database.write() as session:
        study = session.scalars(sa.select(Instance.study_id)).first()
        session.execute(sa.update(Study).where(Study.id == study).values(revision=2))
    assert any("I7" in line for line in verdict(settled).broken)
    with settled.product.database.write() as session:
        session.execute(sa.update(Study).where(Study.id == study).values(revision=1))
    assert verdict(settled).holds


def _stored(here: Rig) -> Path:
    with here.product.database.read() as session:
        relative = session.scalars(sa.select(Instance.relative_path)).first()
        assert session.scalars(sa.select(ResultObject)).first() is not None
    return here.product.settings.archive / str(relative)
