"""Connections to PostgreSQL that have rested while the server restarted, and the watch that holds no transaction."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa
from peers.postgres import postgres

import triage.database
from triage.database import Database


def test_a_connection_that_died_at_rest_is_replaced_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres() as url:
        database = Database(url)
        with database.read() as session:
            first = session.scalar(sa.text("SELECT pg_backend_pid()"))
        watch = database.watch()
        assert watch.changed()
        assert not watch.changed()
        assert _open_transactions(url) == 0, "the watch holds none, or nothing could be cleaned up behind it"

        monkeypatch.setattr(triage.database, "RESTED", 0.0)
        _end_others(url, first)
        with database.read() as session:
            second = session.scalar(sa.text("SELECT pg_backend_pid()"))
        with database.read() as session:
            assert session.scalar(sa.text("SELECT pg_backend_pid()")) == second, "a live one is used again"
        watch.close()
        with database.write() as session:
            session.execute(sa.text("CREATE TABLE kept (id int)"))
        with database.read() as session:
            assert session.scalar(sa.text("SELECT count(*) FROM kept")) == 0, "no connection commits by itself"
        with database.look() as session:
            assert session.scalar(sa.text("SELECT count(*) FROM kept")) == 0
            assert _open_transactions(url) == 0, "who looks holds none either"
        with database.read() as session:  # on the same connection
            session.execute(sa.text("INSERT INTO kept VALUES (1)"))
        with database.read() as session:
            assert session.scalar(sa.text("SELECT count(*) FROM kept")) == 0
        database.dispose()
    assert first != second


def _open_transactions(url: str) -> int:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'").fetchone()
    return row[0] if row else -1


def _end_others(url: str, pid: int) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
