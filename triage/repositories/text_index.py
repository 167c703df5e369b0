"""``studies_search``: which studies a text stands in, by the database's own index of pieces of three characters.

The migrations make it and triggers keep it: on SQLite an FTS5 table, on PostgreSQL a copy of the texts with an index of
all and one of open cases. A copy, because PostgreSQL writes to every index of a table whenever a row moves in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.searching import grams

_IS_THERE: Final = {
    "sqlite": sa.text("SELECT count(*) FROM sqlite_master WHERE name = 'studies_search'"),
    "postgresql": sa.text("SELECT to_regclass('ix_studies_search') IS NOT NULL"),
}
_MATCHING: Final = sa.text("SELECT rowid FROM studies_search WHERE studies_search MATCH :pieces LIMIT :most")
_COPY: Final = sa.table(
    "studies_search",
    sa.column("id", sa.BigInteger),
    sa.column("is_open", sa.Boolean),
    sa.column("search_text", sa.Text),
)


def is_there(session: Session) -> bool:
    """Not on an SQLite before 3.34, nor on a PostgreSQL without pg_trgm."""
    return bool(session.scalar(_IS_THERE[session.get_bind().dialect.name]))


def holding(session: Session, text: str, most: int, *, only_open: bool) -> Sequence[int]:
    """Ids of up to ``most`` studies, among them all that hold a folded text of three characters or more.

    On SQLite, which knows pieces only, others may have them in other places; and there ``only_open`` is not heeded.
    """
    if session.get_bind().dialect.name == "sqlite":
        pieces = " AND ".join('"' + piece.replace('"', '""') + '"' for piece in grams(text))
        return session.scalars(_MATCHING, {"pieces": pieces, "most": most}).all()
    found = sa.select(_COPY.c.id).where(_COPY.c.search_text.contains(text, autoescape=True)).limit(most)
    return session.scalars(found.where(_COPY.c.is_open) if only_open else found).all()
