"""The studies for whoever asks from outside: in reading order, with what the database can leave out left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.catalogue import Accept, InstanceFacts, Narrowing, SeriesFacts, StudyFacts
from triage.database import Database
from triage.repositories.list_query import OPEN, SHOWN_WARD
from triage.states import ReadingStatus
from triage.tables import Instance, Study

AT_ONCE: Final = 200
"""Rows taken from the database together."""
MOST_INSTANCES: Final = 100_000
_OTHERWISE: Final[Mapping[str, Any]] = {"instances": Study.instance_count, "ward": SHOWN_WARD.label("ward")}
_COLUMNS: Final = tuple(_OTHERWISE.get(field.name, getattr(Study, field.name, None)) for field in fields(StudyFacts))
_NAMES: Final = tuple(field.name for field in fields(StudyFacts))
_MOST_VALUES: Final = 500
"""Of a list that the database is asked to look for; a longer one narrows nothing."""


class DatabaseCatalogue:
    """The catalogue of a database; each question is one reading transaction, ended before its answer is used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(self, narrowing: Narrowing, accept: Accept, limit: int) -> Sequence[StudyFacts]:
        with self._database.read() as session:
            return list(islice(matching_studies(session, narrowing, accept), limit))

    def series(self, study_uid: str) -> Sequence[SeriesFacts]:
        with self._database.read() as session:
            return series_of(session, study_uid)

    def instances(self, study_uid: str, series_uid: str) -> Sequence[InstanceFacts]:
        with self._database.read() as session:
            return instances_of(session, study_uid, series_uid)


def matching_studies(session: Session, narrowing: Narrowing, accept: Accept) -> Iterator[StudyFacts]:
    """Open cases in reading order, then read ones by arrival, latest first; only those that are accepted."""
    open_ones = sa.select(*_COLUMNS).where(OPEN).order_by(Study.tier, Study.due_at, Study.id)
    yield from _accepted(session, open_ones, narrowing, accept)
    if not narrowing.unread:
        read_ones = sa.select(*_COLUMNS).where(Study.reading_status == ReadingStatus.READ).order_by(Study.id.desc())
        yield from _accepted(session, read_ones, narrowing, accept)


def series_of(session: Session, study_uid: str) -> Sequence[SeriesFacts]:
    """The series of a study with their number of instances, in the order of their numbers."""
    uid, first = Instance.series_instance_uid, sa.func.min
    query = (
        sa.select(
            uid, first(Instance.modality), first(Instance.series_number), first(Instance.series_description),
            sa.func.count(),
        )
        .join(Instance.study)
        .where(Study.study_instance_uid == study_uid, Instance.is_current)
        .group_by(uid)
    )  # fmt: skip
    found = [
        SeriesFacts(
            study_instance_uid=study_uid,
            series_instance_uid=series_uid,
            modality=modality,
            series_number=number,
            series_description=description,
            instances=count,
        )
        for series_uid, modality, number, description, count in session.execute(query)
    ]
    return sorted(found, key=lambda series: (*_by_number(series.series_number), series.series_instance_uid))


def instances_of(session: Session, study_uid: str, series_uid: str) -> Sequence[InstanceFacts]:
    """The current instances of a series in the order of their numbers."""
    query = (
        sa.select(Instance.sop_instance_uid, Instance.sop_class_uid, Instance.instance_number)
        .join(Instance.study)
        .where(
            Study.study_instance_uid == study_uid, Instance.series_instance_uid == series_uid, Instance.is_current
        )
        .limit(MOST_INSTANCES)
    )  # fmt: skip
    found = [
        InstanceFacts(
            study_instance_uid=study_uid,
            series_instance_uid=series_uid,
            sop_instance_uid=uid,
            sop_class_uid=sop_class,
            instance_number=number,
        )
        for uid, sop_class, number in session.execute(query)
    ]
    return sorted(found, key=lambda instance: (*_by_number(instance.instance_number), instance.sop_instance_uid))


def _accepted(session: Session, query: sa.Select[Any], narrowing: Narrowing, accept: Accept) -> Iterator[StudyFacts]:
    narrowed = query.where(*_conditions(narrowing)).execution_options(yield_per=AT_ONCE)
    for row in session.execute(narrowed):
        facts = StudyFacts(**dict(zip(_NAMES, row, strict=True)))
        if accept(facts):
            yield facts


def _conditions(narrowing: Narrowing) -> Iterator[sa.ColumnElement[bool]]:
    for column, values in (
        (Study.study_instance_uid, narrowing.study_uids),
        (Study.patient_id, narrowing.patient_ids),
        (Study.accession_number, narrowing.accession_numbers),
    ):
        if 0 < len(values) <= _MOST_VALUES:
            yield column.in_(values)
    for name, pattern in narrowing.patterns:
        yield getattr(Study, name).ilike(_like(pattern), escape="/")
    first, last = narrowing.study_dates
    odd = sa.func.length(Study.study_date) != 8  # a date in another form than DA is left to who accepts
    if first:
        yield sa.or_(Study.study_date >= first, odd)
    if last:
        yield sa.or_(Study.study_date <= last, odd)


def _like(pattern: str) -> str:
    """The pattern for LIKE. What is not ASCII may stand for anything: databases differ in its upper and lower case."""
    signs = {"*": "%", "?": "_", "%": "/%", "_": "/_", "/": "//"}
    return "".join(signs.get(sign, sign) if sign.isascii() else "%" for sign in pattern)


def _by_number(text: str) -> tuple[int, str]:
    digits = text.strip()
    return (int(digits), "") if digits.isascii() and digits.isdecimal() and len(digits) < 13 else (10**13, text)
