"""Site rules: they only raise, their order says nothing, the same facts give the same answer; and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from triage.errors import SettingsError
from triage.findings import Urgency
from triage.priority import Claims, Targets, place
from triage.rules import CaseFacts, Rule, RuleSet
from triage.settings import load_settings

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)  # a Sunday
BERLIN = "Europe/Berlin"


def facts(**changes: Any) -> CaseFacts:
    said: dict[str, Any] = {
        "modality": "DX", "body_part_examined": "CHEST", "study_description": "Thoraxaufnahme, Bett (ICU)",
        "calling_ae_title": "CR_ICU", "referring_physician_name": "Müller^Anna^^Dr.", "ward": "ICU 2",
        "patient_age": "045Y",
        "received_at": NOON,
    }  # fmt: skip
    return CaseFacts(**said | changes)


def rule(name: str = "one", urgency: Urgency = Urgency.STAT, **conditions: Any) -> Rule:
    return Rule(name=name, urgency=urgency, **conditions)


def holds(conditions: dict[str, Any], about: CaseFacts | None = None) -> bool:
    return RuleSet(rules=(rule(**conditions),), time_zone=BERLIN).claim(about or facts()) is not None


CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "modality": st.lists(st.sampled_from(["CR", "DX", "CT"]), min_size=1, max_size=2),
        "body_part": st.just(["CHEST"]),
        "study_description_words": st.sampled_from([["icu"], ["bedside", "thorax*"]]),
        "calling_ae_title": st.sampled_from([["CR_ICU"], ["CT1"]]),
        "max_age": st.integers(0, 90),
        "hours": st.sampled_from([["17:00-07:00"], ["08:00-16:00"]]),
        "weekdays": st.lists(st.sampled_from(["SAT", "SUN", "MON"]), min_size=1, max_size=2),
    },
).filter(bool)
RULES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from([Urgency.STAT, Urgency.URGENT]), CONDITIONS),
    max_size=5,
    unique_by=lambda made: made[0],
).map(lambda made: tuple(rule(name, urgency, **conditions) for name, urgency, conditions in made))
FACTS = st.builds(
    facts,
    modality=st.sampled_from(["", "CR", "DX", "CT\\SR"]),
    body_part_examined=st.sampled_from(["", "CHEST", "chest "]),
    study_description=st.sampled_from(["", "Bedside chest ICU", "Thorax"]),
    calling_ae_title=st.sampled_from(["CR_ICU", "CT1", "OTHER"]),
    patient_age=st.sampled_from(["", "003M", "045Y", "soon"]),
    received_at=st.integers(0, 14 * 24).map(lambda hours: NOON + timedelta(hours=hours)),
)
CLASSES = st.sampled_from([None, *Urgency])


@given(RULES, FACTS, CLASSES, CLASSES)
def test_a_rule_never_lowers_a_case(
    rules: tuple[Rule, ...], case: CaseFacts, order: Urgency | None, ai: Urgency | None
) -> None:
    claim = RuleSet(rules=rules, time_zone=BERLIN).claim(case)
    without = place(Claims(order=order, ai=ai), NOON, Targets())
    with_it = place(
        Claims(
            order=order,
            ai=ai,
            rule=claim.urgency if claim else None,
            rule_reason=claim.reason if claim else "",
        ),
        NOON,
        Targets(),
    )
    assert (with_it.tier, with_it.due_at) <= (without.tier, without.due_at)
    if with_it.urgency is not without.urgency:
        assert claim is not None
        assert with_it.explanation.startswith(claim.reason)


@given(RULES, FACTS, st.randoms(use_true_random=False))
def test_the_order_of_rules_says_nothing(rules: tuple[Rule, ...], case: CaseFacts, random: Any) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)
    one, other = RuleSet(rules=rules, time_zone=BERLIN), RuleSet(rules=tuple(shuffled), time_zone=BERLIN)
    assert one.claim(case) == other.claim(case) == one.claim(case)  # and the same facts give the same answer
    assert one.digest == other.digest
    claim = one.claim(case)
    matching = [r for r in rules if RuleSet(rules=(r,), time_zone=BERLIN).claim(case)]
    if claim is None:
        assert not matching
        return
    highest = [r.name for r in matching if r.urgency is Urgency.highest(*(m.urgency for m in matching))]
    assert (claim.urgency, claim.rule) == (Urgency.highest(*(m.urgency for m in matching)), min(highest))


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"modality": "dx"}, True),
        ({"modality": ["CR", "CT"]}, False),
        ({"body_part": "chest"}, True),
        ({"study_description": "thoraxaufnahme bett icu"}, True),
        ({"study_description": "Thoraxaufnahme"}, False),
        ({"study_description_words": "Bett ICU"}, True),
        ({"study_description_words": "thorax"}, False),
        ({"study_description_words": "thorax*"}, True),
        ({"study_description_words": "cu"}, False),  # no part of a word
        ({"referring_physician_words": "MÜLLER"}, True),
        ({"ward": ["Surgery", "icu 2"]}, True),
        ({"ward": "ICU"}, False),
        ({"calling_ae_title": ["CR_ER", "CR_ICU"]}, True),
        ({"calling_ae_title": "cr_icu"}, False),  # AE titles are told apart by case, PS3.5 6.2
        ({"min_age": 45, "max_age": 45}, True),
        ({"max_age": 44}, False),
        ({"weekdays": "SUN"}, True),
        ({"weekdays": ["SAT", "MON"]}, False),
        ({"hours": "13:00-13:01"}, True),  # noon in UTC
        ({"hours": "12:00-13:00"}, False),
        ({"hours": ["22:00-06:00", "10:00-24:00"]}, True),
        ({"modality": "DX", "calling_ae_title": "CT1"}, False),  # all have to hold
    ],
)
def test_conditions(conditions: dict[str, Any], expected: bool) -> None:
    assert holds(conditions) is expected


def test_the_reason_is_the_rules_own_words() -> None:
    asked = rule(
        "ICU bedside", calling_ae_title="CR_ICU", modality=["CR", "DX"], max_age=60, study_description_words="icu",
    )  # fmt: skip
    claim = RuleSet(rules=(asked,)).claim(facts())
    assert claim is not None
    assert claim.reason == ("site rule 'ICU bedside': AE title CR_ICU, modality DX, age 0 to 60, description with icu")


@pytest.mark.parametrize(
    ("said", "age"),
    [
        ({"patient_age": "018M"}, 1),
        ({"patient_age": "011M"}, 0),
        ({"patient_age": "", "patient_birth_date": "20100302", "study_date": "20260301"}, 15),
        ({"patient_age": "", "patient_birth_date": "20100301", "study_date": "20260301"}, 16),
        ({"patient_age": "", "patient_birth_date": "20100301"}, 16),  # as of its arrival
        ({"patient_age": "", "patient_birth_date": "20300101", "study_date": "20260301"}, None),
        ({"patient_age": "45", "patient_birth_date": "2010"}, None),
    ],
)
def test_age(said: dict[str, Any], age: int | None) -> None:
    assert facts(**said).age == age


def test_what_a_case_does_not_say_matches_nothing() -> None:
    silent = CaseFacts(received_at=NOON)
    for condition in (
        {"modality": "DX"}, {"body_part": "CHEST"}, {"study_description_words": "a*"}, {"max_age": 150},
        {"referring_physician_words": "a*"}, {"calling_ae_title": "A"}, {"study_description": "a"},
    ):  # fmt: skip
        assert not holds(condition, silent)


def test_hours_follow_the_clock_of_the_site_through_summer_time() -> None:
    for at, expected in ((datetime(2026, 3, 28, 16, 30, tzinfo=UTC), True), (NOON.replace(month=7, hour=16), True)):
        assert holds({"hours": "17:30-18:31"}, facts(received_at=at)) is expected
    assert not holds({"hours": "17:30-18:31"}, facts(received_at=NOON.replace(month=7, hour=17)))


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ({}, "no condition"),
        ({"urgency": "ROUTINE", "modality": "CR"}, "only raise"),
        ({"modality": "chest x-ray"}, "no modality"),
        ({"study_description_words": "***"}, "no letter or digit"),
        ({"calling_ae_title": "MUCH TOO LONG A TITLE"}, "AE title"),
        ({"hours": "7-17"}, "no span"),
        ({"hours": "07:00-07:00"}, "empty"),
        ({"weekdays": "SONNTAG"}, "weekdays"),
        ({"min_age": 16, "max_age": 15}, "min_age"),
        ({"station": "CR1"}, "station"),
        ({"modality": "CR", "name": "two\nlines"}, "name"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(conditions: dict[str, Any], names: str) -> None:
    with pytest.raises(ValidationError, match=names):
        Rule.model_validate({"name": "one", "urgency": "STAT"} | conditions)


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("FIRSTREAD_CONFIG", "FIRSTREAD_RULES", "FIRSTREAD_TIME_ZONE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "firstread.toml"


ICU = '[[rules]]\nname = "ICU"\nurgency = "STAT"\ncalling_ae_title = ["CR_ICU"]\n'
NIGHT = '[[rules]]\nname = "Night"\nurgency = "URGENT"\nhours = ["17:00-07:00"]\nweekdays = ["FRI"]\n'


def test_rules_are_tables_of_the_settings_and_reach_child_processes(
    configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration.write_text(f'time_zone = "{BERLIN}"\n{ICU}{NIGHT}')
    settings = load_settings()
    assert [(one.name, one.urgency) for one in settings.site_rules.rules] == [
        ("ICU", Urgency.STAT),
        ("Night", Urgency.URGENT),
    ]
    configuration.unlink()
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings().site_rules == settings.site_rules


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (NIGHT, "rule Night has hours or weekdays: set time_zone"),
        (f'time_zone = "Europe/Atlantis"\n{NIGHT}', "time_zone Europe/Atlantis"),
        ('time_zone = "../../etc/passwd"\n', "time_zone"),
        (ICU + ICU.replace("ICU", "icu", 1), "more than one is named"),
        (ICU + 'floor = "7"\n', r"unknown setting rules\.0\.floor"),
        (ICU + 'ward = "-"\n', r"rules\.0\.ward.*no letter or digit"),
        (ICU.replace("STAT", "ROUTINE"), r"rules\.0\.urgency: a rule can only raise"),
        ("rules = 3\n", "rules"),
    ],
)
def test_settings_say_which_rule_is_wrong(configuration: Path, text: str, says: str) -> None:
    configuration.write_text(text)
    with pytest.raises(SettingsError, match=says):
        load_settings()
