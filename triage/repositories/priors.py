"""Other studies of the same patient that are here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.repositories.listed_cases import ListedCase, listed_cases
from triage.tables import Instance, Study

MOST: Final = 50


def of_patient(session: Session, study: Study) -> Sequence[ListedCase]:
    """Other studies under the same patient ID and issuer, the newest first; none where there is no patient ID.

    An empty issuer is one of its own: that two senders mean the same patient by one number is not for us to assume.
    """
    if not study.patient_id.strip():
        return []
    query = (
        sa.select(Study)
        .where(
            Study.patient_id == study.patient_id,
            Study.issuer_of_patient_id == study.issuer_of_patient_id,
            Study.id != study.id,
        )
        .order_by(Study.study_date.desc(), Study.received_at.desc(), Study.id.desc())
        .limit(MOST)
    )
    return listed_cases(session, session.scalars(query).all())


def with_files(session: Session, study_ids: Sequence[int]) -> frozenset[int]:
    """Of these studies the ones that have an image which retention has not removed."""
    query = sa.select(Instance.study_id).where(Instance.study_id.in_(study_ids), Instance.removed_at.is_(None))
    return frozenset(session.scalars(query.distinct()))
