"""SQLite's write lock: who writes next, decided in fractions of a millisecond."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

BUSY_TIMEOUT: Final = 10.0  # seconds that a SQLite writer waits for another
_FIRST_WAIT: Final = 0.0002
_LONGEST_WAIT: Final = 0.002
"""Seconds between two attempts to get the write lock. SQLite's own waits grow to 100 ms, for locks held 2 ms here."""


def begin_immediate(connection: sa.Connection) -> None:
    """Take SQLite's write lock."""
    driver = driver_of(connection)
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        begin_immediately(driver)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT * 1000:.0f}")


def begin_immediately(driver: sqlite3.Connection) -> None:
    """The same on a connection whose own time-out is 0."""
    end, wait = time.monotonic() + BUSY_TIMEOUT, _FIRST_WAIT
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise OperationalError("BEGIN IMMEDIATE", None, error) from error
        time.sleep(wait)
        wait = min(wait * 1.5, _LONGEST_WAIT)


def driver_of(connection: sa.Connection) -> sqlite3.Connection:
    """SQLite's own connection: an engine with an event for what is done on it would pay at every statement."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101
    return driver
