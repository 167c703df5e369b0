"""Workitems that other systems schedule for this node: found, claimed, told about, finished; every query about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from triage.outbox import pause_after, spread_of
from triage.repositories import events
from triage.repositories.upsert import insert_or_ignore
from triage.states import WorkitemStatus, advance
from triage.tables import Study, TaskManager, Workitem

LEASE: Final = timedelta(seconds=180)
"""Longest time that a look at a manager, or at one of its workitems, may take; nobody else does it meanwhile."""
LOOK_AGAIN: Final = timedelta(seconds=1)
LOOK_AGAIN_AT_LEAST: Final = timedelta(seconds=30)
"""Pause between two looks at the study of a workitem: a tenth of the time that it has waited, within these bounds."""
GIVEN_UP_AFTER: Final = timedelta(hours=72)
"""A workitem whose study has not come by then is left to others."""
LONGEST_SILENCE: Final = timedelta(minutes=5)
"""A manager that fails is asked again at least so often."""

_OPEN: Final = sa.text("workitems.status IN ('FOUND', 'CLAIMED')")
"""Literal, because SQLite takes a partial index only for the very text it was made with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheduled:
    """A workitem as a manager lists it."""

    uid: str
    priority: str
    study_instance_uids: Sequence[str]


def managers_due(session: Session, addresses: Sequence[str], now: datetime) -> list[str]:
    """Those of ``addresses`` that it is time to look at; nobody else may be at it."""
    later = set(session.scalars(sa.select(TaskManager.address).where(TaskManager.look_at > now)))
    return [address for address in addresses if address not in later]


def claim_manager(session: Session, address: str, now: datetime) -> TaskManager | None:
    """A manager that it is time to look at, while nobody else does; the lease ends with :func:`answered`."""
    insert_or_ignore(session, TaskManager, address=address, look_at=now, problem="", failures=0)
    query = sa.select(TaskManager).where(TaskManager.address == address, TaskManager.look_at <= now)
    manager = session.scalars(query.with_for_update(skip_locked=True)).one_or_none()
    if manager is not None:
        manager.look_at = now + LEASE
        session.flush()
    return manager


def answered(
    session: Session, address: str, *, at: datetime, every: timedelta, searched: bool, problem: str = ""
) -> None:
    """A manager was looked at: again after ``every``, or in a moment where something of it is open.

    When it could not be asked, after a growing pause.

    Parameters
    ----------
    searched : bool
        It was asked what is scheduled.
    """
    manager = session.get_one(TaskManager, address, with_for_update=True)
    manager.problem = problem
    if problem:
        manager.failures += 1
        pause = pause_after(manager.failures, spread=spread_of(address, manager.failures))
        manager.look_at = at + min(pause, LONGEST_SILENCE)
        return
    if searched:
        manager.answered_at = at
    busy = session.scalar(sa.select(sa.exists().where(_OPEN, Workitem.manager == address)))
    manager.failures, manager.look_at = 0, at + (min(every, LOOK_AGAIN) if busy else every)


def record(session: Session, manager: str, scheduled: Sequence[Scheduled], *, at: datetime) -> int:
    """Remember workitems that are listed and not known yet; returns how many are new."""
    query = sa.select(Workitem.workitem_uid).where(
        Workitem.manager == manager, Workitem.workitem_uid.in_([item.uid for item in scheduled])
    )
    known = set(session.scalars(query))
    new = {item.uid: item for item in scheduled if item.uid not in known}
    for item in new.values():
        session.add(
            Workitem(
                manager=manager,
                workitem_uid=item.uid,
                transaction_uid=f"2.25.{uuid4().int}",
                priority=item.priority[:16],
                study_instance_uids=list(item.study_instance_uids),
                look_at=at,
                found_at=at,
            )
        )
    session.flush()
    return len(new)


def next_due(session: Session, manager: str, now: datetime) -> Workitem | None:
    """The next workitem to look at, with its study when that is here; nobody else gets it for :data:`LEASE`.

    One whose study is not here is passed over: it stays scheduled, so that another performer may take it.
    """
    query = (
        sa.select(Workitem)
        .where(_OPEN, Workitem.manager == manager, Workitem.look_at <= now)
        .order_by(Workitem.look_at, Workitem.id)
        .options(joinedload(Workitem.study))
        .with_for_update(skip_locked=True, of=Workitem)
    )
    for item in session.scalars(query):
        if item.study_id is None:
            item.study = _first_here(session, item.study_instance_uids)
        if item.study is not None or not item.study_instance_uids:
            item.look_at = now + LEASE
            session.flush()
            return item
        if now - item.found_at >= GIVEN_UP_AFTER:
            _finish(session, item, WorkitemStatus.LEFT, "its study has not come", now)
        else:
            item.look_at, item.reason = now + _pause(now - item.found_at), "waits for its study"
    return None


def claimed(session: Session, workitem_id: int, *, at: datetime) -> None:
    """The manager says that we hold it."""
    item = _locked(session, workitem_id)
    if item.status is WorkitemStatus.FOUND:
        item.status, item.claimed_at = advance(item.status, WorkitemStatus.CLAIMED), at
        _event(session, item, "workitem_claimed", at)
    item.look_at, item.reason, item.failures, item.progress = at, "", 0, 0


def told(session: Session, workitem_id: int, percent: int, words: str, *, at: datetime) -> None:
    """The manager knows how far it is, or nothing new is to be told."""
    item = _locked(session, workitem_id)
    item.progress, item.reason, item.failures = percent, words, 0
    item.look_at = at + _pause(at - (item.claimed_at or at))


def postpone(session: Session, workitem_id: int, reason: str, *, at: datetime) -> None:
    """Nothing could be done about it now: again after a growing pause."""
    item = _locked(session, workitem_id)
    item.failures += 1
    pause = pause_after(item.failures, spread=spread_of(item.workitem_uid, item.failures))
    item.reason, item.look_at = reason, at + pause


def finish(session: Session, workitem_id: int, status: WorkitemStatus, reason: str, *, at: datetime) -> None:
    """It is COMPLETED or CANCELED by us, or LEFT to others, with the reason."""
    item = _locked(session, workitem_id)
    if item.status in (WorkitemStatus.FOUND, WorkitemStatus.CLAIMED):
        _finish(session, item, status, reason, at)


def list_workitems(
    session: Session, *, status: WorkitemStatus | None = None, before: int | None = None, limit: int = 50
) -> Sequence[Workitem]:
    """Workitems with an id below ``before``, newest first, each with its study."""
    query = sa.select(Workitem).options(joinedload(Workitem.study)).order_by(Workitem.id.desc()).limit(limit)
    if status is not None:
        query = query.where(Workitem.status == status)
    if before is not None:
        query = query.where(Workitem.id < before)
    return session.scalars(query).all()


def managers(session: Session) -> Sequence[TaskManager]:
    """Every manager that was ever asked, by address."""
    return session.scalars(sa.select(TaskManager).order_by(TaskManager.address)).all()


def _pause(waited: timedelta) -> timedelta:
    return min(max(waited / 10, LOOK_AGAIN), LOOK_AGAIN_AT_LEAST)


def _first_here(session: Session, study_instance_uids: Sequence[str]) -> Study | None:
    here = sa.select(Study).where(Study.study_instance_uid.in_(study_instance_uids))
    found = {study.study_instance_uid: study for study in session.scalars(here)}
    return next((found[uid] for uid in study_instance_uids if uid in found), None)


def _locked(session: Session, workitem_id: int) -> Workitem:
    query = sa.select(Workitem).where(Workitem.id == workitem_id).with_for_update(of=Workitem)
    return session.scalars(query.execution_options(populate_existing=True)).one()


def _finish(session: Session, item: Workitem, status: WorkitemStatus, reason: str, at: datetime) -> None:
    item.status, item.reason, item.finished_at = advance(item.status, status), reason, at
    _event(session, item, f"workitem_{status.value.lower()}", at)


def _event(session: Session, item: Workitem, kind: str, at: datetime) -> None:
    events.record(
        session, kind, at=at, study=item.study, who="workitems", manager=item.manager,
        workitem_uid=item.workitem_uid, reason=item.reason,
    )  # fmt: skip
