"""Two listeners on PostgreSQL get images of one new study at the same moment: it is counted once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from peers.postgres import postgres

from triage.completion import CompletionPolicy
from triage.database import Database
from triage.errors import DatabaseUnavailableError
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, Received, StoredFile
from triage.priority import Targets
from triage.repositories.intake import IntakeRules
from triage.repositories.recorder import Recorder
from triage.tables import Instance, Study

RULES = IntakeRules(listener="listen@test:1", completion=CompletionPolicy(), targets=Targets(), pixel_digest=str)
pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    with postgres() as url:
        database = Database(url)
        database.migrate()
        yield database
        database.dispose()


def received(study: str, number: int) -> Received:
    uid = f"{study}.{number}"
    return Received(
        header=InstanceHeader(
            study_instance_uid=study, series_instance_uid=f"{study}.0", sop_instance_uid=uid,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2", modality="CT", patient_id="P1",
        ),
        stored=StoredFile(
            relative_path=f"store/{uid}", digest=uid.ljust(64, "0"), size=1, transfer_syntax_uid="1.2.840.10008.1.2"
        ),
        arrival=Arrival(
            received_at=datetime(2026, 3, 1, tzinfo=UTC), association_uid=f"2.25.{number}", calling_ae_title="CT1",
            called_ae_title="FIRSTREAD", peer_address="10.0.0.1",
        ),
    )  # fmt: skip


def counted(database: Database, study: str) -> tuple[int, int]:
    """(instances that the list says, rows of instances)."""
    with database.read() as session:
        row = session.scalars(sa.select(Study).where(Study.study_instance_uid == study)).one()
        rows = session.scalar(sa.select(sa.func.count()).select_from(Instance).where(Instance.study_id == row.id))
        return row.instance_count, rows or 0


def test_a_new_study_counts_its_first_instance_once(server: Database) -> None:
    with server.transaction() as connection:
        assert Recorder(RULES)(connection, [received("1.2.1", 1)]) == [IntakeOutcome.STORED]
    assert counted(server, "1.2.1") == (1, 1)


def test_who_comes_second_begins_anew_and_finds_it(server: Database) -> None:
    first, second = Recorder(RULES), Recorder(RULES)
    problems: list[Exception] = []

    def record_second() -> None:
        try:
            with server.transaction() as connection:
                second(connection, [received("1.2.2", 2), received("1.2.3", 3)])
        except DatabaseUnavailableError as error:
            problems.append(error)

    with server.transaction() as connection:
        first(connection, [received("1.2.2", 1)])
        thread = threading.Thread(target=record_second)
        thread.start()
        thread.join(timeout=0.5)
        assert thread.is_alive(), "it waits for the first one's commit"
    thread.join()
    assert len(problems) == 1
    assert counted(server, "1.2.2") == (1, 1)
    with server.transaction() as connection:
        assert second(connection, [received("1.2.2", 2), received("1.2.3", 3)]) == [IntakeOutcome.STORED] * 2
    assert counted(server, "1.2.2") == (2, 2)
    assert counted(server, "1.2.3") == (1, 1)
