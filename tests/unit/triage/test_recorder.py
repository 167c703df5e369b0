"""The short way into the tables and the long one leave the same rows behind, whatever arrives in whatever company."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from migrated import migrate
from sqlalchemy.orm import Session

from triage import tables
from triage.completion import CompletionPolicy
from triage.database import Database
from triage.findings import Urgency
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, Received, StoredFile
from triage.priority import Targets
from triage.repositories import associations
from triage.repositories.intake import IntakeRules, record_instances
from triage.repositories.recorder import Recorder
from triage.rules import Rule, RuleSet

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
RULES = IntakeRules(
    listener="listen@test:1",
    completion=CompletionPolicy(),
    targets=Targets(),
    pixel_digest=lambda path: path.rpartition(".")[2],  # a test file's name ends with what its pixels are
    site_rules=RuleSet(
        rules=(
            Rule(name="one sender", urgency=Urgency.URGENT, calling_ae_title=("AE1",), modality=("CT", "DX")),
            Rule(name="children", urgency=Urgency.STAT, max_age=15),
        )
    ),
)
COMPARED = (tables.Study, tables.Instance, tables.Analysis, tables.Association)


@contextmanager
def database() -> Iterator[Database]:
    with TemporaryDirectory() as folder:
        here = Database(f"sqlite:///{folder}/rows.sqlite")
        migrate(here)
        yield here
        here.dispose()


def received(
    number: int = 0,
    *,
    study: int = 0,
    series: int | None = None,
    modality: str = "CT",
    patient: str = "P0",
    association: int = 0,
    header: str = "a",
    pixels: str = "p",
    at: float = 0.0,
    **more: Any,
) -> Received:
    content = f"{header}{pixels}".ljust(64, "0")
    return Received(
        header=InstanceHeader(
            study_instance_uid=f"1.2.{study}",
            series_instance_uid=f"1.3.{study if series is None else series}",
            sop_instance_uid=f"1.4.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            modality=modality,
            patient_id=patient,
            **more,
        ),
        stored=StoredFile(
            relative_path=f"store/{number}.{header}.{pixels}",
            digest=content,
            size=10,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
        ),
        arrival=Arrival(
            received_at=NOW + timedelta(seconds=at),
            association_uid=f"2.25.{association}",
            calling_ae_title=f"AE{association % 2}",
            called_ae_title="FIRSTREAD",
            peer_address="127.0.0.1",
        ),
    )


ARRIVAL = st.builds(
    received,
    st.integers(0, 9),
    study=st.sampled_from((0, 0, 0, 1, 2)),
    series=st.sampled_from((None, None, None, None, 0)),
    modality=st.sampled_from(("CT", "CT", "CT", "DX", "CR", "SR", "")),
    patient=st.sampled_from(("P0", "P0", "P0", "P1", "")),
    association=st.integers(0, 2),
    header=st.sampled_from("aab"),
    pixels=st.sampled_from("ppq"),
    accession_number=st.sampled_from(("", "A1")),
    patient_age=st.sampled_from(("", "", "", "009Y", "040Y")),
    ward=st.sampled_from(("", "", "ICU")),
    requested_procedure_priority=st.sampled_from(("", "", "", "STAT")),
    number_of_study_related_instances=st.sampled_from((None, None, None, 3)),
    manufacturer=st.sampled_from(("", "", "", "firstread")),
)
STEP = st.one_of(
    st.lists(ARRIVAL, min_size=1, max_size=6),
    st.integers(0, 2),  # this association ends
)


def rows(here: Database) -> dict[str, list[dict[str, Any]]]:
    """All rows that matter, without the numbers a database gives."""
    with here.read() as session:
        ids = {row.id: row.study_instance_uid for row in session.scalars(sa.select(tables.Study))}
        senders = {row.id: row.association_uid for row in session.scalars(sa.select(tables.Association))}

        def plain(row: Any) -> dict[str, Any]:
            values = {c.name: getattr(row, c.name) for c in row.__table__.columns if c.name != "id"}
            for name, names in (("study_id", ids), ("association_id", senders)):
                if name in values:
                    values[name] = names.get(values[name])
            return values

        found = {
            table.__name__: sorted((plain(row) for row in session.scalars(sa.select(table))), key=repr)
            for table in COMPARED
        }
        events = session.scalars(sa.select(tables.Event))
        found["Event"] = sorted((plain(row) for row in events), key=repr)
        return found


def play(here: Database, steps: Sequence[Any], record: Callable[[Session, Sequence[Received]], Any]) -> list[Any]:
    """Arrivals in transactions as given, ends of associations between them."""
    outcomes: list[Any] = []
    for minute, step in enumerate(steps):
        with here.write() as session:
            if isinstance(step, int):
                at = NOW + timedelta(minutes=minute)
                associations.close_association(session, f"2.25.{step}", at=at, policy=RULES.completion)
            else:
                outcomes.append(record(session, step))
    return outcomes


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, max_size=8))
def test_both_ways_write_the_same(steps: list[Any]) -> None:
    with database() as short, database() as long:
        recorder = Recorder(RULES)
        by_recorder = play(short, steps, lambda session, items: recorder(session.connection(), items))
        by_rules = play(long, steps, lambda session, items: record_instances(session, items, RULES))
        assert by_recorder == by_rules
        one, other = rows(short), rows(long)
        for table, wanted in other.items():
            assert one[table] == wanted, table


@pytest.fixture
def here() -> Iterator[Database]:
    with database() as made:
        yield made


def test_a_growing_study_takes_the_short_way(here: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(RULES)
    monkeypatch.setattr("triage.repositories.recorder.record_instances", None)
    for batch in ([received(0), received(1)], [received(2, at=1), received(3, study=1, modality="DX")]):
        with here.transaction() as connection:
            assert recorder(connection, batch) == [IntakeOutcome.STORED] * len(batch)
    found = rows(here)
    assert [study["instance_count"] for study in found["Study"]] == [3, 1]
    assert sorted(analysis["due"] for analysis in found["Analysis"]) == [False, True]


def test_what_was_rolled_back_is_not_remembered(here: Database) -> None:
    recorder = Recorder(RULES)
    with pytest.raises(ZeroDivisionError), here.transaction() as connection:
        recorder(connection, [received(0, study=5)])
        raise ZeroDivisionError
    with here.transaction() as connection:  # another study and another association take the row numbers
        recorder(connection, [received(1, study=6, association=1)])
    with here.transaction() as connection:
        assert recorder(connection, [received(0, study=7, series=5)]) == [IntakeOutcome.STORED]
    instances = rows(here)["Instance"]
    assert {(row["study_id"], row["association_id"]) for row in instances} == {("1.2.6", "2.25.1"), ("1.2.7", "2.25.0")}


def test_a_new_instance_in_another_studys_series_is_not_recorded(here: Database) -> None:
    recorder = Recorder(RULES)
    with here.transaction() as connection:
        assert recorder(connection, [received(0)]) == [IntakeOutcome.STORED]
    for _ in range(2):  # asked first, remembered then
        with here.transaction() as connection:
            assert recorder(connection, [received(1, study=1, series=0)]) == [IntakeOutcome.MISPLACED]
    assert [study["study_instance_uid"] for study in rows(here)["Study"]] == ["1.2.0"]
