"""Result objects at rest: what an analysis was told in, what could not be made, and to whom each is owed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage import tables
from triage.errors import NotFoundError
from triage.profiles import SHOWING, ResultKind
from triage.repositories import analyses, events


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltObject:
    """A result object that lies durably below the results root and is about to be recorded."""

    kind: str
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    relative_path: str
    sha256: str
    size: int
    variant: str = ""
    source_instance_id: int | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
    """Of a message: whose study it says it is, by names of columns of the study."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotBuilt:
    """An object that a destination wanted and that could not be made; ``reason`` is free of patient data."""

    kind: str
    variant: str
    reason: str


def record_objects(
    session: Session, analysis: tables.Analysis, objects: Sequence[BuiltObject], *, at: datetime
) -> list[tables.ResultObject]:
    """Record result objects; :func:`owe` sends them on their way."""
    rows = [
        tables.ResultObject(
            analysis=analysis,
            created_at=at,
            kind=built.kind,
            variant=built.variant,
            identity=dict(built.identity),
            source_instance_id=built.source_instance_id,
            sop_instance_uid=built.sop_instance_uid,
            sop_class_uid=built.sop_class_uid,
            series_instance_uid=built.series_instance_uid,
            transfer_syntax_uid=built.transfer_syntax_uid,
            relative_path=built.relative_path,
            sha256=built.sha256,
            size=built.size,
        )
        for built in objects
    ]
    session.add_all(rows)
    session.flush()
    return rows


def record_not_built(session: Session, study: tables.Study, missing: Sequence[NotBuilt], *, at: datetime) -> None:
    """Append an event for each kind of object that a destination waits for in vain."""
    for one in dict.fromkeys(missing):
        events.record(
            session, "object_not_built", at=at, study=study, who="worker",
            kind_of_object=one.kind, variant=one.variant, reason=one.reason,
        )  # fmt: skip


def owe(
    session: Session,
    objects: Sequence[tables.ResultObject],
    destinations: Mapping[str, Collection[tuple[str, str]]],
    *,
    at: datetime,
) -> None:
    """Owe result objects to destinations.

    Parameters
    ----------
    destinations : mapping
        Address to what it wants: (kind, variant).
    """
    for row in objects:
        for address, wanted in destinations.items():
            if (row.kind, row.variant) in wanted:
                session.add(tables.Delivery(result_object=row, destination=address, created_at=at))
    session.flush()


def showing(
    session: Session, study_id: int, instance_ids: Collection[int], weights_sha256: str
) -> Mapping[tuple[str, str, int], tables.ResultObject]:
    """What a report may name as explanation of images under these weights; the newest where there are several.

    By kind, variant and instance id.
    """
    query = (
        sa.select(tables.ResultObject)
        .join(tables.ResultObject.analysis)
        .where(
            tables.Analysis.study_id == study_id,
            tables.Analysis.weights_sha256 == weights_sha256,
            tables.ResultObject.source_instance_id.in_(instance_ids),
            tables.ResultObject.kind.in_(SHOWING),
        )
        .order_by(tables.ResultObject.id)
    )
    return {
        (row.kind, row.variant, row.source_instance_id): row
        for row in session.scalars(query)
        if row.source_instance_id is not None
    }


def owe_explanations(
    session: Session,
    analysis: tables.Analysis,
    instance_ids: Collection[int],
    destinations: Mapping[str, Collection[tuple[str, str]]],
    *,
    at: datetime,
) -> None:
    """Owe what the new report names and an earlier analysis made, where a destination has never been owed it.

    A destination that was added meanwhile gets the report about all images, and must not look for pictures of the
    earlier ones in vain.

    Parameters
    ----------
    instance_ids : collection of int
        The current instances of the study.
    destinations : mapping
        Address to what it wants: (kind, variant).
    """
    rows = showing(session, analysis.study_id, instance_ids, analysis.weights_sha256)
    for address, wanted in destinations.items():
        if all(kind != ResultKind.REPORT for kind, _ in wanted):
            continue
        forms = [(kind, variant) for kind, variant in wanted if kind in SHOWING]
        for (kind, variant), instance_id in product(forms, instance_ids):
            # Of an image that was explained before this form of pictures was wanted the report names the default one.
            fallback = rows.get((kind, "", instance_id)) if kind == ResultKind.HEAT_MAP else None
            row = rows.get((kind, variant, instance_id), fallback)
            if row is None or row.analysis_id == analysis.id or row.removed_at is not None:
                continue
            if all(delivery.destination != address for delivery in row.deliveries):
                session.add(tables.Delivery(result_object=row, destination=address, created_at=at))
    session.flush()


def tell_of_standing_key_images(session: Session, analysis: tables.Analysis, *, at: datetime) -> None:
    """Append an event where key images of the revision before stay at a destination and nothing is positive any more.

    The next report names the one before as its predecessor; a key object selection has no such attribute (PS3.3
    C.17.6.2), so that only a person can take it back.
    """
    positive = (
        sa.select(tables.Finding.id)
        .join(tables.AnalysisImage, tables.AnalysisImage.id == tables.Finding.image_id)
        .where(tables.AnalysisImage.analysis_id == analysis.id, tables.Finding.positive)
    )
    before = analyses.predecessor(session, analysis)
    if before is None or session.scalar(sa.select(positive.exists())):
        return
    query = (
        sa.select(tables.Delivery.destination)
        .join(tables.Delivery.result_object)
        .where(tables.ResultObject.analysis_id == before.id, tables.ResultObject.kind == ResultKind.KEY_OBJECTS)
        .distinct()
        .order_by(tables.Delivery.destination)
    )
    for destination in session.scalars(query):
        events.record(
            session, "key_images_stand", at=at, study=analysis.study, who="worker",
            destination=destination, revision=before.revision,
        )  # fmt: skip


def reports_of(session: Session, analysis: tables.Analysis) -> Mapping[str, tables.ResultObject]:
    """The reports that a finished analysis issued, by variant."""
    query = sa.select(tables.ResultObject).where(
        tables.ResultObject.analysis_id == analysis.id, tables.ResultObject.kind == ResultKind.REPORT
    )
    return {row.variant: row for row in session.scalars(query)}


def superseded(
    session: Session, analysis: tables.Analysis, destinations: Mapping[str, Collection[tuple[str, str]]]
) -> Mapping[str, tables.ResultObject]:
    """The reports of a finished analysis that those of the next one replace, by variant of the new one.

    That is the report in the same form; where a destination's options have changed since, the one that it was owed: a
    report must not name a predecessor that its reader has never seen.

    Parameters
    ----------
    destinations : mapping
        Address to what it wants now: (kind, variant).
    """
    found = dict(reports_of(session, analysis))
    owed = {variant: {delivery.destination for delivery in row.deliveries} for variant, row in found.items()}
    rows = dict(found)
    for variant in sorted({v for wanted in destinations.values() for kind, v in wanted if kind == ResultKind.REPORT}):
        readers = {address for address, wanted in destinations.items() if (ResultKind.REPORT, variant) in wanted}
        if not readers & owed.get(variant, set()):
            held = [row for former, row in sorted(rows.items()) if readers & owed[former]]
            if held:
                found[variant] = held[0]
    return found


def newest(session: Session, study_id: int, kind: str) -> int | None:
    """Id of the newest object of a kind about a study."""
    query = (
        sa.select(sa.func.max(tables.ResultObject.id))
        .join(tables.ResultObject.analysis)
        .where(tables.Analysis.study_id == study_id, tables.ResultObject.kind == kind)
    )
    return session.scalar(query)


def by_uid(session: Session, sop_instance_uid: str) -> tables.ResultObject:
    """A result object, or a message by its identifier.

    Raises
    ------
    NotFoundError
        None has this UID.
    """
    row = session.scalar(sa.select(tables.ResultObject).where(tables.ResultObject.sop_instance_uid == sop_instance_uid))
    if row is None:
        raise NotFoundError("No result with this UID is known.")
    return row
