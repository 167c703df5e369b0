"""The reading list: pages of it in reading order, one case in full, and a reader's steps through a case.

A page costs a fixed number of queries however many cases it holds. The open list walks the partial index
``ix_studies_open_order``, so it costs the same beside a thousand read cases and beside a million.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from triage.errors import NotFoundError, StateError
from triage.findings import Urgency
from triage.repositories import events, verdicts
from triage.repositories.list_query import OPEN, Filters, Place, narrowed, page_query
from triage.repositories.listed_cases import STUDY_COLUMNS, ListedCase, ListedStudy, listed_cases
from triage.states import ReadingStatus, advance
from triage.tables import Analysis, AnalysisImage, Delivery, Event, Finding, Instance, ResultObject, Study


@dataclass(frozen=True, slots=True)
class Page:
    """Cases in reading order; ``next`` is None on the last page."""

    cases: Sequence[ListedCase]
    next: Place | None


def list_page(session: Session, filters: Filters, after: Place | None, limit: int) -> Page:
    """Up to ``limit`` cases behind ``after`` (None: from the top), each with its findings and deliveries."""
    session.flush()
    query = narrowed(session, _shown(filters, after, limit + 1), filters)
    studies = [ListedStudy._make(row) for row in session.connection().execute(query).all()]
    more = len(studies) > limit
    studies = studies[:limit]
    last = studies[-1] if more else None
    return Page(listed_cases(session, studies), None if last is None else Place(last.tier, last.due_at, last.id))


@lru_cache(maxsize=64)
def _shown(filters: Filters, after: Place | None, limit: int) -> sa.Select[Any]:
    """Kept, because pages ask for the same after each commit, and it takes as long to put together as to answer."""
    return page_query(filters, after, limit).with_only_columns(*STUDY_COLUMNS)


def listed_case(session: Session, study: Study) -> ListedCase:
    """One study as the list shows it."""
    return listed_cases(session, [study])[0]


def study_by_uid(session: Session, study_uid: str, *, to_change: bool = False) -> Study:
    """The study alone; ``to_change`` locks its row against other writers.

    Raises
    ------
    NotFoundError
        No such study.
    """
    return _found(session.scalar(_TO_CHANGE if to_change else _BY_UID, {"uid": study_uid}))


_BY_UID: Final = sa.select(Study).where(Study.study_instance_uid == sa.bindparam("uid"))
_TO_CHANGE: Final = _BY_UID.with_for_update(key_share=True)


def case_by_uid(session: Session, study_uid: str) -> Study:
    """The study with its instances, analyses, findings, verdicts, results, deliveries and events: eleven queries.

    Raises
    ------
    NotFoundError
        No such study.
    """
    analyses = selectinload(Study.analyses)
    images = analyses.selectinload(Analysis.images)
    results = analyses.selectinload(Analysis.result_objects)
    deliveries = results.selectinload(ResultObject.deliveries)
    query = (
        sa.select(Study)
        .where(Study.study_instance_uid == study_uid)
        .options(
            selectinload(Study.instances),
            selectinload(Study.events),
            selectinload(Study.missed),
            images.selectinload(AnalysisImage.findings).selectinload(Finding.verdicts),
            images.selectinload(AnalysisImage.instance),
            deliveries.selectinload(Delivery.attempts),
            deliveries.joinedload(Delivery.commitment),
        )
    )
    return _found(session.scalar(query))


def latest_images(session: Session, study_uid: str, sop_instance_uid: str) -> Sequence[AnalysisImage]:
    """What analyses made of one instance, latest first. Empty when none has looked at it yet.

    Raises
    ------
    NotFoundError
        The study has no such instance.
    """
    instances = list(
        session.scalars(
            sa.select(Instance.id)
            .join(Instance.study)
            .where(Study.study_instance_uid == study_uid, Instance.sop_instance_uid == sop_instance_uid)
            .order_by(Instance.is_current.desc(), Instance.version.desc())
        )
    )
    if not instances:
        raise NotFoundError("The study has no instance with this SOP Instance UID.")
    query = sa.select(AnalysisImage).where(AnalysisImage.instance_id.in_(instances))
    return session.scalars(query.order_by(AnalysisImage.id.desc())).all()


def open_counts(session: Session) -> Mapping[Urgency, int]:
    """Open cases per class; every class is there."""
    rows = session.execute(sa.select(Study.urgency, sa.func.count()).where(OPEN).group_by(Study.urgency))
    return dict.fromkeys(Urgency, 0) | dict(rows.all())


def events_after(session: Session, event_id: int, limit: int) -> Sequence[tuple[Event, str | None]]:
    """Events later than ``event_id``, oldest first, each with its Study Instance UID (None: of the house itself)."""
    return _with_study(session, _EVENTS.where(Event.id > event_id).limit(limit))


def events_by_id(session: Session, ids: Sequence[int]) -> Sequence[tuple[Event, str | None]]:
    """These events, as :func:`events_after` gives them."""
    return _with_study(session, _EVENTS.where(Event.id.in_(ids)))


_EVENTS: Final = (
    sa.select(Event, Study.study_instance_uid).outerjoin(Study, Study.id == Event.study_id).order_by(Event.id)
)


def _with_study(session: Session, query: sa.Select[Event, str]) -> Sequence[tuple[Event, str | None]]:
    return [(event, uid) for event, uid in session.execute(query)]


def claim(session: Session, study: Study, *, who: str, at: datetime) -> None:
    """``who`` reads the case now. Claiming one's own case again only renews the claim.

    Raises
    ------
    StateError
        Somebody else has it, or it is read.
    """
    if study.reading_status is ReadingStatus.CLAIMED:
        refuse_other_reader(study, who)
        study.claim_seen_at = at
        return
    _refuse_read(study)
    study.reading_status = advance(study.reading_status, ReadingStatus.CLAIMED)
    study.reader, study.claimed_at, study.claim_seen_at = who, at, at
    events.record(session, "case_claimed", at=at, study=study, who=who)


def release(session: Session, study: Study, *, who: str, at: datetime) -> None:
    """Give the case back to the list: a claimed one, anybody's, or a read one that has to be read again.

    Raises
    ------
    StateError
        It is not claimed and not read.
    """
    if study.reading_status is ReadingStatus.UNREAD:
        raise StateError("The case waits to be read already: nobody has claimed or read it.")
    kind = "case_reopened" if study.reading_status is ReadingStatus.READ else "case_released"
    before = study.reader
    study.reading_status = advance(study.reading_status, ReadingStatus.UNREAD)
    study.reader, study.claimed_at, study.claim_seen_at, study.read_at = "", None, None, None
    events.record(session, kind, at=at, study=study, who=who, reader=before)


def mark_read(session: Session, study: Study, *, who: str, at: datetime) -> None:
    """The case is read and leaves the open list.

    Raises
    ------
    StateError
        Somebody else has claimed it, or it is read already.
    """
    refuse_other_reader(study, who)
    _refuse_read(study)
    study.reading_status = advance(study.reading_status, ReadingStatus.READ)
    study.reader, study.claim_seen_at, study.read_at = who, None, at
    events.record(session, "case_read", at=at, study=study, who=who)
    verdicts.hasten(session, study, at=at)


def _refuse_read(study: Study) -> None:
    if study.reading_status is ReadingStatus.READ:
        raise StateError(f"{study.reader or 'Somebody'} has read this case.", next_step="Open it again first.")


def refuse_other_reader(study: Study, who: str) -> None:
    """Only the reader of a claimed case decides on it.

    Raises
    ------
    StateError
        Somebody else has claimed it.
    """
    if study.reading_status is ReadingStatus.CLAIMED and study.reader != who:
        raise StateError(f"{study.reader} has claimed this case.", next_step="Release it first, or ask them.")


def _found(study: Study | None) -> Study:
    if study is None:
        raise NotFoundError("No study with this Study Instance UID is known.")
    return study


def latest_messages(session: Session, study_id: int, kind: str) -> list[ResultObject]:
    """What the latest revision of each bundle was told in, one row per bundle; the default form where there is one."""
    query = (
        sa.select(Analysis.bundle_name, ResultObject)
        .join(ResultObject.analysis)
        .where(Analysis.study_id == study_id, ResultObject.kind == kind, ResultObject.removed_at.is_(None))
        .order_by(Analysis.revision, ResultObject.variant.desc(), ResultObject.id)
    )
    latest: dict[str, ResultObject] = {}
    for bundle, row in session.execute(query):
        latest[bundle] = row
    return list(latest.values())
