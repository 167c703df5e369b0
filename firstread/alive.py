"""``python -m firstread.alive``: exit status 0 while a part on this host reports alive. For health checks.

Workers have no port to knock at; their sign of life is a row.
"""

from __future__ import annotations

import socket
import sys
from datetime import UTC, datetime

from triage.database import Database
from triage.errors import FirstreadError
from triage.repositories import heartbeats
from triage.settings import load_settings


def alive_here(database: Database, host: str, now: datetime) -> bool:
    """True when some process of this host has beaten lately."""
    with database.read() as session:
        return any(row.name.partition("@")[2].rpartition(":")[0] == host for row in heartbeats.alive(session, now))


def main() -> int:
    try:
        database = Database(load_settings().database)
        return int(not alive_here(database, socket.gethostname(), datetime.now(UTC)))
    except FirstreadError as error:
        sys.stderr.write(f"{error.advice()}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
