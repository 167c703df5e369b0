"""What the rows say about custody: the questions of ``firstread fsck`` and of the scrub.

Every question is asked of a window of ids ``(after, until]``, so that a million rows are never held at once and a
single subject can be asked about again a moment later, when a running system has moved on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased, contains_eager

from triage.findings import NotAnalysedReason
from triage.states import AnalysisStatus, DeliveryStatus, StudyStatus
from triage.tables import (
    Analysis,
    AnalysisImage,
    Delivery,
    DeliveryAttempt,
    Event,
    Instance,
    ResultObject,
    Study,
)

WINDOW: Final = 2000
"""Ids per question."""

_OPEN: Final = (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)
_LOOKED: Final = (AnalysisStatus.SUCCEEDED, AnalysisStatus.NOT_ANALYSED)


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row that promises a file: an instance, or a result object (then without the last two)."""

    id: int
    study_instance_uid: str
    sop_instance_uid: str
    relative_path: str
    digest: str
    size: int
    damage: str
    calling_ae_title: str = ""
    received_at: datetime | None = None


def windows(session: Session, table: type[Instance | Study | Analysis | Delivery | ResultObject]) -> range:
    """Starts of all windows over a table."""
    highest = session.scalar(sa.select(sa.func.max(table.id))) or 0
    return range(0, highest, WINDOW)


def instance_files(session: Session, after: int, until: int, *, current: bool | None = None) -> list[FileRow]:
    """Instances whose file must be there: all versions, or those that count, or those that do not."""
    columns: Any = (
        Instance.id, Study.study_instance_uid, Instance.sop_instance_uid, Instance.relative_path, Instance.digest,
        Instance.size, Instance.damage, Instance.calling_ae_title, Instance.received_at,
    )  # fmt: skip
    query = (
        sa.select(*columns)
        .join(Instance.study)
        .where(Instance.id > after, Instance.id <= until, Instance.removed_at.is_(None))
        .order_by(Instance.id)
    )
    if current is not None:
        query = query.where(Instance.is_current if current else sa.not_(Instance.is_current))
    return [FileRow(*row) for row in session.execute(query)]


def result_files(session: Session, after: int, until: int) -> list[FileRow]:
    """Result objects whose file must be there."""
    columns: Any = (
        ResultObject.id, Study.study_instance_uid, ResultObject.sop_instance_uid, ResultObject.relative_path,
        ResultObject.sha256, ResultObject.size, ResultObject.damage,
    )  # fmt: skip
    query = (
        sa.select(*columns)
        .join(ResultObject.analysis)
        .join(Analysis.study)
        .where(ResultObject.id > after, ResultObject.id <= until, ResultObject.removed_at.is_(None))
        .order_by(ResultObject.id)
    )
    return [FileRow(*row) for row in session.execute(query)]


def known_paths(session: Session) -> Iterator[str]:
    """Paths of all instances in ascending order of their bytes, streamed; removed ones too."""
    order = Instance.relative_path.collate("C" if session.get_bind().dialect.name == "postgresql" else "BINARY")
    query = sa.select(Instance.relative_path).order_by(order).execution_options(stream_results=True, yield_per=1000)
    return iter(session.scalars(query))


def path_is_known(session: Session, relative_path: str, sop_instance_uid: str = "") -> bool:
    """Whether a row names the file; with the UID it is answered from an index."""
    query = sa.select(Instance.id).where(Instance.relative_path == relative_path)
    if sop_instance_uid:
        query = query.where(Instance.sop_instance_uid == sop_instance_uid)
    return session.scalar(query.limit(1)) is not None


class Stuck(StrEnum):
    """Ways in which an analysis contradicts the machine of its states."""

    RUNNING_WITHOUT_LEASE = "running without a lease: nobody will ever take it over"
    ENDED_AND_HELD = "ended, and still held or without the time of its end"
    OPEN_BENEATH_A_NEWER = "open although a newer revision exists"
    PARKED_FOR_EVER = "waits for a study that is complete"
    OVER_THE_LIMIT = "tried more often than allowed"


def stuck_analyses(session: Session, how: Stuck, after: int, until: int, *, attempts: int) -> Sequence[Analysis]:
    """Analyses in that state, each with its study."""
    newer = aliased(Analysis)
    conditions: Mapping[Stuck, sa.ColumnElement[bool]] = {
        Stuck.RUNNING_WITHOUT_LEASE: sa.and_(
            Analysis.status == AnalysisStatus.RUNNING, sa.or_(Analysis.lease_until.is_(None), Analysis.token == "")
        ),
        Stuck.ENDED_AND_HELD: sa.and_(
            Analysis.status.not_in(_OPEN),
            sa.or_(Analysis.token != "", Analysis.lease_until.is_not(None), Analysis.finished_at.is_(None)),
        ),
        Stuck.OPEN_BENEATH_A_NEWER: sa.and_(
            Analysis.status.in_(_OPEN),
            sa.exists().where(newer.study_id == Analysis.study_id, newer.revision > Analysis.revision),
        ),
        Stuck.PARKED_FOR_EVER: sa.and_(
            Analysis.status == AnalysisStatus.QUEUED, sa.not_(Analysis.due), Study.status == StudyStatus.COMPLETE
        ),
        Stuck.OVER_THE_LIMIT: sa.and_(Analysis.status.in_(_OPEN), Analysis.attempts > attempts),
    }
    return session.scalars(_with_study().where(Analysis.id > after, Analysis.id <= until, conditions[how])).all()


def overdue_analyses(session: Session, after: int, until: int, *, before: datetime) -> Sequence[Analysis]:
    """Analyses that somebody should have taken before that time."""
    since = sa.func.coalesce(Analysis.not_before, Study.last_received_at)
    waiting = sa.and_(Analysis.status == AnalysisStatus.QUEUED, Analysis.due, since < before)
    abandoned = sa.and_(Analysis.status == AnalysisStatus.RUNNING, Analysis.lease_until < before)
    query = _with_study().where(Analysis.id > after, Analysis.id <= until, sa.or_(waiting, abandoned))
    return session.scalars(query).all()


def overdue_deliveries(session: Session, after: int, until: int, *, before: datetime) -> Sequence[tuple[Delivery, str]]:
    """Deliveries that somebody should have sent before that time, each with the UID of its study."""
    waiting = sa.and_(
        Delivery.status == DeliveryStatus.PENDING,
        sa.func.coalesce(Delivery.not_before, Delivery.created_at) < before,
    )
    abandoned = sa.and_(Delivery.status == DeliveryStatus.SENDING, Delivery.lease_until < before)
    query = (
        sa.select(Delivery, Study.study_instance_uid)
        .join(Delivery.result_object)
        .join(ResultObject.analysis)
        .join(Analysis.study)
        .where(Delivery.id > after, Delivery.id <= until, sa.or_(waiting, abandoned))
        .order_by(Delivery.id)
    )
    return [(delivery, uid) for delivery, uid in session.execute(query)]


def overlooked_studies(session: Session, after: int, until: int, *, before: datetime) -> Sequence[Study]:
    """Studies that the completion rule should have looked at before that time."""
    query = sa.select(Study).where(Study.id > after, Study.id <= until, Study.look_at < before).order_by(Study.id)
    return session.scalars(query).all()


def worked_since(session: Session, since: datetime) -> tuple[bool, frozenset[str]]:
    """(whether an analysis made progress, destinations that were tried) since that time."""
    progress = sa.or_(Analysis.finished_at >= since, Analysis.scored_at >= since, Analysis.lease_until >= since)
    analysed = session.scalar(sa.select(sa.exists().where(progress))) or False
    tried = (
        sa.select(Delivery.destination)
        .join(DeliveryAttempt, DeliveryAttempt.delivery_id == Delivery.id)
        .where(DeliveryAttempt.finished_at >= since)
        .distinct()
    )
    return analysed, frozenset(session.scalars(tried))


def unseen_instances(session: Session, after: int, until: int) -> Sequence[Instance]:
    """Current images of complete, analysed studies that the analyses of the last revision do not know, with studies.

    What intake kept from the networks (reports, our own results) is not looked at, and a study whose last analysis
    is open or was given up has said so itself.
    """
    newest = aliased(Analysis)
    last = (
        sa.select(sa.func.max(newest.revision)).where(newest.study_id == Instance.study_id).correlate(Instance)
    ).scalar_subquery()
    seen = sa.exists().where(
        AnalysisImage.instance_id == Instance.id,
        AnalysisImage.analysis_id == Analysis.id,
        Analysis.study_id == Instance.study_id,
        Analysis.revision == last,
    )
    ended = sa.exists().where(
        Analysis.study_id == Instance.study_id, Analysis.revision == last, Analysis.status.in_(_LOOKED)
    )
    open_ = sa.exists().where(Analysis.study_id == Instance.study_id, Analysis.status.in_(_OPEN))
    never = sa.not_(sa.exists().where(Analysis.study_id == Instance.study_id))
    query = (
        sa.select(Instance)
        .join(Instance.study)
        .options(contains_eager(Instance.study))
        .where(
            Instance.id > after, Instance.id <= until, Instance.is_current, Instance.not_analysed.is_(None),
            Study.status == StudyStatus.COMPLETE, sa.or_(never, sa.and_(ended, sa.not_(open_), sa.not_(seen))),
        )
        .order_by(Instance.id)
    )  # fmt: skip
    return session.scalars(query).all()


def unanswered_handovers(session: Session, after: int, until: int) -> Sequence[tuple[Analysis, str, str]]:
    """Images left to another bundle whose analysis has ended without them: (analysis that left it, bundle, image)."""
    other, image = aliased(Analysis), aliased(AnalysisImage)
    ended = sa.exists().where(
        other.study_id == Analysis.study_id, other.revision == Analysis.revision,
        other.bundle_name == AnalysisImage.detail, other.status.in_(_LOOKED),
        sa.not_(sa.exists().where(image.analysis_id == other.id, image.instance_id == AnalysisImage.instance_id)),
    )  # fmt: skip
    query = (
        _with_study()
        .join(AnalysisImage, AnalysisImage.analysis_id == Analysis.id)
        .join(Instance, Instance.id == AnalysisImage.instance_id)
        .add_columns(AnalysisImage.detail, Instance.sop_instance_uid)
        .where(
            Analysis.id > after, Analysis.id <= until, AnalysisImage.reason == NotAnalysedReason.OTHER_BUNDLE,
            Instance.is_current, Analysis.revision == Study.revision, ended,
        )
    )  # fmt: skip
    return [(analysis, bundle, uid) for analysis, bundle, uid in session.execute(query)]


def miscounted_versions(session: Session, after: int, until: int) -> Sequence[tuple[Instance, int]]:
    """Instances of which not exactly one version counts: (first version with its study, how many do)."""
    version = aliased(Instance)
    current = (
        sa.select(sa.func.count())
        .where(version.sop_instance_uid == Instance.sop_instance_uid, version.is_current)
        .scalar_subquery()
    )
    query = (
        sa.select(Instance, current)
        .join(Instance.study)
        .options(contains_eager(Instance.study))
        .where(Instance.id > after, Instance.id <= until, Instance.version == 1, current != 1)
        .order_by(Instance.id)
    )
    return [(instance, count) for instance, count in session.execute(query)]


def studies(session: Session, after: int, until: int) -> Sequence[tuple[Study, int, int]]:
    """Studies with (distinct instances first stored in each, instances of any version)."""
    first = sa.select(sa.func.count()).where(Instance.study_id == Study.id, Instance.version == 1).scalar_subquery()
    everything = sa.select(sa.func.count()).where(Instance.study_id == Study.id).scalar_subquery()
    query = sa.select(Study, first, everything).where(Study.id > after, Study.id <= until).order_by(Study.id)
    return [(study, instances, versions) for study, instances, versions in session.execute(query)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trail:
    """What the rows of a study are, and what its events tell.

    Attributes
    ----------
    told : Counter of str
        Events by kind.
    last : mapping
        Kind to the highest id of such an event.
    analyses, deliveries : Counter
        Rows by status.
    """

    study: Study
    instances: int
    told: Counter[str]
    last: Mapping[str, int]
    analyses: Counter[AnalysisStatus]
    deliveries: Counter[DeliveryStatus]


def trails(session: Session, after: int, until: int) -> Iterator[Trail]:
    """States beside events, study by study."""
    found = studies(session, after, until)
    window = sa.and_(Study.id > after, Study.id <= until)
    told: defaultdict[int, Counter[str]] = defaultdict(Counter)
    last: defaultdict[int, dict[str, int]] = defaultdict(dict)
    kinds: Any = (
        sa.select(Event.study_id, Event.kind, sa.func.count(), sa.func.max(Event.id))
        .where(Event.study_id > after, Event.study_id <= until)
        .group_by(Event.study_id, Event.kind)
    )
    for study_id, kind, count, highest in session.execute(kinds):
        told[study_id][kind], last[study_id][kind] = count, highest
    looks: Any = sa.select(Study.id, Analysis.status, sa.func.count()).join(Analysis.study).where(window)
    sent: Any = (
        sa.select(Study.id, Delivery.status, sa.func.count())
        .join(Delivery.result_object)
        .join(ResultObject.analysis)
        .join(Analysis.study)
        .where(window)
    )
    by_analysis = _counted(session, looks.group_by(Study.id, Analysis.status))
    by_delivery = _counted(session, sent.group_by(Study.id, Delivery.status))
    for study, _, versions in found:
        yield Trail(
            study=study,
            instances=versions,
            told=told[study.id],
            last=last[study.id],
            analyses=by_analysis[study.id],
            deliveries=by_delivery[study.id],
        )


def patients(session: Session, after: int, until: int) -> Sequence[tuple[str, str]]:
    """(name, identifier) of patients, as they must not stand in a log."""
    query = sa.select(Study.patient_name, Study.patient_id).where(Study.id > after, Study.id <= until).distinct()
    return [(name, identifier) for name, identifier in session.execute(query)]


def results_are_known(session: Session, sop_instance_uids: Collection[str]) -> frozenset[str]:
    """Which of these result objects have a row."""
    query = sa.select(ResultObject.sop_instance_uid).where(ResultObject.sop_instance_uid.in_(sop_instance_uids))
    return frozenset(session.scalars(query))


def _with_study() -> sa.Select[Analysis]:
    return sa.select(Analysis).join(Analysis.study).options(contains_eager(Analysis.study)).order_by(Analysis.id)


def _counted(session: Session, query: Any) -> defaultdict[int, Counter[Any]]:
    counted: defaultdict[int, Counter[Any]] = defaultdict(Counter)
    for study_id, status, count in session.execute(query):
        counted[study_id][status] = count
    return counted
