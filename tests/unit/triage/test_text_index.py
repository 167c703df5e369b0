"""Texts of cases are found by the database's index of them, whatever happens to the cases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from peers.postgres import postgres

from triage.database import Database
from triage.repositories import text_index, worklist
from triage.repositories.list_export import places
from triage.repositories.list_query import Filters
from triage.searching import folded
from triage.states import ReadingStatus
from triage.tables import Study

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = st.text("aä_%'\"^ \\", max_size=8)
STEPS = st.lists(st.tuples(st.sampled_from(["new", "name", "read", "open", "due", "remove"]), st.integers(0, 4), NAMES))


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    on_sqlite = nullcontext(f"sqlite:///{tmp_path_factory.mktemp('texts') / 'texts.sqlite'}")
    with on_sqlite if request.param == "sqlite" else postgres() as url:
        database = Database(url)
        database.migrate()
        yield database
        database.dispose()


def _study(number: int, name: str) -> Study:
    return Study(
        study_instance_uid=f"1.2.{number}", patient_name=name, accession_number=f"A{number:06d}", opened_at=NOON,
        received_at=NOON, last_received_at=NOON, due_at=NOON,
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(steps=STEPS, wanted=st.text("aä_%'\"^ \\", min_size=3, max_size=9))
def test_it_holds_what_the_cases_say(database: Database, steps: list[tuple[str, int, str]], wanted: str) -> None:
    """The list and its export find the same as somebody who looks at each case."""
    with database.write() as session:
        session.execute(sa.delete(Study))
        for number, (step, which, name) in enumerate(steps):
            studies = session.scalars(sa.select(Study).order_by(Study.id)).all()
            if step == "new" or not studies:
                session.add(_study(number, name))
                session.flush()
                continue
            study = studies[which % len(studies)]
            match step:
                case "name":
                    study.patient_name = name
                case "read":
                    study.reading_status = ReadingStatus.READ
                case "open":
                    study.reading_status = ReadingStatus.CLAIMED
                case "due":
                    study.tier += 1
                case "remove":
                    session.delete(study)
            session.flush()
    with database.read() as session:
        assert text_index.is_there(session)
        for everything in (False, True):
            filters = Filters(q=wanted, everything=everything)
            listed = [case.study.id for case in worklist.list_page(session, filters, None, 50).cases]
            assert listed == [place.id for place in places(session, filters, None, 50)]
            assert listed == [
                study.id
                for study in session.scalars(sa.select(Study).order_by(Study.tier, Study.id))
                if (everything or study.reading_status is not ReadingStatus.READ) and _says(study, wanted)
            ]


def _says(study: Study, wanted: str) -> bool:
    return all(word in study.search_text for word in folded(wanted).split())


def test_a_uid_is_found_beside_what_texts_say(database: Database) -> None:
    with database.write() as session:
        session.execute(sa.delete(Study))
        session.add_all([_study(7, "anna"), _study(8, "1.2.7 berta"), _study(9, "clara")])
    with database.read() as session:
        for everything in (False, True):
            found = worklist.list_page(session, Filters(q="1.2.7", everything=everything), None, 50).cases
            assert [case.study.patient_name for case in found] == ["anna", "1.2.7 berta"]


def test_a_step_of_a_case_leaves_the_pieces_of_its_text_alone(database: Database) -> None:
    """On PostgreSQL each index of a row that moves gets an entry: one for each piece of a text, if it is among them."""
    if database.is_sqlite:
        pytest.skip("SQLite writes only to the indexes whose columns have changed")
    with database.write() as session:
        session.execute(sa.delete(Study))
        session.add(_study(1, "a name of very many pieces, each of three characters"))
    with database.write() as session:
        (plan,) = session.scalars(
            sa.text("EXPLAIN (ANALYZE, WAL, FORMAT JSON) UPDATE studies SET tier = tier + 1")
        ).one()
    assert 0 < plan["Plan"]["WAL Records"] < 25


def test_nothing_that_stands_in_the_index_refuses_a_case(database: Database) -> None:
    """On PostgreSQL, whose copy of the texts may be what somebody made of it."""
    if database.is_sqlite:
        pytest.skip("the index is FTS5's own")
    with database.write() as session:
        session.execute(sa.text("TRUNCATE studies RESTART IDENTITY CASCADE"))
        assert session.scalar(sa.text("SELECT count(*) FROM studies_search")) == 0
        session.execute(sa.text("INSERT INTO studies_search VALUES (1, false, 'left over')"))
        session.add(_study(1, "anna"))
    with database.read() as session:
        assert worklist.list_page(session, Filters(q="anna"), None, 50).cases
        assert not worklist.list_page(session, Filters(q="left over", everything=True), None, 50).cases
