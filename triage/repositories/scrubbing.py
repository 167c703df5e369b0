"""Which files are to be read again, and what was found: sound, missing, altered."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.repositories import custody, events
from triage.repositories.custody import FileRow
from triage.tables import Analysis, Instance, ResultObject, Study

DAMAGED: Final = "damaged"
"""Flag of a study one of whose files is missing or altered."""

Kept = type[Instance] | type[ResultObject]


def due_instances(
    session: Session, *, received_before: datetime, checked_before: datetime, limit: int
) -> list[FileRow]:
    """Instances whose file is to be read now: those never read first, then the longest unread."""
    never = Instance.checked_at.is_(None) & (Instance.received_at < received_before)
    return _due(session, Instance, never, checked_before, limit)


def due_results(session: Session, *, created_before: datetime, checked_before: datetime, limit: int) -> list[FileRow]:
    """Result objects whose file is to be read now, in the same order."""
    never = ResultObject.checked_at.is_(None) & (ResultObject.created_at < created_before)
    return _due(session, ResultObject, never, checked_before, limit)


def _due(
    session: Session, table: Kept, never: sa.ColumnElement[bool], checked_before: datetime, limit: int
) -> list[FileRow]:
    kept = table.removed_at.is_(None)
    fresh = sa.select(table.id).where(never, kept).order_by(table.id).limit(limit)
    old = sa.select(table.id).where(table.checked_at < checked_before, kept).order_by(table.checked_at).limit(limit)
    ids = list(session.scalars(fresh))
    if len(ids) < limit:
        ids += list(session.scalars(old))[: limit - len(ids)]
    ask = custody.instance_files if table is Instance else custody.result_files
    return [row for row_id in ids for row in ask(session, row_id - 1, row_id)]


def record_sound(session: Session, table: Kept, ids: Collection[int], *, at: datetime) -> None:
    """These files were read and are what they should be."""
    if ids:
        kept = table.removed_at.is_(None)  # of a removed one the time means something else, to retention
        session.execute(sa.update(table).where(table.id.in_(ids), kept).values(checked_at=at))


def record_damage(session: Session, table: Kept, row_id: int, damage: str, *, at: datetime, who: str) -> bool:
    """A file was found damaged, or sound again ("" as damage); True when that is news.

    The study's flag follows, and an event says it. A row whose file retention has removed is left alone.
    """
    row = _locked(session, table, row_id)
    if row is None or row.removed_at is not None:
        return False
    row.checked_at = at
    if row.damage == damage:
        return False
    before, row.damage = row.damage, damage
    study = session.scalars(_study_of(row).with_for_update(key_share=True)).one()
    session.flush()
    flagged = bool(damage) or _any_damage(session, study)
    study.flags = [*(flag for flag in study.flags if flag != DAMAGED), *([DAMAGED] if flagged else [])]
    events.record(
        session, "file_damaged" if damage else "file_sound_again", at=at, study=study, who=who,
        kind_of_object=row.kind if isinstance(row, ResultObject) else "instance",
        sop_instance_uid=row.sop_instance_uid, damage=damage or before,
    )  # fmt: skip
    return True


def _locked(session: Session, table: Kept, row_id: int) -> Instance | ResultObject | None:
    if table is Instance:
        return session.get(Instance, row_id, with_for_update=True)
    return session.get(ResultObject, row_id, with_for_update=True)


def _study_of(row: Instance | ResultObject) -> sa.Select[Study]:
    if isinstance(row, Instance):
        return sa.select(Study).where(Study.id == row.study_id)
    return sa.select(Study).join(Analysis, Analysis.study_id == Study.id).where(Analysis.id == row.analysis_id)


def _any_damage(session: Session, study: Study) -> bool:
    instances = sa.exists().where(Instance.study_id == study.id, Instance.damage != "", Instance.removed_at.is_(None))
    results = (
        sa.select(ResultObject.id)
        .join(ResultObject.analysis)
        .where(Analysis.study_id == study.id, ResultObject.damage != "", ResultObject.removed_at.is_(None))
        .exists()
    )
    return session.scalar(sa.select(sa.or_(instances, results))) or False


def damaged(session: Session) -> tuple[int, int]:
    """(instances, result objects) whose file is missing or altered."""

    def count(table: Kept) -> int:
        query = sa.select(sa.func.count()).select_from(table).where(table.damage != "", table.removed_at.is_(None))
        return session.scalar(query) or 0

    return count(Instance), count(ResultObject)
