"""Which schema a database has and which one this version needs, without alembic.

Every process asks at its start; alembic, which only the making of a schema needs, takes half a second to load.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import sqlalchemy as sa

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_NAMED: Final = re.compile(r'^(down_revision|revision) = "(\w+)"$', re.MULTILINE)


def needed() -> str:
    """The revision that no migration follows: the chain is linear."""
    named: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for script in (MIGRATIONS / "versions").glob("*.py"):
        for which, revision in _NAMED.findall(script.read_text(encoding="utf-8")):
            named[which].add(revision)
    (head,) = named["revision"] - named["down_revision"]
    return head


def found(connection: sa.Connection) -> str | None:
    """The revision that alembic has noted in the database; None in an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return revision
