"""Cases as the list shows them: what a study says, and what stands beside it.

Plain rows, not objects that a session keeps: a page is read after each commit and never changed, and making objects of
its rows took longer than finding them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from triage.findings import Laterality, ScoreKind, Urgency
from triage.states import AnalysisStatus, DeliveryStatus, ReadingStatus, StudyStatus
from triage.tables import Analysis, AnalysisImage, Delivery, Event, Finding, ResultObject, Study


class ListedStudy(NamedTuple):
    """The columns of a study that the list shows; see :class:`triage.tables.Study`."""

    id: int
    study_instance_uid: str
    patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    patient_age: str
    accession_number: str
    study_date: str
    study_description: str
    referring_physician_name: str
    ward: str
    order_ward: str
    modality: str
    body_part_examined: str
    calling_ae_title: str
    status: StudyStatus
    status_reason: str
    revision: int
    received_at: datetime
    last_received_at: datetime
    instance_count: int
    flags: list[Any]
    order_urgency: Urgency | None
    rule_urgency: Urgency | None
    rule_reason: str
    ai_urgency: Urgency | None
    manual_urgency: Urgency | None
    manual_by: str
    manual_reason: str
    urgency: Urgency
    tier: int
    due_at: datetime
    explanation: str
    reading_status: ReadingStatus
    reader: str
    claimed_at: datetime | None
    read_at: datetime | None


STUDY_COLUMNS: Final = [Study.__table__.c[name] for name in ListedStudy._fields]


class TopFinding(NamedTuple):
    """A finding of a study: the highest score over its images. ``probability`` is left to the reader of ``kind``."""

    id: int
    key: str
    code_value: str
    code_scheme: str
    code_meaning: str
    site_meaning: str
    laterality: Laterality | None
    value: float
    threshold: float
    kind: ScoreKind
    urgency: Urgency
    positive: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedCase:
    """A study with what the list shows beside it.

    Attributes
    ----------
    analysis_status : AnalysisStatus
        Of the latest analysis of the current revision; QUEUED before there is one.
    findings_revision : int or None
        Revision that the findings were made from: lower than the study's while a later look is under way.
    deliveries : mapping
        How many deliveries of its results stand where.
    version : int
        As of :func:`triage.repositories.requests.version`.
    """

    study: Study | ListedStudy
    analysis_status: AnalysisStatus
    analysis_reason: str = ""
    findings_revision: int | None = None
    findings: Sequence[TopFinding] = ()
    deliveries: Mapping[DeliveryStatus, int] = field(default_factory=dict)
    version: int = 0


class _Look(NamedTuple):
    """An analysis, or nothing but the version of a study that has none."""

    study_id: int
    version: int | None
    id: int
    """None where there is none, and so are the others then."""
    revision: int
    status: AnalysisStatus
    reason: str
    scored_at: datetime | None


def listed_cases(session: Session, studies: Sequence[Study | ListedStudy]) -> list[ListedCase]:
    """Studies as the list shows them, in their order: three queries, however many they are."""
    if not studies:
        return []
    session.flush()
    connection, ids = session.connection(), [study.id for study in studies]
    on_sqlite = connection.dialect.name == "sqlite"
    beside = _ON_SQLITE if on_sqlite else _ON_POSTGRESQL

    def ask(statement: sa.Select[Any], ids: Sequence[int]) -> Sequence[Sequence[Any]]:
        return connection.execute(statement, {"ids": json.dumps(ids) if on_sqlite else ids}).all()

    versions: dict[int, int] = {}
    looks: defaultdict[int, list[_Look]] = defaultdict(list)
    for look in map(_Look._make, ask(beside.looks, ids)):
        versions[look.study_id] = look.version or 0
        if look.revision is not None:
            looks[look.study_id].append(look)
    shown = {study_id: _with_findings(rows) for study_id, rows in looks.items()}
    findings = _top_findings(ask(beside.findings, [look.id for rows in shown.values() for look in rows]))
    deliveries: defaultdict[int, dict[DeliveryStatus, int]] = defaultdict(dict)
    for study_id, status, count in ask(beside.deliveries, ids):
        deliveries[study_id][status] = count

    cases = []
    for study in studies:
        current = [look for look in looks[study.id] if look.revision == study.revision]
        scored = shown.get(study.id, [])
        cases.append(
            ListedCase(
                study=study,
                analysis_status=current[-1].status if current else AnalysisStatus.QUEUED,
                analysis_reason=current[-1].reason if current else "",
                findings_revision=scored[0].revision if scored else None,
                findings=[finding for look in scored for finding in findings[look.id]],
                deliveries=deliveries[study.id],
                version=versions.get(study.id, 0),
            )
        )
    return cases


@dataclass(frozen=True, slots=True)
class _Beside:
    """What is asked about the ids ``ids``: made once, because to build a statement takes longer than its answer."""

    looks: sa.Select[Any]
    findings: sa.Select[Any]
    deliveries: sa.Select[Any]


_Among = Callable[[sa.ColumnElement[int]], sa.ColumnElement[bool]]


def _statements(among: _Among) -> _Beside:
    study, event, analysis = Study.__table__.c, Event.__table__.c, Analysis.__table__.c
    image, finding = AnalysisImage.__table__.c, Finding.__table__.c
    result, delivery = ResultObject.__table__.c, Delivery.__table__.c
    version = sa.select(sa.func.max(event.id)).where(event.study_id == study.id).scalar_subquery()
    return _Beside(
        looks=sa.select(study.id, version, *(analysis[name] for name in _Look._fields[2:]))
        .select_from(Study.__table__.outerjoin(Analysis.__table__, analysis.study_id == study.id))
        .where(among(study.id))
        .order_by(analysis.id),
        findings=sa.select(image.analysis_id, *(finding[name] for name in TopFinding._fields))
        .select_from(AnalysisImage.__table__.join(Finding.__table__, finding.image_id == image.id))
        .where(among(image.analysis_id))
        .order_by(finding.id),
        deliveries=sa.select(analysis.study_id, delivery.status, sa.func.count())
        .select_from(
            Analysis.__table__.join(ResultObject.__table__, result.analysis_id == analysis.id).join(
                Delivery.__table__, delivery.result_object_id == result.id
            )
        )
        .where(among(analysis.study_id))
        .group_by(analysis.study_id, delivery.status),
    )


# One parameter, however many ids: the text of the statement stays the same, and PostgreSQL plans it once. With fifty
# parameters it took longer to plan than to answer.
_ARRAY: Final = sa.bindparam("ids", type_=ARRAY(sa.BigInteger()))
_JSON: Final = sa.bindparam("ids", type_=sa.String())
_ON_POSTGRESQL: Final = _statements(lambda column: column == sa.any_(_ARRAY))
_ON_SQLITE: Final = _statements(
    lambda column: column.in_(sa.select(sa.func.json_each(_JSON).table_valued("value").c.value))
)


def _with_findings(looks: Iterable[_Look]) -> list[_Look]:
    """The scored analyses of the latest revision that has any: what was found stays until a later look replaces it."""
    scored = [look for look in looks if look.scored_at is not None]
    latest = max((look.revision for look in scored), default=None)
    return [look for look in scored if look.revision == latest]


def _top_findings(rows: Iterable[Sequence[Any]]) -> Mapping[int, list[TopFinding]]:
    """Per analysis, in the bundle's order, each finding's highest score over the images."""
    top: defaultdict[int, dict[str, TopFinding]] = defaultdict(dict)
    for analysis_id, *columns in rows:
        finding, known = TopFinding._make(columns), top[analysis_id]
        before = known.get(finding.key)
        if before is None or finding.value > before.value:
            known[finding.key] = finding
    return defaultdict(list, {analysis_id: list(found.values()) for analysis_id, found in top.items()})
