"""Workitems of a task manager, from the search to the end: claimed, told, completed, left, taken up again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from node_under_test import Node, opened
from owing import Debtor
from peers.ups_server import WorkitemManager, study_input, ups_server
from peers.web_server import Answer, WebServer, answers, does_it, half_closes, hangs_up, is_silent, is_unheard
from pydicom.dataset import Dataset

from dicom_node.http_peer import HttpPeer, Patience
from triage import tables
from triage.peers import Destination
from triage.repositories import standing as standings
from triage.repositories import workitems
from triage.settings import Settings
from triage.states import AnalysisStatus, DeliveryStatus, StudyStatus, WorkitemStatus
from triage.task_managers import TaskManager
from workers import workitems as performing
from workers.workitems import concerns, perform_due

pytestmark = pytest.mark.timeout(60)

PACS, WEB = "PACS@127.0.0.1:9", "dicomweb+http://127.0.0.1:9/dicom-web"
ITEM = "1.2.3.4"


class Pair:
    """A node with one finished study, and a task manager it performs for."""

    def __init__(self, node: Node, server: WebServer, manager: WorkitemManager) -> None:
        self.node, self.server, self.manager = node, server, manager
        self.address = f"ups+http://127.0.0.1:{server.port}/ups"
        destinations = tuple(Destination(address=address) for address in (PACS, WEB))
        self.owing = Debtor(
            node, destinations=destinations, task_managers=(TaskManager(address=self.address, poll_seconds=1),)
        )
        self.study_uid = str(self.owing.source.StudyInstanceUID)

    def schedule(self, uid: str = ITEM, study: str = "", **attributes: Any) -> Dataset:
        return self.manager.add(uid, InputInformationSequence=study_input(study or self.study_uid), **attributes)

    def perform(self) -> None:
        """What the bell does a moment later."""
        self.node.clock.pass_by(seconds=2)
        perform_due(self.node.bench)

    def item(self, uid: str = ITEM) -> tables.Workitem:
        with self.node.bench.database.read() as session:
            query = sa.select(tables.Workitem).where(
                tables.Workitem.workitem_uid == uid, tables.Workitem.manager == self.address
            )
            return session.scalars(query).one()

    def task_manager(self) -> tables.TaskManager:
        with self.node.bench.database.read() as session:
            return session.get_one(tables.TaskManager, self.address)

    def analyse(self, status: AnalysisStatus = AnalysisStatus.SUCCEEDED, reason: str = "") -> None:
        """Let the study's analysis end: with results owed, or with a reason."""
        if status is AnalysisStatus.SUCCEEDED:
            self.owing.owe(PACS, WEB)
        with self.node.bench.database.write() as session:
            analysis = session.scalars(sa.select(tables.Analysis)).one()
            analysis.status, analysis.reason, analysis.due = status, reason, False
            analysis.bundle_name, analysis.bundle_version = "chest", "1.0"
            analysis.study.status = StudyStatus.COMPLETE

    def deliver(self, status: DeliveryStatus = DeliveryStatus.SENT) -> None:
        with self.node.bench.database.write() as session:
            session.execute(sa.update(tables.Delivery).values(status=status, sent_at=self.node.clock()))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with opened(tmp_path / "data") as node, ups_server() as (server, manager):
        yield Pair(node, server, manager)


def test_from_schedule_to_completion_with_its_outputs(pair: Pair) -> None:
    pair.schedule()
    pair.perform()
    assert pair.item().status is WorkitemStatus.CLAIMED
    assert pair.manager.holders[ITEM] == pair.item().transaction_uid
    (told,) = pair.manager.workitems[ITEM].ProcedureStepProgressInformationSequence
    assert (told.ProcedureStepProgress, told.ProcedureStepProgressDescription) == (10, "received")
    requests = len(pair.server.requests)
    pair.perform()
    assert len(pair.server.requests) == requests + 1  # the search: nothing new is to be told
    pair.analyse()
    pair.perform()
    assert pair.item().progress == 80
    assert pair.manager.state(ITEM) == "IN PROGRESS"
    pair.deliver()
    pair.perform()
    assert pair.manager.state(ITEM) == "COMPLETED"
    assert pair.item().status is WorkitemStatus.COMPLETED
    (done,) = pair.manager.workitems[ITEM].UnifiedProcedureStepPerformedProcedureSequence
    outputs = done.OutputInformationSequence
    assert {o.DICOMRetrievalSequence[0].RetrieveAETitle for o in outputs} == {"PACS"}
    assert all("127.0.0.1:9/dicom-web/studies/" in o.WADORSRetrievalSequence[0].RetrieveURL for o in outputs)
    named = {r.ReferencedSOPInstanceUID for o in outputs for r in o.ReferencedSOPSequence}
    assert named == {d.result_object.sop_instance_uid for d in pair.owing.deliveries()}
    assert done.PerformedWorkitemCodeSequence[0].CodeValue == "110004"
    assert done.PerformedStationNameCodeSequence[0].CodeValue == "FIRSTREAD"
    assert [e for e in pair.owing.events() if e.startswith("workitem")] == ["workitem_claimed", "workitem_completed"]


def test_a_study_that_was_finished_before_is_told_at_once(pair: Pair) -> None:
    pair.analyse()
    pair.deliver()
    pair.schedule()
    pair.perform()
    assert pair.manager.state(ITEM) == "COMPLETED"


def test_a_study_that_is_not_here_leaves_its_workitem_to_others(pair: Pair) -> None:
    pair.schedule(study="1.9.9")
    pair.perform()
    assert (pair.item().status, pair.item().reason) == (WorkitemStatus.FOUND, "waits for its study")
    assert pair.manager.state(ITEM) == "SCHEDULED"
    pair.node.clock.pass_by(hours=73)
    pair.perform()
    assert pair.item().status is WorkitemStatus.LEFT
    assert pair.manager.state(ITEM) == "SCHEDULED"


def test_a_study_that_comes_later_is_claimed_then(pair: Pair) -> None:
    pair.schedule(study="1.9.9")
    pair.perform()
    other = Dataset()
    other.update(pair.owing.source)
    other.file_meta = pair.owing.source.file_meta
    other.StudyInstanceUID, other.SeriesInstanceUID, other.SOPInstanceUID = "1.9.9", "1.9.9.1", "1.9.9.1.1"
    pair.node.receive(other)
    pair.perform()
    assert pair.item().status is WorkitemStatus.CLAIMED


@pytest.mark.parametrize(
    ("status", "code"), [(AnalysisStatus.NOT_ANALYSED, "110522"), (AnalysisStatus.FAILED, "110513")]
)
def test_what_has_no_result_is_canceled_with_the_reason(pair: Pair, status: AnalysisStatus, code: str) -> None:
    pair.schedule()
    pair.analyse(status, "no network reads this image")
    pair.perform()
    assert pair.manager.state(ITEM) == "CANCELED"
    (told,) = pair.manager.workitems[ITEM].ProcedureStepProgressInformationSequence
    assert told.ReasonForCancellation == "no network reads this image"
    assert told.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == code
    assert (pair.item().status, pair.item().reason) == (WorkitemStatus.CANCELED, "no network reads this image")


def test_results_that_no_destination_took_are_no_output(pair: Pair) -> None:
    pair.schedule()
    pair.analyse()
    pair.deliver(DeliveryStatus.DEAD)
    pair.perform()
    assert pair.manager.state(ITEM) == "CANCELED"


def test_what_another_performer_holds_is_left_to_it(pair: Pair) -> None:
    pair.schedule()
    steal = pair.manager.claim_elsewhere
    original = pair.manager._change_state

    def just_before(uid: str, change: Dataset) -> Any:
        steal(uid)
        return original(uid, change)

    pair.manager._change_state = just_before  # type: ignore[method-assign]
    pair.perform()
    assert (pair.item().status, pair.item().reason) == (WorkitemStatus.LEFT, "another performer has claimed it")
    assert pair.manager.holders[ITEM] == "1.2.3.99999"


def test_a_reading_task_is_not_taken_for_ours_even_where_the_manager_cannot_search(pair: Pair) -> None:
    pair.manager.searches = False
    reading = pair.schedule("1.2.3.5")
    reading.ScheduledWorkitemCodeSequence[0].CodeValue = "110005"
    pair.perform()
    assert pair.manager.state("1.2.3.5") == "SCHEDULED"
    with pair.node.bench.database.read() as session:
        assert workitems.list_workitems(session) == []


def test_input_that_is_not_ready_is_waited_for(pair: Pair) -> None:
    item = pair.schedule(InputReadinessState="INCOMPLETE")
    pair.perform()
    assert (pair.item().status, pair.item().reason) == (WorkitemStatus.FOUND, "Its input is not ready.")
    item.InputReadinessState = "READY"
    pair.node.clock.pass_by(minutes=1)
    pair.perform()
    assert pair.item().status is WorkitemStatus.CLAIMED


def go_on(pair: Pair) -> None:
    """Every step of ours, with the longest pause between two of them."""
    pair.perform()
    if pair.node.study(pair.owing.source).analyses[0].status is not AnalysisStatus.SUCCEEDED:
        pair.analyse()
        pair.perform()
    pair.deliver()
    for _ in range(3):
        pair.node.clock.pass_by(minutes=10)
        pair.perform()


class Killed(BaseException):
    """The process is not there any more."""


@pytest.mark.parametrize("request_number", range(1, 10))
def test_whichever_answer_is_lost_the_workitem_is_completed_once(pair: Pair, request_number: int) -> None:
    """Sent, done there, unheard; and once more unheard on a new connection."""
    pair.schedule()
    pair.server.faults = [does_it] * (request_number - 1) + [is_unheard] * 2
    go_on(pair)
    assert pair.server.faults == []
    assert (pair.manager.state(ITEM), pair.item().status) == ("COMPLETED", WorkitemStatus.COMPLETED)
    assert pair.owing.events().count("workitem_completed") == 1


@pytest.mark.parametrize("request_number", range(1, 10))
def test_wherever_we_are_killed_the_workitem_is_completed_once(
    pair: Pair, request_number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manager has answered, and nothing after that is noted: neither its answer nor that the look has ended."""
    exchange, answered = HttpPeer.exchange, workitems.answered
    numbers = itertools.count(1)

    def killed(http: HttpPeer, *arguments: Any, **keywords: Any) -> Any:
        answer = exchange(http, *arguments, **keywords)
        if next(numbers) == request_number:
            monkeypatch.setattr(workitems, "answered", lambda *_, **__: None)
            raise Killed
        return answer

    monkeypatch.setattr(HttpPeer, "exchange", killed)
    pair.schedule()
    with pytest.raises(Killed):
        go_on(pair)
    monkeypatch.setattr(workitems, "answered", answered)
    pair.node.clock.pass_by(minutes=10)
    go_on(pair)
    assert (pair.manager.state(ITEM), pair.item().status) == ("COMPLETED", WorkitemStatus.COMPLETED)
    assert pair.owing.events().count("workitem_completed") == 1


def forget(pair: Pair, **values: object) -> None:
    """As if this node had been killed before it could note something."""
    with pair.node.bench.database.write() as session:
        session.execute(sa.update(tables.Workitem).values(**values))


def test_killed_between_claiming_and_noting_that(pair: Pair) -> None:
    pair.schedule()
    pair.perform()
    forget(pair, status=WorkitemStatus.FOUND, claimed_at=None)
    pair.perform()
    assert pair.item().status is WorkitemStatus.CLAIMED


def test_killed_between_finishing_and_noting_that(pair: Pair) -> None:
    pair.schedule()
    pair.analyse()
    pair.deliver()
    pair.perform()
    forget(pair, status=WorkitemStatus.CLAIMED, finished_at=None, look_at=pair.node.clock())
    pair.perform()
    assert pair.item().status is WorkitemStatus.COMPLETED


def test_killed_in_the_middle_of_a_look_it_is_looked_at_again_when_the_lease_has_run_out(pair: Pair) -> None:
    pair.schedule()
    pair.perform()
    with pair.node.bench.database.write() as session:
        taken = workitems.next_due(session, pair.address, pair.node.clock() + timedelta(seconds=5))
    assert taken is not None
    pair.analyse()
    pair.deliver()
    pair.perform()
    assert pair.manager.state(ITEM) == "IN PROGRESS"
    pair.node.clock.pass_by(minutes=4)
    pair.perform()
    assert pair.manager.state(ITEM) == "COMPLETED"


def test_a_manager_that_forgot_us_is_claimed_from_again(pair: Pair) -> None:
    pair.schedule()
    pair.perform()
    pair.manager.workitems[ITEM].ProcedureStepState = "SCHEDULED"
    pair.manager.holders.clear()
    pair.analyse()
    pair.deliver()
    pair.perform()
    pair.node.clock.pass_by(minutes=1)
    pair.perform()
    assert pair.manager.state(ITEM) == "COMPLETED"


@pytest.mark.parametrize("state", ["CANCELED", "COMPLETED"])
def test_what_somebody_else_has_ended_is_left(pair: Pair, state: str) -> None:
    pair.schedule()
    pair.perform()
    pair.manager.workitems[ITEM].ProcedureStepState = state
    with pair.node.bench.database.write() as session:
        session.scalars(sa.select(tables.Analysis)).one().scored_at = pair.node.clock()
    pair.perform()
    assert (pair.item().status, state in pair.item().reason) == (WorkitemStatus.LEFT, True)


def test_a_workitem_that_was_removed_is_left(pair: Pair) -> None:
    pair.schedule()
    pair.perform()
    del pair.manager.workitems[ITEM]
    pair.analyse()
    pair.perform()
    assert pair.item().status is WorkitemStatus.LEFT


@pytest.mark.parametrize(
    "fault", [answers(500), answers(401), hangs_up, half_closes, is_silent, answers(200, b"<html>", "text/html")]
)
def test_a_manager_that_fails_is_asked_again_with_growing_pauses(
    pair: Pair, fault: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(performing, "PATIENCE", Patience(connect=1.0, silence=0.5, exchange=0.5))
    pair.schedule()
    pair.server.faults.append(fault)
    pair.perform()
    failed = pair.task_manager()
    assert failed.problem
    assert failed.look_at > pair.node.clock()
    pair.node.clock.pass_by(minutes=5)
    pair.perform()
    assert (pair.task_manager().problem, pair.item().status) == ("", WorkitemStatus.CLAIMED)


def test_one_workitem_that_is_refused_does_not_hold_up_the_others(pair: Pair) -> None:
    pair.schedule("1.2.3.5")
    pair.schedule("1.2.3.6")
    pair.perform()
    pair.analyse()
    pair.deliver()
    refused = pair.manager._update

    def refuse_one(uid: str, changes: Dataset) -> Any:
        return Answer(400) if uid == "1.2.3.5" else refused(uid, changes)

    pair.manager._update = refuse_one  # type: ignore[method-assign]
    pair.perform()
    assert pair.item("1.2.3.5").status is WorkitemStatus.CLAIMED
    assert "HTTP 400" in pair.item("1.2.3.5").reason
    assert pair.item("1.2.3.6").status is WorkitemStatus.COMPLETED
    assert pair.task_manager().problem == ""


def test_two_workers_do_not_ask_at_once(pair: Pair) -> None:
    pair.perform()
    now = pair.node.clock() + timedelta(seconds=2)
    with pair.node.bench.database.write() as session:
        assert workitems.claim_manager(session, pair.address, now)
        assert not workitems.claim_manager(session, pair.address, now)


def test_who_schedules_nothing_for_us_costs_nothing(tmp_path: Path) -> None:
    plain = Settings(data=tmp_path, destinations=(PACS,))
    assert not concerns(plain)
    assert concerns(Settings(data=tmp_path, destinations=(PACS,), task_managers="ups+http://10.0.0.5/ups"))
    assert concerns(Settings(data=tmp_path, destinations=(PACS, "ups+http://10.0.0.5/ups")))


@pytest.mark.parametrize(
    ("task_manager", "words"),
    [
        ({"address": "PACS@10.0.0.5:104"}, "ups"),
        ({"address": "ups+http://10.0.0.5/ups", "code": "110004"}, "value.scheme.meaning"),
        ({"address": "ups+http://10.0.0.5/ups", "user": "x"}, "password_file"),
        ({"address": "ups+http://169.254.169.254/"}, "metadata"),
    ],
)
def test_settings_of_task_managers_are_checked(tmp_path: Path, task_manager: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Settings(data=tmp_path, destinations=(PACS,), task_managers=(task_manager,))


def test_outputs_need_a_place_to_be_retrieved_from(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="takes DICOM objects"):
        Settings(data=tmp_path, destinations=("ups+http://10.0.0.6/ups",), task_managers="ups+http://10.0.0.5/ups")


def test_the_results_of_an_earlier_revision_stand_when_the_later_has_nothing_new(pair: Pair) -> None:
    pair.analyse()
    pair.deliver()
    with pair.node.bench.database.write() as session:
        first = session.scalars(sa.select(tables.Analysis)).one()
        session.add(
            tables.Analysis(
                study_id=first.study_id, revision=2, bundle_name="chest", bundle_version="1.0",
                status=AnalysisStatus.SUCCEEDED, due=False, queued_at=pair.node.clock(),
            )
        )  # fmt: skip
        study_id = first.study_id
    with pair.node.bench.database.read() as session:
        assert len(standings.standing(session, study_id).outputs) == 2
