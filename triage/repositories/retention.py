"""Retention in rows: which studies may be looked at, what is known of one, and which files have been given up.

A file goes in two commits. The first says that it is removed; only then is it unlinked, under the lock of its study,
and the second says that this was done. A removed row whose ``checked_at`` is empty may still have its file: whoever
was killed in between is followed by the next run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from triage.repositories import events, renderings
from triage.repositories.deliveries import SUPERSEDED
from triage.retention import AnalysisFacts, CaseFacts, DeliveryFacts, RetentionPolicy
from triage.states import AnalysisStatus, CommitmentStatus, DeliveryStatus, ReadingStatus, StudyStatus
from triage.tables import Analysis, AnalysisImage, Delivery, Instance, ResultObject, Study

_OPEN = (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)
_ARRIVED = (DeliveryStatus.SENT, DeliveryStatus.COMMITTED)
_MESSAGE = ResultObject.sop_class_uid == ""
_SUPERSEDED = sa.and_(Delivery.status == DeliveryStatus.DEAD, Delivery.reason.startswith(SUPERSEDED))


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """What was given up of one study; ``size`` in bytes."""

    instances: int
    results: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftovers:
    """Files of one study that are given up: paths below the archive and below the results root, and whose they are."""

    archived: Sequence[str]
    results: Sequence[str]
    instance_ids: Sequence[int]
    result_ids: Sequence[int]


def candidates(
    session: Session,
    now: datetime,
    policy: RetentionPolicy,
    *,
    after: tuple[datetime, int] | None = None,
    limit: int = 100,
) -> Sequence[tuple[datetime, int]]:
    """(last arrival, id) of studies that :func:`triage.retention.may_go` may let go, oldest first.

    Every study that it would let go is among them; some are that it keeps.
    """
    place = sa.tuple_(Study.last_received_at, Study.id)
    analyses = sa.select(Analysis.id).where(Analysis.study_id == Study.id)
    unproven = (
        sa.select(Delivery.id)
        .join(Delivery.result_object)
        .join(ResultObject.analysis)
        .where(
            Analysis.study_id == Study.id,
            ~_SUPERSEDED,
            sa.or_(
                Delivery.status.not_in(_ARRIVED),
                sa.and_(
                    ~_MESSAGE,
                    sa.or_(Delivery.proof.is_(None), Delivery.proof.not_in(policy.proofs)),
                ),
            ),
        )
    )
    query = (
        sa.select(Study.last_received_at, Study.id)
        .where(
            Study.status == StudyStatus.COMPLETE,
            Study.last_received_at <= now - policy.youngest,
            sa.or_(Study.reading_status == ReadingStatus.READ, Study.last_received_at <= now - policy.oldest),
            sa.or_(_files(Instance.study_id == Study.id), _result_files(Analysis.study_id == Study.id)),
            analyses.exists(),
            ~analyses.where(Analysis.status.in_(_OPEN)).exists(),
            ~unproven.exists(),
        )
        .order_by(Study.last_received_at, Study.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(place > sa.tuple_(*after, types=[Study.last_received_at.type, Study.id.type]))
    return [(at, study_id) for at, study_id in session.execute(query)]


def oldest_with_files(session: Session, limit: int) -> Sequence[Study]:
    """The studies that would be the first to go if nothing kept them."""
    query = (
        sa.select(Study)
        .where(_files(Instance.study_id == Study.id))
        .order_by(Study.last_received_at, Study.id)
        .limit(limit)
    )
    return session.scalars(query).all()


def locked(session: Session, study_id: int) -> Study:
    """The study's row, locked as intake locks it: neither sees the other half done."""
    return session.scalars(sa.select(Study).where(Study.id == study_id).with_for_update(key_share=True)).one()


def facts_of(session: Session, study: Study) -> CaseFacts:
    """What the tables know of the study, as the rule wants it."""
    instances = session.execute(
        sa.select(Instance.damage).where(Instance.study_id == study.id, Instance.removed_at.is_(None))
    ).all()
    query = (
        sa.select(Analysis)
        .where(Analysis.study_id == study.id)
        .options(
            selectinload(Analysis.result_objects)
            .selectinload(ResultObject.deliveries)
            .selectinload(Delivery.commitment)
        )
        .execution_options(populate_existing=True)
    )
    analyses = session.scalars(query).all()
    results = [result for row in analyses for result in row.result_objects if result.removed_at is None]
    latest = max((row.revision for row in analyses), default=0)
    return CaseFacts(
        complete=study.status is StudyStatus.COMPLETE,
        last_received_at=study.last_received_at,
        files=len(instances) + len(results),
        read=study.reading_status is ReadingStatus.READ,
        flags=frozenset(map(str, study.flags)),
        damaged=any(damage for (damage,) in instances) or any(result.damage for result in results),
        analyses=[
            AnalysisFacts(
                status=row.status,
                latest=row.revision == latest,
                objects=sum(1 for result in row.result_objects if result.sop_class_uid),
                deliveries=[_delivery(owed) for result in row.result_objects for owed in result.deliveries],
            )
            for row in analyses
        ],
    )


def give_up(session: Session, study: Study, *, reason: str, at: datetime) -> Removed:
    """Say that all files of the study are removed; :func:`leftovers` then hands them out. The study must be locked."""
    instances = session.scalars(
        sa.select(Instance).where(Instance.study_id == study.id, Instance.removed_at.is_(None))
    ).all()
    results = session.scalars(
        sa.select(ResultObject)
        .join(ResultObject.analysis)
        .where(Analysis.study_id == study.id, ResultObject.removed_at.is_(None))
    ).all()
    for instance in instances:
        instance.removed_at, instance.checked_at = at, None
    for result in results:
        result.removed_at, result.checked_at = at, None
    removed = Removed(
        instances=len(instances),
        results=len(results),
        size=sum(instance.size for instance in instances) + sum(result.size for result in results),
    )
    events.record(
        session, "files_removed", at=at, study=study, who="retention", reason=reason,
        instances=removed.instances, results=removed.results, bytes=removed.size,
    )  # fmt: skip
    return removed


def with_leftovers(session: Session, limit: int) -> Sequence[int]:
    """Ids of studies of which a file may still be on the disk although its row says that it is removed."""
    instances = sa.select(Instance.study_id).where(Instance.checked_at.is_(None), Instance.removed_at.is_not(None))
    results = (
        sa.select(Analysis.study_id)
        .join(Analysis.result_objects)
        .where(ResultObject.checked_at.is_(None), ResultObject.removed_at.is_not(None))
    )
    return session.scalars(instances.union(results).limit(limit)).all()


def leftovers(session: Session, study: Study, *, limit: int = 200) -> Leftovers | None:
    """Files to unlink before this transaction ends; None when no more are left.

    The study must be locked, so that no instance comes to lie at one of these paths meanwhile. A path that a living
    row names is not among them: the same bytes came again. :func:`settle` follows when the unlinking is durable.
    """
    instances = session.execute(
        sa.select(Instance.id, Instance.relative_path)
        .where(Instance.study_id == study.id, Instance.removed_at.is_not(None), Instance.checked_at.is_(None))
        .limit(limit)
    ).all()
    results = session.execute(
        sa.select(ResultObject.id, ResultObject.relative_path)
        .join(ResultObject.analysis)
        .where(Analysis.study_id == study.id, ResultObject.removed_at.is_not(None), ResultObject.checked_at.is_(None))
        .limit(limit)
    ).all()
    if not instances and not results:
        return None
    paths = {path for _, path in instances}
    living = sa.select(Instance.relative_path).where(
        Instance.study_id == study.id, Instance.removed_at.is_(None), Instance.relative_path.in_(paths)
    )
    instance_ids = [instance_id for instance_id, _ in instances]
    return Leftovers(
        archived=sorted(paths - set(session.scalars(living))),
        results=sorted({path for _, path in results} | _take_previews(session, instance_ids)),
        instance_ids=instance_ids,
        result_ids=[result_id for result_id, _ in results],
    )


def settle(session: Session, done: Leftovers, *, at: datetime) -> None:
    """These files are gone for good. Rows whose bytes came back since are left alone."""
    for table, ids in ((Instance, done.instance_ids), (ResultObject, done.result_ids)):
        session.execute(sa.update(table).where(table.id.in_(ids), table.removed_at.is_not(None)).values(checked_at=at))


def _take_previews(session: Session, instance_ids: Sequence[int]) -> set[str]:
    query = (
        sa.select(AnalysisImage)
        .where(AnalysisImage.instance_id.in_(instance_ids))
        .options(selectinload(AnalysisImage.findings))
    )
    paths = set(renderings.forget(session, instance_ids))
    for image in session.scalars(query):
        paths |= {image.preview_path, image.overlay_path}
        image.preview_path = image.overlay_path = ""
        for finding in image.findings:
            paths.add(finding.heat_path)
            finding.heat_path = ""
    return paths - {""}


def _delivery(row: Delivery) -> DeliveryFacts:
    asked = row.commitment
    return DeliveryFacts(
        status=row.status,
        proof=row.proof,
        awaited=asked is not None and asked.status is CommitmentStatus.REQUESTED,
        message=not row.result_object.sop_class_uid,
        superseded=row.status is DeliveryStatus.DEAD and row.reason.startswith(SUPERSEDED),
    )


def _files(of_study: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.select(Instance.id).where(of_study, Instance.removed_at.is_(None)).exists()


def _result_files(of_study: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return (
        sa.select(ResultObject.id)
        .join(ResultObject.analysis)
        .where(of_study, ResultObject.removed_at.is_(None))
        .exists()
    )
