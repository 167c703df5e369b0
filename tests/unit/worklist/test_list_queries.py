"""The reading list's queries: order, pages, filters, cost, and a reader's steps."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session
from worklist_rows import NOON, Seen, arrive, decline, score

from triage.errors import NotFoundError, StateError
from triage.findings import NotAnalysedReason, Urgency
from triage.repositories import analyses, requests, worklist
from triage.repositories.list_query import Filters, Place, page_query
from triage.states import AnalysisStatus, ReadingStatus, StudyStatus
from triage.tables import Event, Study

ANY_ROW = st.tuples(
    st.sampled_from([0, 1]),  # tier
    st.integers(0, 5),  # due, in minutes: collisions wanted
    st.sampled_from(list(ReadingStatus)),
)


def _listed(session: Session, filters: Filters | None = None) -> list[str]:
    page = worklist.list_page(session, filters or Filters(), None, 200)
    return [case.study.patient_name.partition("^")[0] for case in page.cases]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ANY_ROW, max_size=25), limit=st.integers(1, 9), everything=st.booleans())
def test_pages_put_together_are_the_whole_order(house: Any, rows: list[Any], limit: int, everything: bool) -> None:
    with house.database.write() as session:
        session.execute(sa.delete(Study))
        for number, (tier, due, reading) in enumerate(rows):
            session.add(_bare_study(number, tier, NOON + timedelta(minutes=due), reading))
    filters = Filters(everything=everything)
    with house.database.read() as session:
        expected = [
            study.id
            for study in sorted(session.scalars(sa.select(Study)), key=lambda s: (s.tier, s.due_at, s.id))
            if everything or study.reading_status is not ReadingStatus.READ
        ]
        paged: list[int] = []
        after: Place | None = None
        for _ in range(len(rows) + 1):
            page = worklist.list_page(session, filters, after, limit)
            assert len(page.cases) <= limit
            paged += [case.study.id for case in page.cases]
            after = page.next
            if after is None:
                break
    assert paged == expected


def test_the_open_list_walks_its_partial_index_without_sorting(house: Any) -> None:
    """Also from the middle of the list: the cost of a page does not depend on how much was read before."""
    for after in (None, Place(1, NOON, 7)):
        query = page_query(Filters(), after, 50).compile(
            dialect=house.database.engine.dialect, compile_kwargs={"literal_binds": True}
        )
        with house.database.engine.connect() as connection:
            plan = " | ".join(row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}"))
        assert "USING INDEX ix_studies_open_order" in plan
        assert "TEMP B-TREE" not in plan


def test_a_page_costs_the_same_queries_for_two_cases_and_for_twenty(house: Any) -> None:
    costs = []
    for number in (2, 20):
        with house.database.write() as session:
            for index in range(number):
                score(session, arrive(session, f"n{number}x{index}"), [Seen("pneumothorax", 0.9)])
        with house.database.read() as session:
            costs.append(_statements(session, lambda: worklist.list_page(session, Filters(), None, 200)))
    assert costs[0] == costs[1] == 4


def test_a_case_in_full_costs_the_same_queries_for_one_image_and_for_ten(house: Any) -> None:
    costs = []
    for number in (1, 10):
        with house.database.write() as session:
            study = arrive(session, f"n{number}", count=number)
            score(session, study, [Seen("pneumothorax", 0.9), Seen("nodule", 0.1)])
            uid = study.study_instance_uid
        with house.database.read() as session:
            costs.append(_statements(session, partial(worklist.case_by_uid, session, uid)))
    assert costs[0] == costs[1]


def test_stat_first_then_by_due_time_so_an_old_routine_overtakes_a_fresh_urgent(house: Any) -> None:
    with house.database.write() as session:
        arrive(session, "routine", at=NOON - timedelta(minutes=100))
        urgent = arrive(session, "urgent", at=NOON)
        score(session, urgent, [Seen("pleural_effusion", 0.9, urgency=Urgency.URGENT)])
        stat = arrive(session, "stat", at=NOON + timedelta(minutes=1))
        score(session, stat, [Seen("pneumothorax", 0.9)])
        assert _listed(session) == ["STAT", "ROUTINE", "URGENT"]


def test_filters(house: Any) -> None:
    with house.database.write() as session:
        stat = arrive(session, "anna")
        score(session, stat, [Seen("pneumothorax", 0.9)])
        arrive(session, "berta", at=NOON + timedelta(minutes=1), modality="CT", study_description="Head 100%")
        read = arrive(session, "clara", at=NOON + timedelta(minutes=2))
        worklist.mark_read(session, read, who="x", at=NOON)
        claimed = arrive(session, "dora", at=NOON + timedelta(minutes=3), modality="CR")
        worklist.claim(session, claimed, who="x", at=NOON)

        assert _listed(session) == ["ANNA", "BERTA", "DORA"]
        assert _listed(session, Filters(everything=True)) == ["ANNA", "BERTA", "CLARA", "DORA"]
        assert _listed(session, Filters(reading=ReadingStatus.READ)) == ["CLARA"]
        assert _listed(session, Filters(reading=ReadingStatus.CLAIMED)) == ["DORA"]
        assert _listed(session, Filters(status=StudyStatus.RECEIVING)) == ["BERTA"]
        assert _listed(session, Filters(urgency=Urgency.STAT)) == ["ANNA"]
        assert _listed(session, Filters(modality="CT")) == ["BERTA"]
        assert _listed(session, Filters(modality="C")) == []
        assert _listed(session, Filters(q="P-dora")) == ["DORA"]
        assert _listed(session, Filters(q="berta^")) == ["BERTA"]
        assert _listed(session, Filters(q="100%")) == ["BERTA"]
        assert _listed(session, Filters(q="p-dora DORA")) == _listed(session, Filters(q="dora p-dora")) == ["DORA"]
        assert _listed(session, Filters(q="dora berta")) == []
        assert _listed(session, Filters(q="%")) == ["BERTA"]  # a percent sign, not "anything"
        assert _listed(session, Filters(q=stat.study_instance_uid)) == ["ANNA"]


def test_filters_of_who_what_and_when(house: Any) -> None:
    with house.database.write() as session:
        found = arrive(session, "anna", body_part_examined="CHEST")
        score(session, found, [Seen("pneumothorax", 0.9), Seen("nodule", 0.2)])
        later = arrive(session, "berta", at=NOON + timedelta(minutes=1), body_part_examined="LCHEST")
        score(session, later, [Seen("pneumothorax", 0.9)])
        analyses.request(session, later, at=NOON + timedelta(minutes=2), who="x")
        session.flush()
        score(session, later, [Seen("pneumothorax", 0.1)], at=NOON + timedelta(minutes=3))
        claimed = arrive(session, "clara", at=NOON + timedelta(minutes=5), modality="CT")
        claimed.calling_ae_title = "CT_ER"
        worklist.claim(session, claimed, who="x", at=NOON)

        assert _listed(session, Filters(reader="x")) == ["CLARA"]
        assert _listed(session, Filters(body_part="chest")) == ["ANNA", "BERTA"]
        assert _listed(session, Filters(calling_ae_title="CT_ER")) == ["CLARA"]
        assert _listed(session, Filters(positive=True)) == ["ANNA"], "what a later look took back is not shown either"
        assert _listed(session, Filters(finding="pneumothorax")) == ["ANNA"]
        assert _listed(session, Filters(finding="Thorax")) == ["ANNA"]
        assert _listed(session, Filters(finding="nodule")) == [], "looked for and not found"
        assert _listed(session, Filters(due_before=NOON + timedelta(minutes=16))) == ["ANNA"]
        assert _listed(session, Filters(received_before=NOON + timedelta(minutes=1))) == ["ANNA", "BERTA"]


def test_what_is_positive_is_found_among_read_cases_too_by_an_index(house: Any) -> None:
    with house.database.write() as session:
        for name, value in (("anna", 0.9), ("berta", 0.1)):
            study = arrive(session, name)
            score(session, study, [Seen("pleural_effusion", value), Seen("nodule", 0.1)])
            worklist.mark_read(session, study, who="x", at=NOON)
        assert _listed(session, Filters(everything=True, finding="EFFUSION")) == ["ANNA"]
        assert _listed(session, Filters(reading=ReadingStatus.READ, positive=True)) == ["ANNA"]
        assert _listed(session, Filters(everything=True, finding="^")) == []
        query = page_query(Filters(everything=True, finding="x"), None, 50).compile(
            dialect=house.database.engine.dialect, compile_kwargs={"literal_binds": True}
        )
        plan = " | ".join(row[-1] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {query}"))
    assert "USING INDEX ix_studies_positives" in plan
    assert "TEMP B-TREE" not in plan


def test_wards_are_found_in_any_case_and_searched(house: Any) -> None:
    with house.database.write() as session:
        arrive(session, "anna", ward="ICU 1")
        told = arrive(session, "berta", at=NOON + timedelta(minutes=1))
        told.order_ward = "icu 2"
        both = arrive(session, "clara", at=NOON + timedelta(minutes=2), ward="Surgery 100%")
        both.order_ward = "ICU 9"
        session.flush()
        arrive(session, "dora", at=NOON + timedelta(minutes=3))
        assert _listed(session, Filters(ward="Icu")) == ["ANNA", "BERTA"], "of two the one that is shown"
        assert _listed(session, Filters(ward="0%")) == ["CLARA"]
        assert _listed(session, Filters(q="icu")) == ["ANNA", "BERTA"]
        worklist.mark_read(session, told, who="x", at=NOON)
        assert _listed(session, Filters(ward="icu 2")) == []
        assert _listed(session, Filters(ward="icu 2", everything=True)) == ["BERTA"]
        assert _listed(session, Filters(ward="icu 2", q="berta", everything=True)) == ["BERTA"]
        assert _listed(session, Filters(ward="surgery", q="berta", everything=True)) == []


def test_the_version_of_a_listed_case_is_that_of_its_latest_event(house: Any) -> None:
    with house.database.write() as session:
        studies = [arrive(session, name) for name in ("anna", "berta")]
        worklist.claim(session, studies[0], who="x", at=NOON)
        listed = worklist.list_page(session, Filters(), None, 10).cases
        assert [case.version for case in listed] == [requests.version(session, study) for study in studies]


def test_one_of_two_modalities_is_found(house: Any) -> None:
    with house.database.write() as session:
        arrive(session, "both", modality="CR")
        arrive(session, "both", modality="CT", at=NOON + timedelta(seconds=1))
        for modality in ("CR", "CT"):
            assert _listed(session, Filters(modality=modality)) == ["BOTH"]


def test_the_highest_score_over_the_images_is_listed(house: Any) -> None:
    with house.database.write() as session:
        study = arrive(session, "two", count=2)
        analysis = score(session, study, [Seen("pneumothorax", 0.2)])
        analysis.images[1].findings[0].value = 0.9
        session.flush()
        case = worklist.listed_case(session, study)
    assert [finding.value for finding in case.findings] == [0.9]


def test_findings_stay_until_a_later_revision_is_scored(house: Any) -> None:
    with house.database.write() as session:
        study = arrive(session, "again")
        score(session, study, [Seen("pneumothorax", 0.9)])
        analyses.request(session, study, at=NOON + timedelta(minutes=1), who="x")
        session.flush()
        waiting = worklist.listed_case(session, study)
        score(session, study, [Seen("pneumothorax", 0.3)], at=NOON + timedelta(minutes=2))
        done = worklist.listed_case(session, study)
    assert (waiting.analysis_status, waiting.findings_revision) == (AnalysisStatus.QUEUED, 1)
    assert waiting.findings[0].value == 0.9
    assert (done.analysis_status, done.findings_revision) == (AnalysisStatus.SUCCEEDED, 2)
    assert done.findings[0].value == 0.3


def test_not_analysed_says_why(house: Any) -> None:
    with house.database.write() as session:
        study = arrive(session, "hand")
        decline(session, study, NotAnalysedReason.UNSUPPORTED_BODY_PART, "HAND")
        case = worklist.listed_case(session, study)
    assert case.analysis_status is AnalysisStatus.NOT_ANALYSED
    assert case.analysis_reason == "no model for this body part: HAND"
    assert case.findings == []


def test_open_counts_leave_out_what_is_read(house: Any) -> None:
    with house.database.write() as session:
        worklist.mark_read(session, arrive(session, "a"), who="x", at=NOON)
        arrive(session, "b")
        session.flush()
        assert worklist.open_counts(session) == {Urgency.STAT: 0, Urgency.URGENT: 0, Urgency.ROUTINE: 1}


def test_a_readers_steps_are_kept_in_the_audit_trail(house: Any) -> None:
    with house.database.write() as session:
        study = arrive(session, "steps")
        worklist.claim(session, study, who="ada", at=NOON)
        worklist.claim(session, study, who="ada", at=NOON)  # again: no second event
        with pytest.raises(StateError, match="ada has claimed"):
            worklist.claim(session, study, who="bob", at=NOON)
        with pytest.raises(StateError, match="ada has claimed"):
            worklist.mark_read(session, study, who="bob", at=NOON)
        worklist.release(session, study, who="bob", at=NOON)
        assert study.reader == ""
        worklist.mark_read(session, study, who="bob", at=NOON)
        with pytest.raises(StateError):
            worklist.claim(session, study, who="ada", at=NOON)
        worklist.release(session, study, who="ada", at=NOON)
        with pytest.raises(StateError):
            worklist.release(session, study, who="ada", at=NOON)
        session.flush()
        told = session.execute(sa.select(Event.kind, Event.who).where(Event.kind.startswith("case_"))).all()
    assert [tuple(row) for row in told] == [
        ("case_claimed", "ada"),
        ("case_released", "bob"),
        ("case_read", "bob"),
        ("case_reopened", "ada"),
    ]


def test_unknown_studies_and_instances_are_not_found(house: Any) -> None:
    with house.database.read() as session:
        for ask in (worklist.study_by_uid, worklist.case_by_uid):
            with pytest.raises(NotFoundError):
                ask(session, "1.2.3")
        with pytest.raises(NotFoundError):
            worklist.latest_images(session, "1.2.3", "1.2.3.4")


def _bare_study(number: int, tier: int, due_at: datetime, reading: ReadingStatus) -> Study:
    return Study(
        study_instance_uid=f"1.2.{number}", opened_at=NOON, received_at=NOON, last_received_at=NOON,
        tier=tier, due_at=due_at, reading_status=reading,
    )  # fmt: skip


def _statements(session: Session, ask: Any) -> int:
    session.connection()
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    engine = session.get_bind()
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    return len(seen)
