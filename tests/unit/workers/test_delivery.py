"""Deliveries to a real peer on loopback: each object once, each attempt on record, nothing given up too early."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from node_under_test import Node
from pydicom.dataset import Dataset

from dicom_node.stand_in_pacs import ReceivedObject, StandInPacs
from triage.errors import StorageFullError
from triage.peers import Destination
from triage.states import DeliveryStatus
from triage.tables import Delivery
from workers.analysis import analyse_due
from workers.delivery import deliver_due

Draw = Callable[..., Dataset]


def deliveries(node: Node, dataset: Dataset) -> list[Delivery]:
    return [d for a in node.study(dataset).analyses for r in a.result_objects for d in r.deliveries]


def send_to(node: Node, address: str) -> None:
    node.bench.settings = node.bench.settings.model_copy(update={"destinations": (Destination(address=address),)})


def test_pictures_and_report_arrive_with_their_attempts_on_record(node: Node, phantom: Draw, tmp_path: Path) -> None:
    with StandInPacs(tmp_path / "pacs") as pacs:
        send_to(node, str(pacs.address))
        dataset = phantom(1, {"pneumothorax"})
        node.receive(dataset)
        analyse_due(node.bench)
        assert deliver_due(node.bench, str(pacs.address)) == 2
        assert deliver_due(node.bench, str(pacs.address)) == 0
        assert [item.header.modality for item in pacs.received] == ["OT", "SR"]
    done = deliveries(node, dataset)
    assert {d.status for d in done} == {DeliveryStatus.SENT}
    assert [[a.dicom_status for a in d.attempts] for d in done] == [[0], [0]]


def test_a_destination_that_is_away_gets_the_same_objects_later(node: Node, phantom: Draw, tmp_path: Path) -> None:
    with StandInPacs(tmp_path / "gone") as gone:
        address = gone.address
    send_to(node, str(address))
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    assert deliver_due(node.bench, str(address)) == 0
    waiting = deliveries(node, dataset)
    assert {d.status for d in waiting} == {DeliveryStatus.PENDING}
    assert all(d.reason for d in waiting)
    with StandInPacs(tmp_path / "pacs", port=address.port) as pacs:
        assert deliver_due(node.bench, str(address)) == 0  # not before its time
        node.clock.pass_by(minutes=5)
        assert deliver_due(node.bench, str(address)) == 2
        stored = {item.header.sop_instance_uid for item in pacs.received}
    assert stored == {r.sop_instance_uid for a in node.study(dataset).analyses for r in a.result_objects}
    assert {len(d.attempts) for d in deliveries(node, dataset)} == {2}


def test_a_full_destination_is_asked_again(node: Node, phantom: Draw, tmp_path: Path) -> None:
    def full(_item: ReceivedObject) -> None:
        raise StorageFullError("The archive has no room.")

    with StandInPacs(tmp_path / "pacs", on_received=full) as pacs:
        send_to(node, str(pacs.address))
        dataset = phantom(1, {"pneumothorax"})
        node.receive(dataset)
        analyse_due(node.bench)
        assert deliver_due(node.bench, str(pacs.address)) == 0
    refused = deliveries(node, dataset)
    assert {d.status for d in refused} == {DeliveryStatus.PENDING}
    assert {a.dicom_status for d in refused for a in d.attempts} == {0xA700}
