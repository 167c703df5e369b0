"""The order of the list over random histories of the real rows, on SQLite and PostgreSQL.

Cases arrive, are ordered, scored, set and undone by hand, claimed, read and opened again, in any order, while the clock
is also set back. After each step the list is compared with the rules said once more, without the code of the house.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
import sqlalchemy as sa
import worklist_rows
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from peers.postgres import postgres
from sqlalchemy.orm import Session
from worklist_rows import NOON, Seen, arrive, score

from triage.columns import Base
from triage.database import Database
from triage.errors import StateError
from triage.findings import Urgency
from triage.priority import Breaker, Targets
from triage.repositories import placing, worklist
from triage.repositories.worklist import Filters, Place
from triage.rules import Rule, RuleSet
from triage.tables import Study

TARGETS: Final = Targets()
TARGET: Final = {Urgency.STAT: timedelta(minutes=15), Urgency.URGENT: timedelta(minutes=30),
                 Urgency.ROUTINE: timedelta(minutes=120)}  # fmt: skip
BEDSIDE: Final = Rule(name="bedside", urgency=Urgency.URGENT, study_description_words=("bedside",))
PRIORITY: Final = {None: "", Urgency.STAT: "STAT", Urgency.URGENT: "HIGH", Urgency.ROUTINE: "LOW"}

numbers = st.integers(0, 5)
classes = st.sampled_from(Urgency)
STEPS = st.one_of(
    st.tuples(st.just("arrive"), st.sampled_from([None, *Urgency]), st.booleans()),
    st.tuples(st.just("score"), numbers, classes),
    st.tuples(st.just("set"), numbers, st.sampled_from([None, *Urgency])),
    st.tuples(st.just("undo"), numbers),
    st.tuples(st.just("read")),
    st.tuples(st.just("open again"), numbers),
    st.tuples(st.just("clock"), st.sampled_from([0, 1, 20, 100, -45])),
)


@dataclass
class Case:
    """What the test knows of a case, by its own account."""

    id: int
    arrived: datetime
    order: Urgency | None
    rule: Urgency | None
    ai: Urgency | None = None
    by_hand: list[Urgency | None] = field(default_factory=list)
    """Every class set by hand that stands, the latest last."""
    read: bool = False

    @property
    def manual(self) -> Urgency | None:
        return self.by_hand[-1] if self.by_hand else None

    def urgency(self, *, with_ai: bool = True) -> Urgency:
        claims = [self.order, self.rule, self.ai if with_ai else None, Urgency.ROUTINE]
        return self.manual or min((c for c in claims if c), key=list(Urgency).index)

    def key(self, *, with_ai: bool = True) -> tuple[bool, datetime, bool, int]:
        urgency = self.urgency(with_ai=with_ai)
        by_ai_alone = urgency is Urgency.STAT and Urgency.STAT not in (self.manual, self.order, self.rule)
        return (urgency is not Urgency.STAT, self.arrived + TARGET[urgency], by_ai_alone, self.id)


class History:
    """Rows and the test's own account of them, taken through the same steps."""

    def __init__(self, database: Database) -> None:
        self.database, self.now, self.earliest = database, NOON, NOON
        self.cases: list[Case] = []
        with database.write() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(sa.delete(table))

    def take(self, step: tuple[Any, ...]) -> None:
        kind, *said = step
        with self.database.write() as session:
            getattr(self, kind.replace(" ", "_"))(session, *said)

    def arrive(self, session: Session, order: Urgency | None, bedside: bool) -> None:
        description = "bedside chest" if bedside else "chest"
        study = arrive(session, f"n{len(self.cases)}", at=self.now, study_description=description,
                       requested_procedure_priority=PRIORITY[order])  # fmt: skip
        self.cases.append(Case(study.id, self.now, order, Urgency.URGENT if bedside else None))

    def score(self, session: Session, number: int, urgency: Urgency) -> None:
        case, study = self._pick(session, number)
        if study is None or case.ai is not None:
            return
        found = [Seen("lesion", 0.1 if urgency is Urgency.ROUTINE else 0.9, urgency=urgency)]
        score(session, study, found, at=self.now)
        case.ai = urgency

    def set(self, session: Session, number: int, urgency: Urgency | None) -> None:
        case, study = self._pick(session, number)
        if study is not None:
            placing.set_manual_urgency(
                session, study, urgency, reason="seen", by="dr", targets=TARGETS, at=self.now
            )  # fmt: skip
            case.by_hand.append(urgency)

    def undo(self, session: Session, number: int) -> None:
        case, study = self._pick(session, number)
        if study is None:
            return
        try:
            placing.undo_manual_urgency(session, study, by="dr", targets=TARGETS, at=self.now)
            case.by_hand.pop()
        except StateError:
            assert not case.by_hand

    def read(self, session: Session) -> None:
        page = worklist.list_page(session, Filters(), None, 1)
        if not page.cases:
            return
        study = session.get_one(Study, page.cases[0].study.id)
        worklist.claim(session, study, who="dr", at=self.now)
        worklist.mark_read(session, study, who="dr", at=self.now)
        taken = next(case for case in self.cases if case.id == study.id)
        taken.read = True
        self._bounded(taken)

    def open_again(self, session: Session, number: int) -> None:
        case, study = self._pick(session, number)
        if study is not None and case.read:
            worklist.release(session, study, who="dr", at=self.now)
            case.read = False

    def clock(self, session: Session, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    def _pick(self, session: Session, number: int) -> Any:
        if not self.cases:
            return None, None
        case = self.cases[number % len(self.cases)]
        return case, session.get_one(Study, case.id)

    def _bounded(self, taken: Case) -> None:
        """Nobody but STAT passes a waiting case unless it is due no later: so it came before that case's due time less
        the shortest target below STAT, and those that did are numbered. This is DESIGN §5's bound."""
        if taken.urgency() is Urgency.STAT:
            return
        for waiting in self.cases:
            if not waiting.read:
                assert waiting.urgency() is not Urgency.STAT
                due = waiting.arrived + TARGET[waiting.urgency()]
                assert taken.arrived <= due - TARGET[Urgency.URGENT]

    def check(self) -> list[str]:
        """The list is as the rules say; returns it, as what stands in its rows."""
        with self.database.read() as session:
            whole = worklist.list_page(session, Filters(), None, 200).cases
            paged, after = [], None
            while True:
                page = worklist.list_page(session, Filters(), after, 2)
                paged += [case.study.id for case in page.cases]
                after = page.next
                if after is None:
                    break
        ids = [case.study.id for case in whole]
        expected = sorted((case for case in self.cases if not case.read), key=Case.key)
        assert ids == paged == [case.id for case in expected]
        by_id = {case.id: case for case in self.cases}
        for row in (case.study for case in whole):
            case = by_id[row.id]
            assert row.urgency is case.urgency()
            assert row.explanation.endswith(f"→ {row.urgency}; due {case.arrived + TARGET[row.urgency]:%H:%M}")
            assert (row.order_urgency, row.rule_urgency, row.ai_urgency, row.manual_urgency) == (
                case.order, case.rule, case.ai, case.manual,
            )  # fmt: skip
            assert case.manual is not None or case.key()[:2] <= case.key(with_ai=False)[:2], "the AI lowers nobody"
        return [f"{row.study.study_instance_uid} {row.study.due_at} {row.study.explanation}" for row in whole]


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory, empty_database: bytes) -> Iterator[Database]:
    file = tmp_path_factory.mktemp("order") / "firstread.sqlite"
    file.write_bytes(empty_database)
    database = Database(f"sqlite:///{file}")
    with database.engine.connect() as connection:  # these rows need not survive the power
        connection.exec_driver_sql("PRAGMA journal_mode=MEMORY")
    yield database
    database.dispose()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Database]:
    with postgres() as url:
        database = Database(url)
        database.migrate()
        yield database
        database.dispose()


@pytest.fixture(autouse=True)
def _site_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklist_rows, "RULES", replace(worklist_rows.RULES, site_rules=RuleSet(rules=(BEDSIDE,))))


CHEAP: Final = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


@settings(max_examples=25, **CHEAP)  # type: ignore[arg-type]
@given(st.lists(STEPS, max_size=20))
def test_the_list_is_as_the_rules_say_after_every_step(sqlite: Database, steps: list[Any]) -> None:
    history = History(sqlite)
    for step in steps:
        history.take(step)
        history.check()


@settings(max_examples=6, **CHEAP)  # type: ignore[arg-type]
@given(st.lists(STEPS, min_size=8, max_size=20))
def test_the_same_facts_give_the_same_order_on_postgresql(
    sqlite: Database, postgresql: Database, steps: list[Any]
) -> None:
    here, there = History(sqlite), History(postgresql)
    for step in steps:
        here.take(step)
        there.take(step)
    assert here.check() == there.check()


def row_of(session: Session, study: Study) -> dict[str, Any]:
    session.flush()
    return {column.name: getattr(study, column.name) for column in Study.__table__.columns}


@settings(max_examples=10, **CHEAP)  # type: ignore[arg-type]
@given(st.lists(STEPS, min_size=3, max_size=10), numbers, st.sampled_from([None, *Urgency]))
@example([("set", 0, None)], 0, Urgency.STAT)  # a class taken back that nobody had set
def test_undo_restores_the_row_exactly(
    sqlite: Database, steps: list[Any], number: int, urgency: Urgency | None
) -> None:
    history = History(sqlite)
    history.take(("arrive", None, False))
    for step in steps:
        history.take(step)
    with sqlite.write() as session:
        study = session.get_one(Study, history.cases[number % len(history.cases)].id)
        before = row_of(session, study)
        placing.set_manual_urgency(session, study, urgency, reason="x", by="eve", targets=TARGETS, at=history.now)
        placing.undo_manual_urgency(session, study, by="eve", targets=TARGETS, at=history.now)
        assert row_of(session, study) == before


@pytest.mark.parametrize("ordered_first", [False, True])
def test_of_two_due_at_once_a_persons_stat_stands_before_the_ais(sqlite: Database, ordered_first: bool) -> None:
    history = History(sqlite)
    for order in (Urgency.STAT, None) if ordered_first else (None, Urgency.STAT):
        history.take(("arrive", order, False))
    history.take(("score", int(ordered_first), Urgency.STAT))
    with sqlite.read() as session:
        first, second = (case.study for case in worklist.list_page(session, Filters(), None, 9).cases)
    assert (first.order_urgency, second.ai_urgency) == (Urgency.STAT, Urgency.STAT)
    assert second.due_at - first.due_at == timedelta(microseconds=1)
    assert first.explanation[-5:] == second.explanation[-5:] == "12:15"


@pytest.mark.parametrize("backwards", [False, True])
def test_a_flood_of_ai_positives_trips_the_breaker_and_drowns_nobody(sqlite: Database, backwards: bool) -> None:
    """Also where the clock is set back day by day: what was analysed last is not what has the latest time."""
    breaker, history = Breaker(), History(sqlite)
    admitted: list[Urgency] = []
    for number in range(75):
        history.now = NOON + timedelta(minutes=-number if backwards else number)
        ordered = Urgency.STAT if number % 10 == 9 else None
        with sqlite.write() as session:
            study = arrive(session, f"n{number}", at=history.now,
                           requested_procedure_priority=PRIORITY[ordered])  # fmt: skip
            score(session, study, [Seen("lesion", 0.1 if number < 25 else 0.9)], at=history.now)
            admitted.append(study.ai_urgency or Urgency.ROUTINE)
            assert study.urgency is (Urgency.STAT if ordered else study.ai_urgency)
    assert set(admitted[:25]) == {Urgency.ROUTINE}
    assert set(admitted[25:]) == {Urgency.STAT, Urgency.URGENT}, "positives still come before routine"
    for end in range(breaker.window, len(admitted) + 1):
        stat = admitted[end - breaker.window : end].count(Urgency.STAT)
        assert stat <= breaker.limit * breaker.window + 1


def test_two_bundles_on_one_study_count_once_for_the_breaker(sqlite: Database) -> None:
    history = History(sqlite)
    with sqlite.write() as session:
        study = arrive(session, "a")
        for bundle in ("one", "two"):
            session.add(type(study.analyses[0])(study=study, revision=1, bundle_name=bundle, queued_at=history.now,
                        scored_at=history.now))  # fmt: skip
        study.ai_urgency = Urgency.STAT
        session.flush()
        assert placing.recent_ai_classes(session, 50) == (1, 1)


def test_a_place_is_where_the_next_page_begins_to_the_microsecond(sqlite: Database) -> None:
    history = History(sqlite)
    for step in (("arrive", None, False), ("arrive", Urgency.STAT, False), ("score", 0, Urgency.STAT)):
        history.take(step)
    with sqlite.read() as session:
        page = worklist.list_page(session, Filters(), None, 1)
        assert isinstance(page.next, Place)
        rest = worklist.list_page(session, Filters(), page.next, 9)
    assert [case.study.id for case in (*page.cases, *rest.cases)] == [history.cases[1].id, history.cases[0].id]
