"""Storage commitment and queries with real peers: pynetdicom's providers, the stand-in PACS, and hostile reports."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from network_samples import CR, EXPLICIT, RawPeer, RecordingNode, part10_file, radiograph
from peers.pynetdicom_server import serving
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, StudyRootQueryRetrieveInformationModelFind

from dicom_node import commitment, dimse, query
from dicom_node.archive import Archive
from dicom_node.commitment import CommitmentUser, Reference, Report, ReportService
from dicom_node.contexts import STORAGE_COMMITMENT, STUDY_ROOT_FIND
from dicom_node.conversation import Conversation
from dicom_node.listener import Listener, ListenerConfig
from dicom_node.requestor import Timeouts
from dicom_node.scu import UNCOMPRESSED, send
from dicom_node.stand_in_pacs import StandInPacs
from triage.errors import DatabaseUnavailableError, DeliveryError, DicomError
from triage.identifiers import PeerAddress

pytestmark = pytest.mark.timeout(60)

TRANSACTION = "2.25.4711"
KEPT, LOST = Reference(CR, "1.2.3.4"), Reference(CR, "1.2.3.5")
QUICK = Timeouts(connect=5.0, association=5.0, send=5.0, response=5.0)


class Reports:
    """What the user's side was told."""

    def __init__(self, known: bool = True) -> None:
        self.known = known
        self.heard: list[tuple[Report, str]] = []
        self._condition = threading.Condition()

    def take(self, report: Report, who: str) -> bool:
        with self._condition:
            self.heard.append((report, who))
            self._condition.notify_all()
        return self.known

    def wait(self) -> tuple[Report, str]:
        with self._condition:
            assert self._condition.wait_for(lambda: self.heard, 10), "no report came"
            return self.heard[-1]


@contextmanager
def listening(tmp_path: Path, reports: Reports) -> Iterator[Listener]:
    """Our listener as it hears reports."""
    node = RecordingNode(Archive(tmp_path / "node"))
    config = ListenerConfig(ae_title="US", port=0)
    listener = Listener(config, node.listener._intake, services={STORAGE_COMMITMENT: ReportService(reports.take)})
    with listener:
        yield listener


@contextmanager
def talking(peer: PeerAddress, *classes: str) -> Iterator[Conversation]:
    contexts = [(uid, UNCOMPRESSED) for uid in classes or (STORAGE_COMMITMENT,)]
    association = Conversation.open(peer, calling_ae_title="US", contexts=contexts, timeouts=QUICK)
    yield association
    association.release()


def never(_report: Report) -> bool:
    raise AssertionError("no report was expected on this association")


def report_of(*committed: str, failed: dict[str, int] | None = None) -> Dataset:
    dataset = Dataset()
    dataset.TransactionUID = TRANSACTION
    items = [_item(uid) for uid in committed]
    if items:
        dataset.ReferencedSOPSequence = Sequence(items)
    denied = []
    for uid, reason in (failed or {}).items():
        item = _item(uid)
        item.FailureReason = reason
        denied.append(item)
    if denied:
        dataset.FailedSOPSequence = Sequence(denied)
    return dataset


def _item(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = CR
    item.ReferencedSOPInstanceUID = uid
    return item


# --- the stand-in PACS -----------------------------------------------------------------------------------------------


def test_the_stand_in_commits_to_what_it_has_and_denies_the_rest(tmp_path: Path) -> None:
    reports = Reports()
    (tmp_path / "a.dcm").write_bytes(part10_file(radiograph()))
    with (
        listening(tmp_path, reports) as listener,
        StandInPacs(tmp_path / "pacs", reports_to={"US": PeerAddress("US", "127.0.0.1", listener.port)}) as pacs,
    ):
        (sent,) = send(pacs.address, [tmp_path / "a.dcm"], calling_ae_title="US")
        assert sent.stored
        with talking(pacs.address) as association:
            user = CommitmentUser(association, never)
            user.ask(TRANSACTION, [KEPT, LOST])
            user.listen(0.2)
        report, who = reports.wait()
        assert (report.transaction_uid, report.committed) == (TRANSACTION, ("1.2.3.4",))
        assert report.failed == {"1.2.3.5": "no such object instance"}
        assert who == "STANDIN"
        pacs.received[0].path.unlink()
        with talking(pacs.address) as association:
            CommitmentUser(association, never).ask("2.25.4712", [KEPT])
    assert reports.heard[-1][0].failed == {"1.2.3.4": "no such object instance"}


def test_the_stand_in_offers_commitment_only_to_those_it_can_report_to(tmp_path: Path) -> None:
    nowhere = PeerAddress("OTHER", "127.0.0.1", 9)
    with (
        StandInPacs(tmp_path / "pacs", reports_to={"OTHER": nowhere}) as pacs,
        talking(pacs.address) as association,
        pytest.raises(DeliveryError, match="0x0110"),
    ):
        CommitmentUser(association, never).ask(TRANSACTION, [KEPT])
    with (
        StandInPacs(tmp_path / "other") as pacs,
        pytest.raises(DeliveryError, match="none of the SOP classes"),
        talking(pacs.address),
    ):
        pass


# --- pynetdicom's provider -------------------------------------------------------------------------------------------


@contextmanager
def pynetdicom_provider(*handlers: tuple[Any, ...]) -> Iterator[PeerAddress]:
    ae = AE(ae_title="PYNET")
    ae.add_supported_context(StorageCommitmentPushModel)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    with serving(ae, handlers) as port:
        yield PeerAddress("PYNET", "127.0.0.1", port)


def test_a_report_on_the_same_association_is_heard_and_answered() -> None:
    asked: list[Dataset] = []
    answers: list[int] = []
    heard: list[Report] = []

    def on_action(event: Any) -> tuple[int, None]:
        asked.append(event.action_information)

        def report() -> None:
            status, _ = event.assoc.send_n_event_report(
                report_of("1.2.3.4", failed={"1.2.3.5": 0x0213}),
                2,
                StorageCommitmentPushModel,
                "1.2.840.10008.1.20.1.1",
            )
            answers.append(status.Status)

        threading.Timer(0.1, report).start()
        return 0x0000, None

    def take(report: Report) -> bool:
        heard.append(report)
        return True

    with pynetdicom_provider((evt.EVT_N_ACTION, on_action)) as peer, talking(peer) as association:
        user = CommitmentUser(association, take)
        user.ask(TRANSACTION, [KEPT, LOST])
        user.listen(2.0)
    assert asked[0].TransactionUID == TRANSACTION
    assert [i.ReferencedSOPInstanceUID for i in asked[0].ReferencedSOPSequence] == ["1.2.3.4", "1.2.3.5"]
    assert heard[0].committed == ("1.2.3.4",)
    assert heard[0].failed == {"1.2.3.5": "resource limitation"}
    assert answers == [0x0000]


@pytest.mark.parametrize("status", [0x0110, 0x0122, 0x0211])
def test_a_request_that_is_refused_says_so(status: int) -> None:
    with (
        pynetdicom_provider((evt.EVT_N_ACTION, lambda _event: (status, None))) as peer,
        talking(peer) as association,
        pytest.raises(DeliveryError, match=f"{status:#06x}"),
    ):
        CommitmentUser(association, never).ask(TRANSACTION, [KEPT])


@pytest.mark.parametrize(("event_type", "known", "status"), [(1, True, 0x0000), (1, False, 0x0115), (7, True, 0x0113)])
def test_a_provider_reports_on_an_association_of_its_own(
    tmp_path: Path, event_type: int, known: bool, status: int
) -> None:
    reports = Reports(known)
    with listening(tmp_path, reports) as listener:
        ae = AE(ae_title="PYNET")
        ae.add_requested_context(StorageCommitmentPushModel)
        association = ae.associate(
            "127.0.0.1",
            listener.port,
            ae_title="US",
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
        )
        assert association.is_established
        (context,) = association.accepted_contexts
        assert (context.as_scu, context.as_scp) == (False, True)
        answer, _ = association.send_n_event_report(
            report_of("1.2.3.4"), event_type, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
        )
        association.release()
    assert answer.Status == status
    assert bool(reports.heard) == (event_type == 1)


# --- reports that are none -------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    head = b"\x08\x00\x99\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return head * depth


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"not a data set at all, not at all",
        commitment.encoded(Dataset(), EXPLICIT),
        b"\x08\x00\x95\x11UI\xff\xff1.2",
        b"\x08\x00\x95\x11UI\x04\x001.x\x00",
        b"\x08\x00\x95\x11UI\x04\x001.2\x00" + nested(2000),
        b"\x08\x00\x95\x11UI\x04\x001.2\x00" + b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 20_000,
    ],
    ids=["empty", "a byte", "text", "no transaction", "cut short", "no UID", "deep", "many items"],
)
def test_what_is_no_report_is_answered_and_kept_out(data: bytes) -> None:
    request = dimse.decode(commitment.event_report(1, 1))
    reply = commitment.answer_report(request, data, EXPLICIT, never)
    assert reply.status == commitment.INVALID_ARGUMENT_VALUE


def test_a_report_that_cannot_be_recorded_is_asked_for_again() -> None:
    def away(_report: Report) -> bool:
        raise DatabaseUnavailableError("gone.")

    request = dimse.decode(commitment.event_report(1, 1))
    data = commitment.encode_references(TRANSACTION, [KEPT], EXPLICIT)
    assert commitment.answer_report(request, data, EXPLICIT, away).status == 0x0110


def test_an_endless_report_is_read_and_forgotten(tmp_path: Path) -> None:
    reports = Reports()
    with listening(tmp_path, reports) as listener, RawPeer(listener.port) as raw:
        assert raw.associate((STORAGE_COMMITMENT, EXPLICIT), called="US")[0] == 2
        raw.command(commitment.event_report(1, 1))
        for _ in range(20):
            raw.data_set(bytes(64 * 1024), last=False)
        raw.data_set(b"")
        assert raw.response().status == commitment.RESOURCE_LIMITATION
    assert reports.heard == []


def test_a_listener_without_the_service_refuses_it(tmp_path: Path) -> None:
    with RecordingNode(Archive(tmp_path)) as node, RawPeer(node.port) as raw:
        kind, body = raw.associate((STORAGE_COMMITMENT, EXPLICIT))
        assert (kind, body[-10:].count(STORAGE_COMMITMENT.encode())) == (2, 0)
        raw.command(commitment.event_report(1, 1))
        assert raw.receive()[0] == 7  # no such context


def test_references_read_back_as_they_were_written() -> None:
    data = commitment.encode_references(TRANSACTION, [KEPT], EXPLICIT, failed={LOST: 0x0112})
    assert commitment.read_references(data, EXPLICIT) == (TRANSACTION, {KEPT: None, LOST: 0x0112})
    with pytest.raises(DicomError):
        commitment.read_references(data[:-3], EXPLICIT)


# --- queries ---------------------------------------------------------------------------------------------------------


def test_a_peer_shows_what_it_holds() -> None:
    asked: list[Dataset] = []

    def on_find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        if event.identifier.SOPInstanceUID == "1.2.3.4":
            yield 0xFF00, event.identifier

    with pynetdicom_provider((evt.EVT_C_FIND, on_find)) as peer, talking(peer, STUDY_ROOT_FIND) as association:
        where = {"study_uid": "1.2.3.1", "series_uid": "1.2.3.2"}
        assert query.holds(association, sop_instance_uid="1.2.3.4", **where)
        assert not query.holds(association, sop_instance_uid="1.2.3.5", **where)
    assert [(i.QueryRetrieveLevel, i.StudyInstanceUID, i.SeriesInstanceUID) for i in asked] == [
        ("IMAGE", "1.2.3.1", "1.2.3.2")
    ] * 2


def test_a_query_that_is_refused_says_so() -> None:
    with (
        pynetdicom_provider((evt.EVT_C_FIND, lambda _event: iter([(0xA700, None)]))) as peer,
        talking(peer, STUDY_ROOT_FIND) as association,
        pytest.raises(DeliveryError, match="0xa700"),
    ):
        query.holds(association, study_uid="1.2", series_uid="1.3", sop_instance_uid="1.4")


def test_a_peer_that_lists_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "MAXIMUM_MATCHES", 5)

    def on_find(event: Any) -> Iterator[tuple[int, Dataset]]:
        for _ in range(100):
            yield 0xFF00, event.identifier

    with (
        pynetdicom_provider((evt.EVT_C_FIND, on_find)) as peer,
        talking(peer, STUDY_ROOT_FIND) as association,
        pytest.raises(DeliveryError, match="more than"),
    ):
        query.holds(association, study_uid="1.2", series_uid="1.3", sop_instance_uid="1.4")
