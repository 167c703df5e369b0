"""We as task performer (IHE AIW-I): workitems that task managers schedule are found, claimed, told about and finished.

A workitem is claimed when its study is here: until then it stays scheduled, so that another performer may take it. What
we hold survives whatever is killed, because its row, with our Transaction UID, is committed before it is claimed, and
every step towards the manager means the same when it is taken twice.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pydicom.dataset import Dataset

from dicom_node.ups import Reply, UpsPeer
from dicom_node.workitems import (
    OBJECTS_NOT_SUPPORTED,
    UNSPECIFIED,
    Output,
    Performance,
    ScheduledStep,
    StepState,
    discontinued,
    performed,
    progress,
)
from triage.addresses import DestinationAddress, DestinationKind
from triage.errors import FirstreadError
from triage.findings import Code
from triage.logging import get_logger
from triage.repositories import reading_tasks, workitems
from triage.repositories.standing import Delivered, Standing, standing
from triage.repositories.workitems import Scheduled
from triage.settings import Settings
from triage.states import WorkitemStatus
from triage.task_managers import TaskManager
from workers.carriers.web import PATIENCE, peer_of

if TYPE_CHECKING:
    from triage.tables import Workitem
    from workers.workbench import Workbench

ELSEWHERE: Final = "another performer has claimed it"
GONE: Final = "the task manager does not have it any more"

log = get_logger(__name__)


class NotYetError(FirstreadError):
    """Nothing can be done about a workitem now; the row says why."""

    next_step = ""


def concerns(settings: Settings) -> bool:
    """Whether anything here is to be done: somebody schedules workitems for us, or we schedule readings."""
    return bool(settings.task_managers) or any(d.kind is DestinationKind.UPS for d in settings.destinations)


def perform_due(bench: Workbench) -> None:
    """Move reading tasks whose study has changed its class; look at task managers, and at what we hold there."""
    managers = {manager.address: manager for manager in bench.settings.task_managers}
    with bench.database.read() as session:
        due = workitems.managers_due(session, list(managers), bench.clock())
        outdated = reading_tasks.any_changed(session)
    if outdated:
        with bench.database.write() as session:
            reading_tasks.owe_changed(session, bench.clock())
    for manager in (managers[address] for address in due):
        with bench.database.write() as session:
            row = workitems.claim_manager(session, manager.address, bench.clock())
        if row is not None:
            every = timedelta(seconds=manager.poll_seconds)
            _look(bench, manager, search=row.answered_at is None or bench.clock() - row.answered_at >= every)


def _look(bench: Workbench, manager: TaskManager, *, search: bool) -> None:
    problem = ""
    try:
        with peer_of(bench.settings, manager, PATIENCE) as http:
            performer = _Performer(bench, manager, UpsPeer(http))
            if search:
                performer.search()
            performer.advance_open()
    except FirstreadError as error:
        problem = error.advice()
        log.warning("task_manager_failed", manager=manager.address, problem=problem)
    finally:
        with bench.database.write() as session:
            every = timedelta(seconds=manager.poll_seconds)
            workitems.answered(
                session, manager.address, at=bench.clock(), every=every, searched=search, problem=problem
            )


class _Performer:
    """One look at one task manager."""

    def __init__(self, bench: Workbench, manager: TaskManager, peer: UpsPeer) -> None:
        self._bench, self._manager, self._peer = bench, manager, peer

    def advance_open(self) -> None:
        """Take every open workitem a step further, as far as there is one to take.

        Raises
        ------
        DeliveryError
            The manager does not answer; the rest waits for the next look.
        """
        while True:
            with self._bench.database.write() as session:
                item = workitems.next_due(session, self._manager.address, self._bench.clock())
            if item is None:
                return
            try:
                self._advance(item)
            except FirstreadError as error:
                with self._bench.database.write() as session:
                    workitems.postpone(session, item.id, str(error), at=self._bench.clock())
                if error.retryable:
                    raise  # the manager is away: the others would fare the same

    def search(self) -> None:
        """Remember what is scheduled for us.

        Raises
        ------
        DeliveryError
            The manager does not answer.
        """
        steps = self._peer.scheduled(self._manager.concept.value, station=self._manager.station)
        wanted = [step for step in steps if step.state in (StepState.SCHEDULED, None) and self._is_for_us(step)]
        scheduled = [
            Scheduled(uid=step.uid, priority=step.priority, study_instance_uids=step.study_instance_uids)
            for step in wanted
        ]
        with self._bench.database.write() as session:
            new = workitems.record(session, self._manager.address, scheduled, at=self._bench.clock())
        if new:
            log.info("workitems_found", manager=self._manager.address, new=new)

    def _is_for_us(self, step: ScheduledStep) -> bool:
        """Managers may ignore what they cannot search by; a reading task must not be taken for ours."""
        station, concept = self._manager.station, self._manager.concept
        return (concept.value, concept.scheme) in step.codes and (not station or station in step.stations)

    def _advance(self, item: Workitem) -> None:
        if item.status is WorkitemStatus.CLAIMED:
            self._tell(item)
        elif item.study_id is None:
            self._finish(item, WorkitemStatus.LEFT, "its input names no study")
        else:
            self._claim(item)

    def _claim(self, item: Workitem) -> None:
        step = self._peer.retrieve(item.workitem_uid)
        if step is None:
            self._finish(item, WorkitemStatus.LEFT, GONE)
        elif step.state in (StepState.COMPLETED, StepState.CANCELED):
            self._finish(item, WorkitemStatus.LEFT, f"it is {step.state} already")
        elif step.state is StepState.IN_PROGRESS:
            self._ours_or_theirs(item)  # we may have been killed between claiming it and noting that
        elif not step.ready:
            raise NotYetError("Its input is not ready.")
        else:
            match self._peer.change_state(item.workitem_uid, StepState.IN_PROGRESS, item.transaction_uid):
                case Reply.DONE:
                    self._claimed(item)
                case Reply.GONE:
                    self._finish(item, WorkitemStatus.LEFT, GONE)
                case Reply.CONFLICT:
                    self._ours_or_theirs(item)

    def _ours_or_theirs(self, item: Workitem) -> None:
        """Who holds a workitem is told to nobody, but only who does may change it."""
        match self._peer.update(item.workitem_uid, progress(0, "claimed", item.transaction_uid)):
            case Reply.DONE:
                self._claimed(item)
            case Reply.GONE:
                self._finish(item, WorkitemStatus.LEFT, GONE)
            case Reply.CONFLICT:
                self._finish(item, WorkitemStatus.LEFT, ELSEWHERE)

    def _claimed(self, item: Workitem) -> None:
        with self._bench.database.write() as session:
            workitems.claimed(session, item.id, at=self._bench.clock())
        log.info("workitem_claimed", manager=self._manager.address, workitem_uid=item.workitem_uid)

    def _tell(self, item: Workitem) -> None:
        assert item.study is not None  # noqa: S101 - claimed only with its study
        with self._bench.database.read() as session:
            now = standing(session, item.study.id)
        if now.percent == 100:
            self._conclude(item, now)
            return
        if now.percent != item.progress:
            reply = self._peer.update(item.workitem_uid, progress(now.percent, now.words, item.transaction_uid))
            if reply is not Reply.DONE:
                self._lost(item, reply)
                return
        with self._bench.database.write() as session:
            workitems.told(session, item.id, now.percent, now.words, at=self._bench.clock())

    def _conclude(self, item: Workitem, now: Standing) -> None:
        if now.outputs:
            status, state, report = WorkitemStatus.COMPLETED, StepState.COMPLETED, self._performed(item, now)
        else:
            code: Code = OBJECTS_NOT_SUPPORTED if now.unsuitable else UNSPECIFIED
            status, state = WorkitemStatus.CANCELED, StepState.CANCELED
            report = discontinued(now.words, code, self._bench.clock(), item.transaction_uid)
        reply = self._peer.update(item.workitem_uid, report)
        if reply is Reply.DONE:
            reply = self._peer.change_state(item.workitem_uid, state, item.transaction_uid)
        if reply is Reply.DONE:
            self._finish(item, status, now.words)
        else:
            self._lost(item, reply, wanted=(state, status, now.words))

    def _performed(self, item: Workitem, now: Standing) -> Dataset:
        assert item.study is not None  # noqa: S101 - claimed only with its study
        at = self._bench.clock()
        return performed(
            Performance(
                station=self._bench.settings.ae_title,
                software=", ".join(now.bundles),
                code=self._manager.concept,
                started_at=now.started_at or item.claimed_at or at,
                ended_at=now.ended_at or at,
                outputs=[_output(item.study.study_instance_uid, each) for each in now.outputs],
            ),
            item.transaction_uid,
        )

    def _lost(self, item: Workitem, reply: Reply, wanted: tuple[StepState, WorkitemStatus, str] | None = None) -> None:
        """We hold it, and the manager did not take a change: what is it now?"""
        step = self._peer.retrieve(item.workitem_uid) if reply is Reply.CONFLICT else None
        if step is None:
            self._finish(item, WorkitemStatus.LEFT, GONE)
        elif wanted is not None and step.state is wanted[0]:
            self._finish(item, wanted[1], wanted[2])  # we were killed between finishing it and noting that
        elif step.state in (StepState.COMPLETED, StepState.CANCELED):
            self._finish(item, WorkitemStatus.LEFT, f"somebody else has made it {step.state}")
        elif step.state is StepState.SCHEDULED:  # the manager was set back to an older state
            self._peer.change_state(item.workitem_uid, StepState.IN_PROGRESS, item.transaction_uid)
            raise NotYetError("The task manager had forgotten that we hold it; claimed again.")
        elif self._peer.update(item.workitem_uid, progress(item.progress, "", item.transaction_uid)) is Reply.DONE:
            raise NotYetError("The task manager does not take its end, although we hold it.")
        else:
            self._finish(item, WorkitemStatus.LEFT, ELSEWHERE)

    def _finish(self, item: Workitem, status: WorkitemStatus, reason: str) -> None:
        with self._bench.database.write() as session:
            workitems.finish(session, item.id, status, reason, at=self._bench.clock())
        log.info("workitem_finished", manager=self._manager.address, workitem_uid=item.workitem_uid, status=str(status))


def _output(study_instance_uid: str, delivered: Delivered) -> Output:
    """Where a result can be retrieved: from the destinations that took it."""
    places = [DestinationAddress.parse(address) for address in delivered.destinations]
    return Output(
        study_instance_uid=study_instance_uid,
        series_instance_uid=delivered.series_instance_uid,
        sop_class_uid=delivered.sop_class_uid,
        sop_instance_uid=delivered.sop_instance_uid,
        ae_titles=[place.peer.ae_title for place in places if place.kind is DestinationKind.C_STORE],
        urls=[place.url for place in places if place.kind is DestinationKind.DICOMWEB],
    )
