"""Is a connection to PostgreSQL a server process of its own, or does a pooler (PgBouncer) lend it one?

In PgBouncer's transaction mode each transaction may run on another server process: what was prepared on one is unknown
to the next, and what one session sets (``search_path``, by pg_dump) stays for whoever comes after it.
"""

from __future__ import annotations

from typing import Any


def lends(connection: Any) -> bool:
    """True where a pooler stands between.

    The process that the greeting named (BackendKeyData) then is the pooler's word, not the one that answers.

    Parameters
    ----------
    connection : psycopg.Connection
        Without an open transaction; none is left open.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (answering,) = cursor.fetchone()
    connection.rollback()
    return bool(answering != connection.info.backend_pid)
