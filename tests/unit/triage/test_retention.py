"""Which files may go: no state in which somebody may still need them lets them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.retention import AnalysisFacts, CaseFacts, DeliveryFacts, Kept, Mode, RetentionPolicy, may_go
from triage.states import AnalysisStatus, DeliveryStatus, Proof

NOW = datetime(2026, 3, 1, tzinfo=UTC)
POLICY = RetentionPolicy(mode=Mode.ROOM, days=30, minimum_days=7, needs_proof=Proof.READ_BACK)
DELIVERED = DeliveryFacts(status=DeliveryStatus.SENT, proof=Proof.READ_BACK)
TOLD = DeliveryFacts(status=DeliveryStatus.SENT, proof=Proof.ANSWERED, message=True)
ANALYSED = AnalysisFacts(status=AnalysisStatus.SUCCEEDED, objects=2, deliveries=(DELIVERED, DELIVERED))
DONE = CaseFacts(
    complete=True, last_received_at=NOW - timedelta(days=8), files=3, read=True, analyses=(ANALYSED,)
)  # fmt: skip


def kept(facts: CaseFacts, *, short: bool = True, policy: RetentionPolicy = POLICY, now: datetime = NOW) -> Kept | None:
    return may_go(facts, now, policy, short=short).kept


def delivered(**change: object) -> CaseFacts:
    return replace(DONE, analyses=(replace(ANALYSED, deliveries=(DELIVERED, replace(DELIVERED, **change))),))


def test_a_finished_delivered_read_case_goes_when_room_is_short_and_only_then() -> None:
    assert may_go(DONE, NOW, POLICY, short=True).reason == "room was short"
    assert kept(DONE) is None
    assert kept(DONE, short=False) is Kept.ROOM


def test_an_answer_proves_a_message_and_a_superseded_one_keeps_nothing() -> None:
    assert kept(delivered(message=True, proof=Proof.ANSWERED)) is None
    assert kept(delivered(message=True, status=DeliveryStatus.DEAD, proof=None, superseded=True)) is None


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (replace(DONE, files=0), Kept.NOTHING),
        (replace(DONE, complete=False), Kept.RECEIVING),
        (replace(DONE, analyses=()), Kept.OPEN),
        (replace(DONE, analyses=(ANALYSED, AnalysisFacts(status=AnalysisStatus.QUEUED))), Kept.OPEN),
        (replace(DONE, analyses=(AnalysisFacts(status=AnalysisStatus.RUNNING, latest=False), ANALYSED)), Kept.OPEN),
        (replace(DONE, read=False, analyses=(AnalysisFacts(status=AnalysisStatus.FAILED),)), Kept.FAILED),
        (replace(DONE, damaged=True), Kept.DAMAGED),
        (replace(DONE, flags=frozenset({"conflict"})), Kept.FLAGGED),
        (replace(DONE, flags=frozenset({"two_patients", "no_identity"})), Kept.FLAGGED),
        (replace(DONE, flags=frozenset({"a flag of a later version"})), Kept.FLAGGED),
        (replace(DONE, read=False, flags=frozenset({"identity_changed"})), Kept.FLAGGED),
        (delivered(status=DeliveryStatus.PENDING), Kept.OWED),
        (delivered(status=DeliveryStatus.SENDING), Kept.OWED),
        (delivered(awaited=True), Kept.OWED),
        (delivered(status=DeliveryStatus.DEAD), Kept.DEAD),
        (delivered(proof=None), Kept.UNPROVEN),
        (delivered(proof=Proof.ANSWERED), Kept.UNPROVEN),
        (replace(DONE, analyses=(ANALYSED, replace(ANALYSED, deliveries=()))), Kept.NOWHERE),
        (replace(DONE, analyses=(replace(ANALYSED, deliveries=(TOLD,)),)), Kept.NOWHERE),
        (delivered(message=True, status=DeliveryStatus.PENDING), Kept.OWED),
        (delivered(message=True, status=DeliveryStatus.DEAD), Kept.DEAD),
        (replace(DONE, last_received_at=NOW - timedelta(days=6, hours=23)), Kept.YOUNG),
        (replace(DONE, last_received_at=NOW + timedelta(days=1)), Kept.YOUNG),
        (replace(DONE, read=False), Kept.UNREAD),
    ],
)
def test_why_files_stay(facts: CaseFacts, why: Kept) -> None:
    assert kept(facts) is why
    assert kept(facts, policy=replace(POLICY, mode=Mode.AGE, days=7)) in (why, None if why is Kept.UNREAD else why)


@pytest.mark.parametrize(
    "facts",
    [
        replace(DONE, flags=frozenset({"identity_changed", "no_identity"})),
        replace(DONE, analyses=(AnalysisFacts(status=AnalysisStatus.FAILED, latest=False), ANALYSED)),
        replace(DONE, analyses=(AnalysisFacts(status=AnalysisStatus.FAILED),)),
        replace(DONE, analyses=(AnalysisFacts(status=AnalysisStatus.NOT_ANALYSED),)),
        replace(DONE, read=False, last_received_at=NOW - timedelta(days=30)),
        delivered(status=DeliveryStatus.COMMITTED, proof=Proof.COMMITTED),
    ],
)
def test_what_may_go(facts: CaseFacts) -> None:
    assert kept(facts) is None


def test_the_proof_that_suffices_is_the_sites_choice() -> None:
    answered = delivered(proof=Proof.ANSWERED)
    assert kept(answered, policy=replace(POLICY, needs_proof=Proof.ANSWERED)) is None
    assert kept(DONE, policy=replace(POLICY, needs_proof=Proof.COMMITTED)) is Kept.UNPROVEN


def test_by_age_files_go_with_room_to_spare() -> None:
    by_age = replace(POLICY, mode=Mode.AGE)
    old = replace(DONE, last_received_at=NOW - timedelta(days=30))
    assert may_go(old, NOW, by_age, short=False).reason == "older than 30 days"
    assert kept(DONE, short=False, policy=by_age) is Kept.ROOM
    assert kept(old, short=False) is Kept.ROOM
    never = replace(POLICY, mode=Mode.NEVER)
    assert kept(old, policy=never) is Kept.ROOM


def test_removing_starts_before_new_data_is_refused_and_ends_with_a_reserve() -> None:
    assert POLICY.marks(10_000, 100) == (1000, 1200)
    begin, until = POLICY.marks(10_000, 2000)
    assert 2000 < begin < until


deliveries = st.builds(
    DeliveryFacts,
    status=st.sampled_from(DeliveryStatus),
    proof=st.none() | st.sampled_from(Proof),
    awaited=st.booleans(),
)
analyses = st.builds(
    AnalysisFacts,
    status=st.sampled_from(AnalysisStatus),
    latest=st.booleans(),
    objects=st.integers(0, 2),
    deliveries=st.lists(deliveries, max_size=3),
)
cases = st.builds(
    CaseFacts,
    complete=st.booleans(),
    last_received_at=st.timedeltas(timedelta(days=-1), timedelta(days=60)).map(lambda age: NOW - age),
    files=st.integers(0, 3),
    read=st.booleans(),
    flags=st.frozensets(st.sampled_from(["conflict", "identity_changed", "two_patients", "no_identity"]), max_size=2),
    damaged=st.booleans(),
    analyses=st.lists(analyses, max_size=3),
)
policies = st.builds(
    RetentionPolicy,
    mode=st.sampled_from(Mode),
    days=st.floats(0, 60),
    minimum_days=st.floats(0, 30),
    needs_proof=st.sampled_from(Proof),
)


@given(cases, policies, st.booleans())
def test_nothing_goes_that_is_not_analysed_delivered_and_proven(
    facts: CaseFacts, policy: RetentionPolicy, short: bool
) -> None:
    if kept(facts, policy=policy, short=short) is not None:
        return
    assert facts.complete
    assert facts.analyses
    assert all(a.status not in (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING) for a in facts.analyses)
    for analysis in facts.analyses:
        assert analysis.deliveries or not analysis.objects
        for delivery in analysis.deliveries:
            assert delivery.status in (DeliveryStatus.SENT, DeliveryStatus.COMMITTED)
            assert delivery.proof in policy.proofs
    assert not facts.damaged
    assert "conflict" not in facts.flags
    assert facts.read or not facts.flags
    assert policy.mode is not Mode.NEVER
    assert NOW - facts.last_received_at >= timedelta(days=policy.minimum_days)
    assert facts.read or NOW - facts.last_received_at >= timedelta(days=policy.days)
    assert short or policy.mode is Mode.AGE


@given(cases, policies, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_time_alone_never_takes_the_permission_back(
    facts: CaseFacts, policy: RetentionPolicy, later: timedelta
) -> None:
    if kept(facts, policy=policy) is None:
        assert kept(facts, policy=policy, now=NOW + later) is None
