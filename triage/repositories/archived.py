"""Where the files of current instances lie, for whoever serves them as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.tables import Instance, Study

MOST: Final = 5000
"""Files of one answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivedFile:
    """A stored instance; ``relative_path`` below the archive, ``size`` in bytes."""

    series_instance_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    relative_path: str
    size: int


def files_of(session: Session, study_uid: str, series_uid: str = "", sop_uid: str = "") -> Sequence[ArchivedFile]:
    """The files of a study, of one of its series, or of one instance, as far as retention has left them."""
    query = (
        sa.select(
            Instance.series_instance_uid, Instance.sop_instance_uid, Instance.transfer_syntax_uid,
            Instance.relative_path, Instance.size,
        )
        .join(Instance.study)
        .where(Study.study_instance_uid == study_uid, Instance.is_current, Instance.removed_at.is_(None))
        .order_by(Instance.id)
        .limit(MOST)
    )  # fmt: skip
    if series_uid:
        query = query.where(Instance.series_instance_uid == series_uid)
    if sop_uid:
        query = query.where(Instance.sop_instance_uid == sop_uid)
    return [ArchivedFile(**row._mapping) for row in session.execute(query)]
