"""Where a history takes place: a data directory and a database, empty again for each and made only once."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final, Protocol, Self

from migrated import empty_sqlite

from triage.columns import Base
from triage.database import Database

IN_MEMORY: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - quick, and closed to others
"""What a disk would keep is modelled (:mod:`custody.disk`), so nobody has to wait for one."""


class Ground(Protocol):
    """A node's place in the world."""

    data: Path
    database: Database

    def clear(self) -> None:
        """Nothing has ever come here."""
        ...

    def close(self) -> None: ...


class SqliteGround:
    """SQLite in the data directory, a file as in production."""

    def __init__(self) -> None:
        self.data = Path(tempfile.mkdtemp(prefix="custody-", dir=IN_MEMORY))
        self._file = self.data / "firstread.sqlite"
        self.database = Database(f"sqlite:///{self._file}")

    def clear(self) -> None:
        self.database.dispose()
        for rest in self.data.glob("firstread.sqlite-*"):
            rest.unlink()
        self._file.write_bytes(empty_sqlite())
        _sweep(self.data)

    def close(self) -> None:
        self.database.dispose()
        shutil.rmtree(self.data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PostgresGround:
    """One PostgreSQL database, emptied table by table."""

    def __init__(self, url: str) -> None:
        self.data = Path(tempfile.mkdtemp(prefix="custody-", dir=IN_MEMORY))
        self.database = Database(url)
        self.database.migrate()

    def clear(self) -> None:
        names = ", ".join(Base.metadata.tables)
        with self.database.write() as session:
            session.connection().exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
        _sweep(self.data)

    def close(self) -> None:
        self.database.dispose()
        shutil.rmtree(self.data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sweep(data: Path) -> None:
    """Remove all files but the database's; folders stay."""
    for root in (data / "archive", data / "results"):
        root.mkdir(exist_ok=True)
        for folder, _, files in os.walk(root):
            for name in files:
                Path(folder, name).unlink()
    (data / "syncs").unlink(missing_ok=True)
