"""Engine and sessions: one writer on SQLite, many on PostgreSQL, durable commits on both."""

from __future__ import annotations

import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from triage import pooler, schema_revision
from triage.errors import DatabaseDamagedError, DatabaseUnavailableError, SettingsError, StorageFullError
from triage.write_lock import BUSY_TIMEOUT, begin_immediate, begin_immediately, driver_of

if TYPE_CHECKING:
    from alembic.config import Config

QUICKLY_CHECKED: Final = 512 * 1024 * 1024
"""Bytes of a database that are checked at every start; a second of reading at most."""
RESTED: Final = 0.5
"""Seconds after which a connection to PostgreSQL is looked at before it is used: no server restarts in less."""

Result = TypeVar("Result")


class Database:
    """Sessions for reading and for writing, and a cheap "has anything changed".

    A writing session begins with the write lock (``BEGIN IMMEDIATE`` on SQLite): a transaction that reads first and
    writes later would otherwise fail with "database is locked" at once, whatever the busy timeout.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, ``sqlite:///...`` or ``postgresql+psycopg://...``.
    """

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url.replace("postgresql://", "postgresql+psycopg://", 1))
        self.engine = _engine(self.url)
        self._looking = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._watches: weakref.WeakSet[ChangeWatch] = weakref.WeakSet()
        self._writers: weakref.WeakSet[Writer] = weakref.WeakSet()

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @property
    def driver_error(self) -> type[Exception]:
        """Root of the errors that the driver itself raises."""
        error: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        return error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session whose changes are thrown away.

        Raises
        ------
        DatabaseUnavailableError
            No connection, or the connection was lost.
        """
        with _translated(), Session(self.engine, expire_on_commit=False) as session:
            if self.is_sqlite:
                session.connection().exec_driver_sql("BEGIN")
            yield session

    @contextmanager
    def look(self) -> Iterator[Session]:
        """A session that only looks: like :meth:`read`, but on PostgreSQL each statement stands for itself.

        That is what it sees there anyway (READ COMMITTED), and two round trips fewer, half the time of a short
        question; and the driver forgets what it has prepared on a connection at each rollback, with which
        :meth:`read` ends. Nothing may be changed in it, for nothing is thrown away.

        Raises
        ------
        DatabaseUnavailableError
            As there.
        """
        if self.is_sqlite:
            with self.read() as session:
                yield session
            return
        with (
            _translated(),
            Session(self._looking, expire_on_commit=False, autoflush=False) as session,
        ):
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that is committed durably when the block ends and rolled back when it raises.

        Raises
        ------
        DatabaseUnavailableError
            No connection, or another writer held the lock longer than :data:`BUSY_TIMEOUT`.
        """
        with _translated(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            if self.is_sqlite:
                begin_immediate(session.connection())
            yield session

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """:meth:`write` without the session, which costs more than the statements of a short transaction.

        Raises
        ------
        DatabaseUnavailableError
            As there.
        """
        with _translated(), self.engine.begin() as connection:
            if self.is_sqlite:
                begin_immediate(connection)
            yield connection

    def writer(self) -> Writer:
        """For who commits many times a second."""
        writer = Writer(self)
        self._writers.add(writer)
        return writer

    def watch(self) -> ChangeWatch:
        """A watch for commits by anybody, for the bell and for live pages."""
        watch = ChangeWatch(self)
        self._watches.add(watch)
        return watch

    def migrate(self) -> None:
        """Bring the schema to this version (create it when empty)."""
        from alembic import command  # noqa: PLC0415 - half a second that few processes need

        with _translated(), self.engine.connect() as connection:
            if self.is_sqlite:
                begin_immediate(connection)
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()

    def revision(self) -> tuple[str | None, str]:
        """(schema revision of the database, revision this version needs)."""
        with _translated(), self.engine.connect() as connection:
            return schema_revision.found(connection), schema_revision.needed()

    def require_current(self) -> None:
        """Refuse to run on another schema.

        Raises
        ------
        SettingsError
            The schema is older or newer than this version.
        """
        found, needed = self.revision()
        if found != needed:
            raise SettingsError(
                f"The database has schema {found or 'none'}, this version needs {needed}.",
                next_step="Run `firstread db upgrade`; if the schema is newer, install the newer firstread.",
            )

    def behind_pooler(self) -> bool:
        """True when a pooler (PgBouncer) stands before PostgreSQL."""
        if self.is_sqlite:
            return False
        with _translated(), self.engine.connect() as connection:
            return pooler.lends(connection.connection.driver_connection)

    def require_sound(self, *, thorough: bool = False) -> None:
        """Refuse a damaged SQLite file, by its own check; PostgreSQL looks after itself.

        Parameters
        ----------
        thorough : bool
            Whatever it takes (20 ms/MB, indices compared with tables); else the quick check (2 ms/MB), and none of a
            file larger than :data:`QUICKLY_CHECKED`.

        Raises
        ------
        DatabaseDamagedError
            Says the first thing that is wrong.
        """
        if not self.is_sqlite:
            return
        file = Path(self.url.database or "")
        if not thorough and file.is_file() and file.stat().st_size > QUICKLY_CHECKED:
            return
        with _translated(), self.engine.connect() as connection:
            found = connection.exec_driver_sql(f"PRAGMA {'integrity' if thorough else 'quick'}_check(1)").scalar()
        if found != "ok":
            raise DatabaseDamagedError(f"The database {file} is damaged.")

    def dispose(self) -> None:
        """Close all connections; needed before and after fork."""
        for watch in list(self._watches):
            watch.close()
        for writer in list(self._writers):
            writer.close()
        self.engine.dispose()


class Writer:
    """Durable transactions one after the other, on one connection that is kept between them where it can be.

    To take a connection from the pool, to set its time-out and to give it back costs more than the statements of a
    short transaction. A connection to PostgreSQL may die while it rests, which the pool looks after: there each
    transaction takes one. Not thread-safe.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sa.Connection | None = None

    def transaction(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Do some work in a transaction and return, once that is committed durably, what it has returned.

        Raises
        ------
        DatabaseUnavailableError
            As :meth:`Database.transaction`.
        Exception
            What the work raised; everything is rolled back.
        """
        if not self._database.is_sqlite:
            with self._database.transaction() as connection:
                return work(connection)
        try:
            with _translated():
                connection = self._connection or self._connect()
                with connection.begin():
                    begin_immediately(driver_of(connection))
                    return work(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.invalidate()  # nobody else gets it: it waits for no lock
            connection.close()

    def _connect(self) -> sa.Connection:
        self._connection = self._database.engine.connect()
        driver_of(self._connection).execute("PRAGMA busy_timeout = 0")
        return self._connection


class ChangeWatch:
    """Tells whether anything was committed since it was last asked.

    On SQLite ``PRAGMA data_version`` answers in microseconds; on PostgreSQL the current snapshot does: two that are
    equal see the same rows. (The highest event id would not do: ids are taken before they are committed, and so may
    come to light in another order.) Keeps one connection of its own; not thread-safe.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sa.Connection | None = None
        self._query = "PRAGMA data_version" if database.is_sqlite else "SELECT pg_current_snapshot()::text"
        self._last: Any = None

    def changed(self) -> bool:
        """True at the first call and whenever another connection has committed since the last one."""
        seen = self._ask()
        changed = self._last is None or seen != self._last
        self._last = seen
        return changed

    def _ask(self) -> Any:
        # On the driver itself: asked 200 times a second, a statement through SQLAlchemy would cost 5 % of a core.
        try:
            if self._connection is None:
                self._connection = self._connect()
            cursor = self._connection.connection.cursor()
            cursor.execute(self._query)
            (seen,) = cursor.fetchone() or (None,)
            cursor.close()
        except self._database.driver_error as error:
            self.close()
            raise DatabaseUnavailableError(f"The database did not answer: {type(error).__name__}.") from error
        except sa.exc.DBAPIError as error:
            raise DatabaseUnavailableError(f"The database did not answer: {type(error.orig).__name__}.") from error
        except sa.exc.TimeoutError as error:
            raise DatabaseUnavailableError("No database connection became free in time.") from error
        return seen

    def _connect(self) -> sa.Connection:
        connection = self._database.engine.connect()
        if self._database.is_sqlite:
            return connection
        return connection.execution_options(isolation_level="AUTOCOMMIT")  # nothing stays open between two questions

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._last = None  # SQLite counts per connection


def alembic_config() -> Config:
    """Alembic's configuration without a file: the scripts travel with the package."""
    from alembic.config import Config  # noqa: PLC0415 - as in `migrate`

    config = Config()
    config.set_main_option("script_location", str(schema_revision.MIGRATIONS))
    return config


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return _postgresql_engine(url)
    engine = sa.create_engine(
        url,
        poolclass=QueuePool,
        pool_size=5,
        max_overflow=20,
        # The latest one again: it has the pages and the statements. In turn, each would find its pages outdated by
        # what the others wrote, and read them anew.
        pool_use_lifo=True,
        hide_parameters=True,  # error texts would quote patient data
        connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False},
    )

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where Database says, not where sqlite3 guesses
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _postgresql_engine(url: sa.URL) -> sa.Engine:
    """With a look whether the server is still there before a connection is used that has rested for a while.

    Not each time (``pool_pre_ping``): a page of the reading list would wait a tenth of its time for that.
    """
    engine = sa.create_engine(
        url, pool_size=5, max_overflow=20, pool_timeout=10, hide_parameters=True,
        pool_use_lifo=True,  # the latest one again: it has the prepared statements
    )  # fmt: skip

    @sa.event.listens_for(engine, "connect")
    def _new(connection: Any, _record: Any) -> None:
        if pooler.lends(connection):
            connection.prepare_threshold = None  # the next transaction may meet a server that knows none of them

    @sa.event.listens_for(engine, "checkin")
    def _rests(_connection: Any, record: Any) -> None:
        record.info["rests_since"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def _look(connection: Any, record: Any, _proxy: Any) -> None:
        since = record.info.pop("rests_since", None)
        if since is None or time.monotonic() - since < RESTED:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise sa.exc.InvalidatePoolError("rested too long") from error  # the pool then takes another, a new one

    return engine


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if str(error.orig).startswith("no such "):
            raise  # SQLite's word for a defect of ours, which waiting does not cure
        if getattr(error.orig, "sqlite_errorname", "") == "SQLITE_FULL":
            advice = StorageFullError.next_step
            raise DatabaseUnavailableError("There is no room for the database.", next_step=advice) from error
        raise DatabaseUnavailableError(f"The database did not answer: {type(error.orig).__name__}.") from error
    except sa.exc.TimeoutError as error:
        raise DatabaseUnavailableError("No database connection became free in time.") from error
    except sqlite3.DatabaseError as error:  # while connecting, where SQLAlchemy does not translate
        raise DatabaseDamagedError(f"The database is damaged: {error}.") from error
    except DBAPIError as error:
        if type(error.orig) is sqlite3.DatabaseError:  # SQLITE_CORRUPT and SQLITE_NOTADB, and nothing else
            raise DatabaseDamagedError(f"The database is damaged: {error.orig}.") from error
        if error.connection_invalidated:
            raise DatabaseUnavailableError("The database connection was lost.") from error
        raise
