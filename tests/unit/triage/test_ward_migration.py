"""A database of the version before: its rows survive, and the list finds what is positive in them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from peers.postgres import postgres

from triage.database import Database, alembic_config
from triage.repositories import worklist
from triage.repositories.list_query import Filters

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).replace(tzinfo=None)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        yield _before(f"sqlite:///{tmp_path / 'old.sqlite'}")
        return
    with postgres() as url:
        yield _before(url)


def _before(url: str) -> Database:
    database = Database(url)
    with database.engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0016")
        connection.commit()
        tables = sa.MetaData()
        tables.reflect(connection)
        for number in (1, 2, 3):
            _insert(connection, tables, "studies", id=number, study_instance_uid=f"1.{number}",
                    patient_name=f"N{number}^A", search_text=f"p{number}\nn{number} a\n\n", reading_status="UNREAD",
                    status="COMPLETE", urgency="ROUTINE", header_urgency=None, order_urgency=None, rule_urgency=None,
                    ai_urgency=None, manual_urgency=None)  # fmt: skip
            _insert(connection, tables, "instances", id=number, study_id=number, sop_instance_uid=f"2.{number}",
                    association_id=None, not_analysed=None)  # fmt: skip
        # Study 1: positive. Study 2: positive once, and not in the latest look. Study 3: its second look waits.
        said = [(1, 1, True, NOON), (2, 1, True, NOON), (2, 2, False, NOON), (3, 1, True, NOON), (3, 2, None, None)]
        for number, (study, revision, positive, scored) in enumerate(said, 1):
            _insert(connection, tables, "analyses", id=number, study_id=study, revision=revision, scored_at=scored,
                    status="SUCCEEDED" if scored else "QUEUED")  # fmt: skip
            if positive is None:
                continue
            _insert(connection, tables, "analysis_images", id=number, analysis_id=number, instance_id=study,
                    reason=None)  # fmt: skip
            _insert(connection, tables, "findings", id=number, image_id=number, key="pleural_effusion", laterality=None,
                    code_meaning="Pleural effusion", positive=positive, kind="CALIBRATED_PROBABILITY",
                    urgency="STAT")  # fmt: skip
        _insert(connection, tables, "orders", id=1, source="HL7", sender="RIS", number="1", accession_number="A",
                urgency=None)  # fmt: skip
        connection.commit()
    return database


def _insert(connection: sa.Connection, tables: sa.MetaData, name: str, **said: Any) -> None:
    """A row; what is not said and may not be empty is something of its type."""
    filled: dict[str, Any] = {}
    for column in tables.tables[name].columns:
        if column.name not in said and not column.nullable:
            kind = column.type
            filled[column.name] = (
                NOON if isinstance(kind, sa.DateTime) else [] if isinstance(kind, sa.JSON)
                else False if isinstance(kind, sa.Boolean) else "" if isinstance(kind, sa.String) else 0
            )  # fmt: skip
    connection.execute(tables.tables[name].insert().values(filled | said))


def test_rows_of_before_survive_and_their_findings_are_found(before: Database) -> None:
    before.migrate()
    before.require_sound(thorough=True)
    with before.read() as session:

        def listed(**filters: Any) -> list[str]:
            cases = worklist.list_page(session, Filters(**filters), None, 10).cases
            return [case.study.study_instance_uid for case in cases]

        assert listed() == ["1.1", "1.2", "1.3"]
        assert listed(positive=True) == listed(finding="EFFUSION") == listed(finding="pleural_e") == ["1.1", "1.3"]
        assert listed(everything=True, finding="effusion") == ["1.1", "1.3"]
        assert listed(q="n2") == ["1.2"]
        assert {case.study.ward for case in worklist.list_page(session, Filters(), None, 10).cases} == {""}
    before.dispose()
