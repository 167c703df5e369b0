"""The order of the list: properties that must hold for every history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from triage.findings import Urgency
from triage.priority import Breaker, Claims, Targets, place

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
TARGETS = Targets()
maybe_class = st.one_of(st.none(), st.sampled_from(Urgency))
arrivals = st.integers(0, 100_000).map(lambda seconds: MIDNIGHT + timedelta(seconds=seconds))
claims = st.builds(Claims, order=maybe_class, rule=maybe_class, ai=maybe_class, ai_reason=st.just("AI"))


@given(claims, arrivals)
def test_the_ai_never_lowers_a_case(claim: Claims, arrived: datetime) -> None:
    without = place(Claims(order=claim.order, rule=claim.rule), arrived, TARGETS)
    with_ai = place(claim, arrived, TARGETS)
    assert (with_ai.tier, with_ai.due_at) <= (without.tier, without.due_at)


@given(claims, arrivals, st.sampled_from(Urgency))
def test_a_persons_class_wins_over_everything(claim: Claims, arrived: datetime, urgency: Urgency) -> None:
    manual = Claims(
        order=claim.order, rule=claim.rule, ai=claim.ai, manual=urgency, manual_by="dr", manual_reason="seen"
    )
    placement = place(manual, arrived, TARGETS)
    assert placement.urgency is urgency
    assert placement.explanation.startswith("set by dr: seen")


@given(claims, arrivals)
def test_nobody_below_stat_waits_behind_a_case_that_came_after_its_due_time(claim: Claims, arrived: datetime) -> None:
    waiting = place(claim, arrived, TARGETS)
    newcomer = place(Claims(order=Urgency.URGENT), waiting.due_at + timedelta(seconds=1), TARGETS)
    assert (waiting.tier, waiting.due_at) < (newcomer.tier, newcomer.due_at)


@given(st.lists(st.tuples(claims, arrivals), min_size=2, max_size=20))
def test_stat_stands_first_and_the_rest_by_due_time(cases: list[tuple[Claims, datetime]]) -> None:
    order = sorted((place(c, a, TARGETS) for c, a in cases), key=lambda p: (p.tier, p.due_at))
    ranks = [p.urgency is Urgency.STAT for p in order]
    assert ranks == sorted(ranks, reverse=True)
    rest = [p.due_at for p in order if p.urgency is not Urgency.STAT]
    assert rest == sorted(rest)


@given(claims, arrivals)
def test_the_explanation_names_class_and_due_time(claim: Claims, arrived: datetime) -> None:
    placement = place(claim, arrived, TARGETS)
    assert placement.explanation.endswith(f"→ {placement.urgency}; due {placement.due_at:%H:%M}")


@given(st.integers(0, 50), st.integers(0, 50))
def test_the_breaker_turns_a_flood_of_ai_stat_into_urgent_and_nothing_else(stat: int, analysed: int) -> None:
    breaker = Breaker(limit=0.4, minimum=20)
    flooded = analysed >= 20 and stat > 0.4 * analysed
    assert breaker.admit(Urgency.STAT, stat_by_ai=stat, analysed=analysed) is (
        Urgency.URGENT if flooded else Urgency.STAT
    )
    assert breaker.admit(Urgency.ROUTINE, stat_by_ai=stat, analysed=analysed) is Urgency.ROUTINE
