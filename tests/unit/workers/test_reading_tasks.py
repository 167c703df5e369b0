"""Reading tasks at a task manager: created once, moved with the class of the study, left to who reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime

import pytest
import sqlalchemy as sa
from message_cases import statement
from node_under_test import Node, opened
from owing import Debtor, to
from peers.ups_server import WorkitemManager, ups_server
from peers.web_server import WebServer, answers, half_closes
from pydicom.dataset import Dataset

from dicom_node.dicom_json import encoded
from dicom_node.workitems import ReadingTask, reading_task
from triage import tables
from triage.findings import Urgency
from triage.identifiers import reading_task_uid
from triage.repositories import placing
from triage.states import AnalysisStatus, DeliveryStatus, ReadingStatus
from workers.carriers import ups
from workers.messages.reading_task import build_reading_task
from workers.workitems import perform_due

pytestmark = pytest.mark.timeout(60)


class Pair:
    """A node that owes the reading task of one study to a task manager."""

    def __init__(self, node: Node, server: WebServer, manager: WorkitemManager) -> None:
        self.node, self.server, self.manager = node, server, manager
        self.address = f"ups+http://127.0.0.1:{server.port}/ups"
        self.owing = Debtor(node, destinations=to(self.address))
        self.uid = reading_task_uid(str(self.owing.source.StudyInstanceUID), node.bench.node.device_uid)
        self.owe()

    def owe(self) -> None:
        """The message, as an analysis makes it."""
        bench, study_uid = self.node.bench, str(self.owing.source.StudyInstanceUID)
        task = ReadingTask(
            uid=self.uid, study_instance_uid=study_uid, urgency=Urgency.ROUTINE, summary="Nothing found",
            scheduled_at=datetime.now().astimezone(),
        )  # fmt: skip
        content = encoded([reading_task(task)])
        (bench.settings.results / "task.json").write_bytes(content)
        with bench.database.write() as session:
            analysis = session.scalars(sa.select(tables.Analysis)).one()
            analysis.status, analysis.due = AnalysisStatus.SUCCEEDED, False
            row = tables.ResultObject(
                analysis=analysis, created_at=bench.clock(), kind="UPS", sop_instance_uid="2.25.77", sop_class_uid="",
                series_instance_uid="", transfer_syntax_uid="", relative_path="task.json",
                sha256=hashlib.sha256(content).hexdigest(), size=len(content),
            )  # fmt: skip
            row.deliveries = [tables.Delivery(destination=self.address, created_at=bench.clock())]
            session.add(row)

    def set_class(self, urgency: Urgency) -> None:
        with self.node.bench.database.write() as session:
            study = session.scalars(sa.select(tables.Study)).one()
            placing.set_manual_urgency(
                session, study, urgency, reason="the ward called", by="anna",
                targets=self.node.bench.settings.targets, at=self.node.clock(),
            )  # fmt: skip

    def deliver(self) -> int:
        self.node.clock.pass_by(minutes=10)
        perform_due(self.node.bench)
        return self.owing.deliver(self.address)

    def delivery(self) -> tables.Delivery:
        (only,) = self.owing.deliveries()
        return only

    def priority(self) -> str:
        return str(self.manager.workitems[self.uid].ScheduledProcedureStepPriority)


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with opened(tmp_path_factory.mktemp("node")) as node, ups_server() as (server, manager):
        yield Pair(node, server, manager)


def test_a_reading_task_follows_the_class_of_its_study(pair: Pair) -> None:
    assert pair.deliver() == 1
    assert (pair.priority(), pair.delivery().status) == ("LOW", DeliveryStatus.SENT)
    assert pair.deliver() == 0  # nothing has changed
    pair.set_class(Urgency.STAT)
    assert pair.deliver() == 1
    assert (pair.priority(), pair.delivery().note) == ("HIGH", "reading task has priority HIGH")
    pair.set_class(Urgency.URGENT)
    pair.deliver()
    assert pair.priority() == "MEDIUM"
    assert list(pair.manager.workitems) == [pair.uid]
    assert pair.deliver() == 0
    assert pair.owing.events().count("reading_task_outdated") == 2


def test_the_class_of_the_moment_counts_not_that_of_the_message(pair: Pair) -> None:
    pair.set_class(Urgency.STAT)
    pair.deliver()
    assert pair.priority() == "HIGH"


def test_who_has_begun_to_read_is_left_alone(pair: Pair) -> None:
    pair.deliver()
    pair.manager.claim_elsewhere(pair.uid)
    pair.set_class(Urgency.STAT)
    assert pair.deliver() == 1
    assert pair.delivery().note == "reading task is IN PROGRESS and was not changed"
    assert pair.priority() == "LOW"
    assert pair.deliver() == 0


def test_a_study_that_was_read_is_left_alone(pair: Pair) -> None:
    pair.deliver()
    pair.set_class(Urgency.STAT)
    with pair.node.bench.database.write() as session:
        session.scalars(sa.select(tables.Study)).one().reading_status = ReadingStatus.READ
    assert pair.deliver() == 0


def test_an_answer_that_was_lost_makes_no_second_task(pair: Pair) -> None:
    pair.server.faults.append(half_closes)
    assert pair.deliver() == 0
    assert pair.delivery().status is DeliveryStatus.PENDING
    assert pair.deliver() == 1
    assert list(pair.manager.workitems) == [pair.uid]


@pytest.mark.parametrize(("status", "words"), [(503, "HTTP 503"), (401, "token_file"), (404, "path in its address")])
def test_a_manager_that_refuses_is_said_and_tried_again(pair: Pair, status: int, words: str) -> None:
    pair.server.faults += [answers(status)] * 2
    assert pair.deliver() == 0
    assert words in pair.delivery().reason
    pair.server.faults.clear()
    assert pair.deliver() == 1


def test_a_manager_that_refuses_the_task_itself_is_given_up(pair: Pair) -> None:
    for _ in range(3):
        pair.server.faults += [answers(400)] * 2
        pair.deliver()
    assert pair.delivery().status is DeliveryStatus.DEAD


def test_the_doctor_asks_for_one_workitem(pair: Pair) -> None:
    settings, now = pair.node.bench.settings, pair.node.clock()
    assert ups.check(settings, settings.destinations[0], now).ok
    pair.server.faults.append(answers(403))
    assert "the right to do this" in ups.check(settings, settings.destinations[0], now).message


def test_the_message_of_an_analysis_is_the_workitem_of_its_study() -> None:
    told = statement()
    (built,) = json.loads(build_reading_task(told))
    task = Dataset.from_json(built)
    assert build_reading_task(told) == build_reading_task(told)
    assert (str(task.PatientName), task.PatientID, task.IssuerOfPatientID) == ("Müller^Jörg^^Dr.^jr", "P-1", "HOSPITAL")
    assert task.SOPInstanceUID == reading_task_uid("1.2.3", told.node.device_uid)
    assert task.InputInformationSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"
    assert task.ReferencedRequestSequence[0].AccessionNumber == "A-1"
    assert "no physician has verified it" in task.CommentsOnTheScheduledProcedureStep
