"""UPS-RS against a strict little manager, and against one that fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from peers.ups_server import DICOM_JSON, WorkitemManager, study_input, ups_server
from peers.web_server import Fault, WebServer, answers, half_closes, hangs_up, is_silent

from dicom_node.http_peer import HttpPeer, Patience
from dicom_node.ups import Reply, UpsPeer
from dicom_node.workitems import (
    DETECTION,
    UNSPECIFIED,
    Output,
    Performance,
    ReadingTask,
    StepState,
    discontinued,
    performed,
    priority_change,
    progress,
    reading_task,
)
from triage.errors import DeliveryError
from triage.findings import Urgency

IMPATIENT = Patience(connect=2.0, silence=0.3, exchange=1.0)
NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
OURS, THEIRS = "2.25.1001", "2.25.2002"
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[WebServer, WorkitemManager]]:
    with ups_server() as both:
        yield both


@pytest.fixture
def server(running: tuple[WebServer, WorkitemManager]) -> WebServer:
    running[0].faults.clear()
    running[0].requests.clear()
    return running[0]


@pytest.fixture
def manager(running: tuple[WebServer, WorkitemManager], server: WebServer) -> WorkitemManager:
    running[1].__init__()  # type: ignore[misc]
    return running[1]


@pytest.fixture
def peer(server: WebServer, manager: WorkitemManager) -> Iterator[UpsPeer]:
    with HttpPeer(f"http://127.0.0.1:{server.port}/ups", patience=IMPATIENT) as http:
        yield UpsPeer(http)


def done() -> Performance:
    output = Output(study_instance_uid="1.2", series_instance_uid="1.3", sop_class_uid="1.4", sop_instance_uid="1.5")
    return Performance(
        station="FIRSTREAD", software="x 1", code=DETECTION, started_at=NOW, ended_at=NOW, outputs=[output]
    )


def test_what_waits_for_a_performer_is_found(peer: UpsPeer, manager: WorkitemManager) -> None:
    assert peer.scheduled("110004") == []
    manager.add("1.2.1", InputInformationSequence=study_input("1.2.3"))
    manager.add("1.2.2")
    manager.claim_elsewhere("1.2.2")
    (step,) = peer.scheduled("110004")
    assert (step.uid, step.state, step.priority) == ("1.2.1", StepState.SCHEDULED, "HIGH")
    assert (step.codes, step.study_instance_uids) == ([("110004", "DCM")], ["1.2.3"])
    assert peer.scheduled("110005") == []
    assert peer.scheduled("110004", station="OTHER") == []


def test_from_claim_to_completion(peer: UpsPeer, manager: WorkitemManager) -> None:
    manager.add("1.2.1")
    assert peer.change_state("1.2.1", StepState.COMPLETED, OURS) is Reply.CONFLICT  # not ours yet
    assert peer.change_state("1.2.1", StepState.IN_PROGRESS, OURS) is Reply.DONE
    assert peer.update("1.2.1", progress(50, "scored", OURS)) is Reply.DONE
    assert peer.change_state("1.2.1", StepState.COMPLETED, OURS) is Reply.CONFLICT  # nothing says what was done
    assert peer.update("1.2.1", performed(done(), OURS)) is Reply.DONE
    assert peer.change_state("1.2.1", StepState.COMPLETED, OURS) is Reply.DONE
    assert manager.state("1.2.1") == "COMPLETED"
    assert peer.update("1.2.1", progress(60, "again", OURS)) is Reply.CONFLICT
    step = peer.retrieve("1.2.1")
    assert step is not None
    assert step.state is StepState.COMPLETED


def test_what_somebody_else_holds_is_not_touched(peer: UpsPeer, manager: WorkitemManager) -> None:
    manager.add("1.2.1")
    manager.claim_elsewhere("1.2.1")
    assert peer.change_state("1.2.1", StepState.IN_PROGRESS, OURS) is Reply.CONFLICT
    assert peer.update("1.2.1", progress(0, "claimed", OURS)) is Reply.CONFLICT
    assert manager.holders["1.2.1"] != OURS


def test_a_step_is_discontinued_with_its_reason(peer: UpsPeer, manager: WorkitemManager) -> None:
    manager.add("1.2.1")
    peer.change_state("1.2.1", StepState.IN_PROGRESS, OURS)
    assert peer.change_state("1.2.1", StepState.CANCELED, OURS) is Reply.CONFLICT
    peer.update("1.2.1", discontinued("no network reads it", UNSPECIFIED, NOW, OURS))
    assert peer.change_state("1.2.1", StepState.CANCELED, OURS) is Reply.DONE


def test_what_is_not_there_is_gone(peer: UpsPeer, manager: WorkitemManager) -> None:
    manager.gone.add("1.2.9")
    for uid in ("1.2.8", "1.2.9"):
        assert peer.retrieve(uid) is None
        assert peer.change_state(uid, StepState.IN_PROGRESS, OURS) is Reply.GONE
        assert peer.update(uid, progress(0, "", OURS)) is Reply.GONE


def test_a_reading_task_is_created_once_and_changed_while_it_waits(peer: UpsPeer, manager: WorkitemManager) -> None:
    task = reading_task(
        ReadingTask(uid="2.25.7", study_instance_uid="1.2.3", urgency=Urgency.ROUTINE, summary="", scheduled_at=NOW)
    )
    assert peer.create("2.25.7", task) is Reply.DONE
    assert peer.create("2.25.7", task) is Reply.CONFLICT
    assert list(manager.workitems) == ["2.25.7"]
    assert peer.update("2.25.7", priority_change(Urgency.STAT, "Pneumothorax")) is Reply.DONE
    assert manager.workitems["2.25.7"].ScheduledProcedureStepPriority == "HIGH"
    manager.claim_elsewhere("2.25.7")
    assert peer.update("2.25.7", priority_change(Urgency.URGENT)) is Reply.CONFLICT


def test_a_manager_that_takes_the_whole_query_for_the_uid_is_asked_again(peer: UpsPeer, server: WebServer) -> None:
    server.faults.append(answers(400))
    task = reading_task(
        ReadingTask(uid="2.25.7", study_instance_uid="1.2.3", urgency=Urgency.STAT, summary="", scheduled_at=NOW)
    )
    assert peer.create("2.25.7", task) is Reply.DONE
    assert server.requests[-1].path == "/ups/workitems?2.25.7"


def test_a_manager_that_gives_uids_of_its_own_is_an_error(peer: UpsPeer, server: WebServer) -> None:
    server.faults.append(answers(201, Location="http://x/workitems/1.2.99"))
    task = reading_task(
        ReadingTask(uid="2.25.7", study_instance_uid="1.2.3", urgency=Urgency.STAT, summary="", scheduled_at=NOW)
    )
    with pytest.raises(DeliveryError, match="another UID"):
        peer.create("2.25.7", task)


def test_a_finished_workitem_that_is_refused_with_400_is_a_conflict(
    peer: UpsPeer, manager: WorkitemManager, server: WebServer
) -> None:
    manager.add("1.2.1").ProcedureStepState = "CANCELED"
    server.faults.append(answers(400))
    assert peer.update("1.2.1", progress(10, "", OURS)) is Reply.CONFLICT
    manager.add("1.2.2")
    server.faults.append(answers(400))
    with pytest.raises(DeliveryError, match="HTTP 400") as error:
        peer.update("1.2.2", progress(10, "", OURS))
    assert not error.value.retryable


@pytest.mark.parametrize(
    ("fault", "retryable"),
    [
        (is_silent, True),
        (hangs_up, True),
        (half_closes, True),
        (answers(500), True),
        (answers(503), True),
        (answers(401), False),
        (answers(302, Location="http://127.0.0.1:1/"), False),
    ],
)
def test_a_manager_that_fails_is_an_error_and_loses_nothing(
    peer: UpsPeer, manager: WorkitemManager, server: WebServer, fault: Fault, retryable: bool
) -> None:
    manager.add("1.2.1")
    for ask in (
        lambda: peer.scheduled("110004"),
        lambda: peer.retrieve("1.2.1"),
        lambda: peer.change_state("1.2.1", StepState.IN_PROGRESS, OURS),
    ):
        server.faults.append(fault)
        with pytest.raises(DeliveryError) as error:
            ask()
        assert error.value.retryable is retryable
    assert peer.change_state("1.2.1", StepState.IN_PROGRESS, OURS) is Reply.DONE


@pytest.mark.parametrize("body", [b"<html/>", b"[1]", b"[{}, {}]"])
def test_an_answer_that_is_no_workitem_is_an_error(peer: UpsPeer, server: WebServer, body: bytes) -> None:
    server.faults.append(answers(200, body, DICOM_JSON))
    with pytest.raises(DeliveryError):
        peer.retrieve("1.2.1")


def test_a_workitem_that_cannot_be_read_does_not_hide_the_others(
    peer: UpsPeer, manager: WorkitemManager, server: WebServer
) -> None:
    manager.add("1.2.1")
    manager.add("..").SOPInstanceUID = ".."
    assert [step.uid for step in peer.scheduled("110004")] == ["1.2.1"]
