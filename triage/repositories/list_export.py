"""The reading list as a whole, for who takes it along: which cases, as of one moment, then what each of them says."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.repositories.list_query import Filters, Place, narrowed, page_query
from triage.repositories.listed_cases import ListedCase, listed_cases
from triage.tables import Study


def places(session: Session, filters: Filters, after: Place | None, limit: int) -> Sequence[Place]:
    """Up to ``limit`` places of the list behind ``after``, in reading order; they stay what they were."""
    query = narrowed(session, page_query(filters, after, limit), filters)
    rows = session.execute(query.with_only_columns(Study.tier, Study.due_at, Study.id))
    return [Place(*row) for row in rows]


def cases_at(session: Session, places: Sequence[Place]) -> Sequence[ListedCase]:
    """The cases that had these places, in their order, as they are now."""
    ids = [place.id for place in places]
    found = {study.id: study for study in session.scalars(sa.select(Study).where(Study.id.in_(ids)))}
    return listed_cases(session, [found[number] for number in ids if number in found])
