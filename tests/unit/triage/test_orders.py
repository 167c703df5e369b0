"""Orders: what a priority means, and that studies feel it whichever comes first, on both ways into the tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session
from worklist_rows import NOON, RULES, Seen, arrive, score

from triage.database import Database
from triage.findings import Urgency
from triage.identifiers import derive_uid
from triage.instances import Arrival, InstanceHeader, Received, StoredFile
from triage.orders import OrderSource, PlacedOrder, is_of, urgency_of
from triage.priority import Targets
from triage.repositories import orders, placing, worklist
from triage.repositories.recorder import Recorder
from triage.rules import Rule, RuleSet
from triage.tables import Event, Study


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'orders.sqlite'}")
    made.migrate()
    yield made
    made.dispose()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.write() as opened:
        yield opened


def ordered(accession: str, urgency: Urgency | None = Urgency.STAT, **said: Any) -> PlacedOrder:
    usual = {"source": OrderSource.HL7, "sender": "RIS|HOSP", "number": accession, "patient_ids": (), "priority": "S"}
    return PlacedOrder(**{**usual, "accession_number": accession, "urgency": urgency, **said})


def record(session: Session, placed: PlacedOrder) -> None:
    orders.record(session, [placed], Targets(), at=NOON)


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        ("S", Urgency.STAT), ("stat ", Urgency.STAT), ("A", Urgency.URGENT), ("T", Urgency.URGENT),
        ("TM30", Urgency.URGENT), ("TD2", Urgency.ROUTINE), ("R", Urgency.ROUTINE), ("HIGH", Urgency.URGENT),
        ("", None), ("7", None), ("STATISTICS", None), ("STAT", Urgency.STAT), ("high ", Urgency.URGENT),
        ("LOW", Urgency.ROUTINE), ("MEDIUM", Urgency.ROUTINE), ("soon", None),
    ],
)  # fmt: skip
def test_a_priority_means_a_class_or_nothing(priority: str, expected: Urgency | None) -> None:
    assert urgency_of(priority) is expected


def test_a_sites_own_codes_win() -> None:
    assert urgency_of("r", {"R": Urgency.STAT}) is Urgency.STAT
    assert urgency_of("7", {"7": Urgency.URGENT}) is Urgency.URGENT


def test_only_another_named_patient_is_another_one() -> None:
    assert is_of("P-1", ())
    assert is_of("", ("P-2",))
    assert is_of("p-1", ("X", "P-1 "))
    assert is_of("UNKNOWN", ("P-2",)), "an emergency that nobody knows yet"
    assert is_of("P-1", ("000000",))
    assert not is_of("P-1", ("P-2",))


def test_an_order_moves_the_study_that_is_here(session: Session) -> None:
    study = arrive(session, "keller")
    record(session, ordered("A-keller"))
    assert (study.order_urgency, study.urgency) == (Urgency.STAT, Urgency.STAT)
    assert study.explanation == "ordered STAT → STAT; due 12:15"
    assert session.query(Event).filter_by(kind="order_claimed").one().detail["sender"] == "RIS|HOSP"


def test_an_order_waits_for_its_study(session: Session) -> None:
    record(session, ordered("A-keller"))
    study = arrive(session, "keller")
    assert (study.urgency, study.tier) == (Urgency.STAT, 0)


def test_the_quick_way_into_the_tables_knows_orders_too(database: Database) -> None:
    with database.write() as session:
        record(session, ordered("A-1", Urgency.URGENT))
    recorder = Recorder(RULES)
    with database.transaction() as connection:
        recorder(connection, [_received("1"), _received("2")])
    with database.read() as session:
        urgencies = {study.accession_number: study.urgency for study in session.query(Study)}
    assert urgencies == {"A-1": Urgency.URGENT, "A-2": Urgency.ROUTINE}


def test_an_order_for_a_number_that_comes_with_a_later_image(session: Session) -> None:
    record(session, ordered("A-late"))
    study = arrive(session, "late", accession_number="")
    assert study.urgency is Urgency.ROUTINE
    arrive(session, "late", accession_number="A-late", at=NOON + timedelta(minutes=1))
    assert study.urgency is Urgency.STAT


def test_the_header_and_the_order_are_two_claims(session: Session) -> None:
    study = arrive(session, "keller", requested_procedure_priority="HIGH")
    record(session, ordered("A-keller"))
    assert study.order_urgency is Urgency.STAT
    record(session, ordered("A-keller", cancelled=True))
    assert (study.header_urgency, study.order_urgency) == (Urgency.URGENT, Urgency.URGENT)


def test_a_cancelled_order_takes_only_its_own_claim_away(session: Session) -> None:
    study = arrive(session, "keller")
    record(session, ordered("A-keller"))
    score(session, study, [Seen("pneumothorax", 0.94)])
    record(session, ordered("A-keller", cancelled=True))
    assert study.order_urgency is None
    assert study.urgency is Urgency.STAT  # the AI found something
    placing.set_manual_urgency(session, study, Urgency.ROUTINE, reason="", by="dr", targets=Targets(), at=NOON)
    record(session, ordered("A-keller", digest="again"))
    assert study.urgency is Urgency.ROUTINE  # and a person wins over both


def test_an_order_of_another_patient_claims_nothing_and_is_flagged(session: Session) -> None:
    study = arrive(session, "keller")
    record(session, ordered("A-keller", patient_ids=("P-somebody",)))
    assert (study.order_urgency, study.flags) == (None, ["order_mismatch"])
    record(session, ordered("A-keller", patient_ids=("P-keller",)))
    assert (study.order_urgency, study.flags) == (Urgency.STAT, [])


def test_a_message_again_says_nothing_new(session: Session) -> None:
    study = arrive(session, "keller")
    record(session, ordered("A-keller", digest="first"))
    record(session, ordered("A-keller", cancelled=True, digest="second"))
    record(session, ordered("A-keller", digest="first"))  # a queue that was set back
    assert study.order_urgency is None
    assert session.query(Event).filter(Event.kind.startswith("order_")).count() == 2


def test_an_order_that_changes_its_number_leaves_the_other_study(session: Session) -> None:
    first, second = arrive(session, "first"), arrive(session, "second")
    record(session, ordered("A-first", number="O1"))
    record(session, ordered("A-second", number="O1"))
    assert (first.order_urgency, second.order_urgency) == (None, Urgency.STAT)


def test_a_case_that_is_read_stays_as_it_was(session: Session) -> None:
    study = arrive(session, "keller")
    worklist.mark_read(session, study, who="dr", at=NOON)
    record(session, ordered("A-keller"))
    assert study.urgency is Urgency.ROUTINE


def test_what_was_written_side_by_side_is_found_a_moment_later(session: Session) -> None:
    study = arrive(session, "keller")
    record(session, ordered("A-keller"))
    study.order_urgency = None  # as if the order had not been visible yet
    assert orders.apply_to_studies(session, orders.recent(session, NOON), Targets(), at=NOON) == 1
    assert study.order_urgency is Urgency.STAT
    assert orders.apply_to_studies(session, orders.recent(session, NOON), Targets(), at=NOON) == 0


_SAID = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from([*Urgency, None]), st.booleans()), min_size=1, max_size=6
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_SAID, st.integers(0, 6), st.sampled_from(["", "HIGH", "STAT"]))
def test_the_claim_is_the_highest_that_stands_whatever_came_first(
    database: Database, said: list[tuple[str, Urgency | None, bool]], arrives_after: int, header: str
) -> None:
    with database.write() as session:
        name = f"case{session.query(Study).count()}"
        for step in range(len(said) + 1):
            if step == min(arrives_after, len(said)):
                study = arrive(session, name, requested_procedure_priority=header)
            if step < len(said):
                number, urgency, cancelled = said[step]
                record(session, ordered(f"A-{name}", urgency, number=f"{name}{number}", cancelled=cancelled))
        named: dict[str, Urgency] = {}
        for number, urgency, _ in said:
            named |= {} if urgency is None else {number: urgency}  # an empty priority leaves it
        stands = {number: not cancelled for number, _, cancelled in said}
        claims = [urgency for number, urgency in named.items() if stands[number]]
        claims += [claim for claim in (urgency_of(header),) if claim is not None]
        assert study.order_urgency is (Urgency.highest(*claims) if claims else None)


def _received(name: str) -> Received:
    sop_uid = derive_uid("instance", name)
    header = InstanceHeader(
        study_instance_uid=derive_uid("study", name), series_instance_uid=derive_uid("series", name),
        sop_instance_uid=sop_uid, sop_class_uid="1.2", modality="CR", patient_id=f"P-{name}",
        accession_number=f"A-{name}",
    )  # fmt: skip
    stored = StoredFile(relative_path=name, digest=name, size=1, transfer_syntax_uid="1.2.840.10008.1.2.1")
    arrival = Arrival(
        received_at=NOON, association_uid="2.25.7", calling_ae_title="CR1", called_ae_title="FIRSTREAD",
        peer_address="127.0.0.1",
    )  # fmt: skip
    return Received(header=header, stored=stored, arrival=arrival)


def test_an_order_says_where_the_patient_is_and_the_images_know_better(session: Session) -> None:
    record(session, ordered("A-keller", ward="Surgery 3", number="1", digest="1"))
    study = arrive(session, "keller")
    assert (study.ward, study.order_ward) == ("", "Surgery 3")
    assert "surgery 3" in study.search_text
    record(session, ordered("A-keller", number="1", digest="2"))
    assert study.order_ward == "Surgery 3", "what is said later without a ward leaves it"
    record(session, ordered("A-keller", ward="ICU 1", number="1", digest="3"))
    arrive(session, "keller", at=NOON + timedelta(minutes=1), ward="Emergency")
    arrive(session, "keller", at=NOON + timedelta(minutes=2))
    assert (study.ward, study.order_ward) == ("Emergency", "ICU 1"), "an image without a ward does not blank it"
    assert "emergency" in study.search_text
    assert "icu" not in study.search_text
    told = [event.detail["ward"] for event in session.query(Event).filter_by(kind="ward_ordered").order_by(Event.id)]
    assert told == ["Surgery 3", "ICU 1"]


def test_an_order_of_another_patient_tells_no_ward(session: Session) -> None:
    study = arrive(session, "keller")
    record(session, ordered("A-keller", ward="ICU 1", patient_ids=("P-somebody",)))
    assert study.order_ward == ""


def test_of_two_orders_the_one_that_changed_last_says_where(session: Session) -> None:
    study = arrive(session, "keller")
    later = NOON + timedelta(minutes=5)
    record(session, ordered("A-keller", ward="Surgery 3", number="1"))
    orders.record(session, [ordered("A-keller", ward="ICU 1", number="2")], Targets(), at=later)
    record(session, ordered("A-keller", cancelled=True, number="3"))
    assert study.order_ward == "ICU 1"
    orders.record(session, [ordered("A-keller", cancelled=True, number="2")], Targets(), at=later)
    assert study.order_ward == "Surgery 3"


def test_what_is_said_later_without_a_priority_leaves_it(session: Session) -> None:
    study = arrive(session, "keller")
    record(session, ordered("A-keller", digest="1"))
    record(session, ordered("A-keller", None, priority="", digest="2"))
    record(session, ordered("A-keller", None, priority="9?", digest="3"))
    assert study.urgency is Urgency.STAT
    record(session, ordered("A-keller", Urgency.ROUTINE, priority="R", digest="4"))
    assert study.urgency is Urgency.ROUTINE


def test_a_case_that_is_opened_again_hears_what_was_ordered_meanwhile(session: Session) -> None:
    study = arrive(session, "keller")
    worklist.mark_read(session, study, who="dr", at=NOON)
    record(session, ordered("A-keller"))
    worklist.release(session, study, who="dr", at=NOON)
    orders.apply_to_studies(session, [study.accession_number], Targets(), at=NOON)
    assert study.urgency is Urgency.STAT


def test_a_number_that_very_many_studies_have_still_reaches_the_patient_who_was_ordered(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a device sends one accession number for everybody: the oldest of them was meant."""
    monkeypatch.setattr(orders, "MOST_STUDIES", 3)
    studies = [arrive(session, f"s{number}", accession_number="1", patient_id=f"p{number}") for number in range(5)]
    record(session, ordered("1", patient_ids=("P0",)))
    assert [study.order_urgency for study in studies] == [Urgency.STAT, None, None, None, None]
    record(session, ordered("1", Urgency.URGENT, number="2"))  # names nobody: the newest
    claimed = [study.order_urgency for study in studies[2:]]
    assert claimed == [Urgency.URGENT] * 3


def test_site_rules_hear_the_ward_of_an_order_that_comes_after_the_images(session: Session) -> None:
    rules = RuleSet(rules=(Rule(name="ICU", urgency=Urgency.STAT, ward=("ICU 1",)),))
    study = arrive(session, "keller")
    orders.record(session, [ordered("A-keller", None, priority="", ward="ICU 1")], Targets(), at=NOON, rules=rules)
    assert (study.rule_urgency, study.urgency) == (Urgency.STAT, Urgency.STAT)
    assert "ICU" in study.explanation
    orders.record(session, [ordered("A-keller", None, priority="", ward="Surgery")], Targets(), at=NOON, rules=rules)
    assert study.urgency is Urgency.STAT, "what a rule has claimed stands"
    read = arrive(session, "huber")
    worklist.mark_read(session, read, who="dr", at=NOON)
    orders.record(session, [ordered("A-huber", None, priority="", ward="ICU 1")], Targets(), at=NOON, rules=rules)
    assert read.rule_urgency is None
