"""Cases as the list shows them: what a study says, and what stands beside it.

Plain rows, not objects that a session keeps: a page is read after each commit and never changed, and making objects of
its rows took longer than finding them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
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
    id: int | None
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
    versions: dict[int, int] = {}
    looks: defaultdict[int, list[_Look]] = defaultdict(list)
    for look in map(_Look._make, connection.execute(_LOOKS, {"ids": ids}).all()):
        versions[look.study_id] = look.version or 0
        if look.id is not None:
            looks[look.study_id].append(look)
    shown = {study_id: _with_findings(rows) for study_id, rows in looks.items()}
    findings = _top_findings(connection, [look.id for rows in shown.values() for look in rows])
    deliveries: defaultdict[int, dict[DeliveryStatus, int]] = defaultdict(dict)
    for study_id, status, count in connection.execute(_DELIVERIES, {"ids": ids}).all():
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


def _statements() -> tuple[sa.Select[Any], sa.Select[Any], sa.Select[Any]]:
    """Looks, findings and deliveries. Made once: building and naming a statement took longer than its answer."""
    study, event, analysis = Study.__table__.c, Event.__table__.c, Analysis.__table__.c
    image, finding = AnalysisImage.__table__.c, Finding.__table__.c
    result, delivery = ResultObject.__table__.c, Delivery.__table__.c
    ids: sa.BindParameter[int] = sa.bindparam("ids", expanding=True)
    version = sa.select(sa.func.max(event.id)).where(event.study_id == study.id).scalar_subquery()
    looks = (
        sa.select(study.id, version, *(analysis[name] for name in _Look._fields[2:]))
        .select_from(Study.__table__.outerjoin(Analysis.__table__, analysis.study_id == study.id))
        .where(study.id.in_(ids))
        .order_by(analysis.id)
    )
    findings = (
        sa.select(image.analysis_id, *(finding[name] for name in TopFinding._fields))
        .select_from(AnalysisImage.__table__.join(Finding.__table__, finding.image_id == image.id))
        .where(image.analysis_id.in_(ids))
        .order_by(finding.id)
    )
    deliveries = (
        sa.select(analysis.study_id, delivery.status, sa.func.count())
        .select_from(
            Analysis.__table__.join(ResultObject.__table__, result.analysis_id == analysis.id).join(
                Delivery.__table__, delivery.result_object_id == result.id
            )
        )
        .where(analysis.study_id.in_(ids))
        .group_by(analysis.study_id, delivery.status)
    )
    return looks, findings, deliveries


_LOOKS, _FINDINGS, _DELIVERIES = _statements()


def _with_findings(looks: Iterable[_Look]) -> list[_Look]:
    """The scored analyses of the latest revision that has any: what was found stays until a later look replaces it."""
    scored = [look for look in looks if look.scored_at is not None]
    latest = max((look.revision for look in scored), default=None)
    return [look for look in scored if look.revision == latest]


def _top_findings(
    connection: sa.Connection, analysis_ids: Sequence[int | None]
) -> Mapping[int | None, list[TopFinding]]:
    """Per analysis, in the bundle's order, each finding's highest score over the images."""
    top: defaultdict[int | None, dict[str, TopFinding]] = defaultdict(dict)
    for analysis_id, *columns in connection.execute(_FINDINGS, {"ids": analysis_ids}).all():
        finding, known = TopFinding._make(columns), top[analysis_id]
        before = known.get(finding.key)
        if before is None or finding.value > before.value:
            known[finding.key] = finding
    return defaultdict(list, {analysis_id: list(found.values()) for analysis_id, found in top.items()})
