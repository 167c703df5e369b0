"""The completion rule: every verdict has a reason, every wait an end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from triage.completion import CompletionPolicy, StudyFacts, judge

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = CompletionPolicy()


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def facts(**changes: object) -> StudyFacts:
    values: dict[str, object] = {
        "modalities": frozenset({"DX"}),
        "received": 1,
        "expected": None,
        "opened_at": NOON,
        "last_received_at": NOON,
        "last_association_ended_at": NOON,
    }
    return StudyFacts(**(values | changes))  # type: ignore[arg-type]


def test_a_radiograph_is_complete_when_its_sender_has_finished() -> None:
    verdict = judge(facts(), NOON, POLICY)
    assert verdict.complete
    assert verdict.reason == "the sender has finished"


def test_an_open_association_holds_the_study_and_is_named() -> None:
    verdict = judge(facts(open_associations=["CR1", "CR1"], last_association_ended_at=None), NOON, POLICY)
    assert (verdict.complete, verdict.reason) == (False, "CR1 is still sending")


def test_the_announced_number_completes_at_once() -> None:
    ct = facts(modalities=frozenset({"CT"}), received=120, expected=120, open_associations=["CT1"])
    assert judge(ct, NOON, POLICY).reason == "all 120 announced instances are here"


def test_missing_announced_instances_are_counted_in_the_reason() -> None:
    ct = facts(modalities=frozenset({"CT"}), received=119, expected=120)
    assert judge(ct, NOON, POLICY).reason == "1 announced instance missing, waiting for 60 s without a new instance"


def test_a_ct_waits_until_it_is_quiet() -> None:
    ct = facts(modalities=frozenset({"CT", "SR"}))
    assert judge(ct, NOON + seconds(59.9), POLICY).look_at == NOON + seconds(60)
    assert judge(ct, NOON + seconds(60), POLICY).complete


@given(
    st.frozensets(st.sampled_from(["CT", "DX", "CR", "SR", "MR"]), min_size=1),
    st.integers(1, 500),
    st.one_of(st.none(), st.integers(1, 500)),
    st.lists(st.sampled_from(["A", "B"]), max_size=2),
    st.floats(0, 3600),
)
def test_every_wait_has_a_reason_and_an_end(
    modalities: frozenset[str], received: int, expected: int | None, senders: list[str], later: float
) -> None:
    study = facts(modalities=modalities, received=received, expected=expected, open_associations=senders)
    verdict = judge(study, NOON + seconds(later), POLICY)
    assert verdict.reason
    if not verdict.complete:
        assert verdict.look_at is not None
        assert NOON + seconds(later) < verdict.look_at <= NOON + seconds(POLICY.max_open)
        assert judge(study, NOON + seconds(POLICY.max_open), POLICY).complete


@given(st.floats(0, 2000), st.floats(0, 2000))
def test_time_alone_never_takes_completeness_back(one: float, other: float) -> None:
    earlier, later = sorted((one, other))
    study = facts(modalities=frozenset({"CT"}))
    if judge(study, NOON + seconds(earlier), POLICY).complete:
        assert judge(study, NOON + seconds(later), POLICY).complete
