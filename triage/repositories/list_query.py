"""Which cases the reading list shows, and where a page of it begins: the query, without what stands beside a case."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from triage.findings import Urgency
from triage.repositories import text_index
from triage.searching import folded, grams, tail, words
from triage.states import ReadingStatus, StudyStatus
from triage.tables import Study

OPEN: Final = sa.text("studies.reading_status != 'READ'")
"""Not read yet. Literal, because SQLite takes a partial index only for the very text it was made with."""
POSITIVE: Final = sa.text("studies.positives != ''")
"""Something is over its threshold; literal for the same reason."""

MANY: Final = 2000
"""So many cases with a text, and it is quicker to walk the order until a page is full."""
_FEW: Final = 500
"""More cases with the end of a text, and the whole of it is looked up instead."""
SHOWN_WARD: Final = sa.case((Study.ward != "", Study.ward), else_=Study.order_ward)
"""As its images say it, else an order."""
_MAYBE_UID: Final = re.compile(r"\d+(\.\d+){2,}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Which cases to list. Without ``reading`` only open ones (not READ), unless ``everything``."""

    everything: bool = False
    reading: ReadingStatus | None = None
    status: StudyStatus | None = None
    urgency: Urgency | None = None
    modality: str = ""
    """One modality of the study's."""
    q: str = ""
    """Words, each part of patient ID, patient name, accession number, study description or ward, in any order, in any
    case and without accents; or the Study UID."""
    reader: str = ""
    """Who has claimed or read it."""
    ward: str = ""
    """Part of the ward that is shown, in any case."""
    body_part: str = ""
    """Part of Body Part Examined, in any case."""
    calling_ae_title: str = ""
    """Who sent it."""
    finding: str = ""
    """Part of the key or the meaning of a finding that is over its threshold, in any case and without accents."""
    positive: bool = False
    """Something is over its threshold."""
    due_before: datetime | None = None
    received_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A case's place in the order, and so where the next page begins."""

    tier: int
    due_at: datetime
    id: int


def page_query(filters: Filters, after: Place | None, limit: int) -> sa.Select[Study]:
    """The studies behind a page: one keyset step through (tier, due_at, id)."""
    place = sa.tuple_(Study.tier, Study.due_at, Study.id)
    query = sa.select(Study).order_by(Study.tier, Study.due_at, Study.id).limit(limit)
    if after is not None:
        types = [Study.tier.type, Study.due_at.type, Study.id.type]
        query = query.where(place > sa.tuple_(after.tier, after.due_at, after.id, types=types))
    return query.where(*_reading_state(filters), *_said_by_the_images(filters), *_found_and_due(filters))


def _reading_state(filters: Filters) -> Iterator[sa.ColumnElement[bool] | sa.TextClause]:
    if filters.reading is not None:
        yield Study.reading_status == filters.reading
    if filters.reading is not ReadingStatus.READ and not filters.everything:
        yield OPEN
    if filters.status is not None:
        yield Study.status == filters.status
    if filters.reader:
        yield Study.reader == filters.reader


def _said_by_the_images(filters: Filters) -> Iterator[sa.ColumnElement[bool]]:
    if filters.modality:
        yield ("\\" + Study.modality + "\\").contains(f"\\{filters.modality}\\", autoescape=True)
    if folded(filters.q):
        yield _found_by(filters.q)
    if filters.ward:
        yield SHOWN_WARD.icontains(filters.ward, autoescape=True)
        if _read_too(filters):  # it is among what cases are found by, and that is indexed
            yield Study.search_text.contains(tail(folded(filters.ward)), autoescape=True)
    if filters.body_part:
        yield Study.body_part_examined.icontains(filters.body_part, autoescape=True)
    if filters.calling_ae_title:
        yield Study.calling_ae_title == filters.calling_ae_title


def _found_by(wanted: str) -> sa.ColumnElement[bool]:
    leads, *others = words(wanted)
    said = Study.search_text.contains(tail(leads), autoescape=True)
    # The rest by an expression that no index has: it would be looked up piece by piece.
    rest = others if tail(leads) == leads else [leads, *others]
    said = sa.and_(said, *(Study.search_text.concat("").contains(word, autoescape=True) for word in rest))
    if not _MAYBE_UID.fullmatch(wanted):
        return said
    return sa.or_(Study.id.in_(_of_uid(wanted)), said)


def _of_uid(wanted: str) -> sa.Select[int]:
    by_uid = aliased(Study)  # looked up once, not compared with each case
    return sa.select(by_uid.id).where(by_uid.study_instance_uid == wanted)


def narrowed(session: Session, query: sa.Select[Any], filters: Filters) -> sa.Select[Any]:
    """The same query, led by the index of texts unless very many cases say that.

    What very many say is soon found by walking the order; and on SQLite the order of open cases holds their texts.
    """
    text = (words(filters.q) or [folded(filters.ward)])[0]
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    if not grams(text) or (on_sqlite and not _read_too(filters)) or not text_index.is_there(session):
        return query
    for part, most in {tail(text): _FEW, text: MANY}.items():
        found = text_index.holding(session, part, most, only_open=not _read_too(filters))
        if len(found) < most:
            named = session.scalars(_of_uid(filters.q)) if _MAYBE_UID.fullmatch(filters.q) else ()
            return query.where(Study.id.in_([*found, *named]))
    return query


def _read_too(filters: Filters) -> bool:
    return filters.everything or filters.reading is ReadingStatus.READ


def _found_and_due(filters: Filters) -> Iterator[sa.ColumnElement[bool] | sa.TextClause]:
    if filters.urgency is not None:
        yield Study.urgency == filters.urgency
    if filters.positive or filters.finding:
        # Among open cases the index of those is the shorter one, and this must not lead SQLite to the other.
        yield POSITIVE if _read_too(filters) else Study.positives != ""
    if filters.finding:
        wanted = folded(filters.finding)
        yield Study.positives.contains(wanted, autoescape=True) if wanted else sa.false()
    if filters.due_before is not None:
        yield Study.due_at < filters.due_before
    if filters.received_before is not None:
        yield Study.received_at <= filters.received_before
