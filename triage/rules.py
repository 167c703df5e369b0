"""Site rules: what a department knows of its own cases, said as conditions on their facts. Pure.

A rule names a class above ROUTINE and conditions that all have to hold, so it can raise a case and never lower one.
Rules have no order: the highest class that any of them asks for counts, and the first by name explains it. Conditions
are typed values, checked when they are read; nothing in a rule is ever executed.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from enum import StrEnum
from itertools import chain
from typing import Annotated, Any, Final, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from triage.errors import IdentifierError
from triage.findings import Urgency
from triage.identifiers import ae_title

MOST_RULES: Final = 100
_WORD: Final = re.compile(r"[^\W_]+")
_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)", re.ASCII)
_DAY: Final = re.compile(r"(\d{4})(\d\d)(\d\d)", re.ASCII)
_AGE: Final = re.compile(r"(\d{3})([DWMY])", re.ASCII)
_UNITS_OF_A_YEAR: Final = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}

Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Texts = Annotated[tuple[Text, ...], Field(max_length=100)]


class Weekday(StrEnum):
    """In the order of :meth:`datetime.datetime.weekday`."""

    MON = "MON"
    TUE = "TUE"
    WED = "WED"
    THU = "THU"
    FRI = "FRI"
    SAT = "SAT"
    SUN = "SUN"


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseFacts:
    """What rules may ask about a case: the index attributes of its study as received, and how and when it came.

    Attributes
    ----------
    modality : str
        Modalities in Study (0008,0061), separated by backslashes.
    patient_age, patient_birth_date, study_date : str
        AS, DA and DA as the source wrote them.
    received_at : datetime
        UTC, arrival of the first instance.
    ward : str
        As the list shows it: of the images, else of the orders that were there when the case was judged.
    """

    modality: str = ""
    body_part_examined: str = ""
    study_description: str = ""
    calling_ae_title: str = ""
    referring_physician_name: str = ""
    ward: str = ""
    patient_age: str = ""
    patient_birth_date: str = ""
    study_date: str = ""
    received_at: datetime

    @classmethod
    def of(cls, row: Any) -> Self:
        """From anything that has these attributes, and `order_ward`: a row of a study."""
        said = {name: getattr(row, name) for name in FACTS}
        return cls(**said | {"ward": row.ward or row.order_ward})

    @property
    def age(self) -> int | None:
        """Completed years at the time of the study: Patient's Age (0010,1010), else from the birth date; or None."""
        said = _AGE.fullmatch(self.patient_age.strip().upper())
        if said:
            return int(int(said[1]) / _UNITS_OF_A_YEAR[said[2]])
        born, then = _day(self.patient_birth_date), _day(self.study_date) or self.received_at.date()
        if born is None or born > then:
            return None
        return then.year - born.year - ((then.month, then.day) < (born.month, born.day))


FACTS: Final = tuple(field.name for field in fields(CaseFacts))


class Rule(BaseModel):
    """Conditions that all have to hold, each satisfied by any of its values, and the class that a case then gets.

    Text is compared without regard to case and punctuation. A condition on what a case does not say does not hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: Text
    """Shown in the list with each case that the rule raises; no patient data."""
    urgency: Urgency
    """STAT or URGENT."""
    modality: Texts = ()
    """Modality (0008,0060) of any instance of the study."""
    body_part: Texts = ()
    """Body Part Examined (0018,0015)."""
    study_description: Texts = ()
    """Study Description (0008,1030) as a whole."""
    study_description_words: Texts = ()
    """Words in a row that the description has; "thorax*" also takes words that begin so."""
    calling_ae_title: Texts = ()
    """AE title that sent the study's first instance."""
    referring_physician_words: Texts = ()
    """The same as `study_description_words` for Referring Physician's Name (0008,0090)."""
    ward: Texts = ()
    """The ward that the list shows, as a whole: Current Patient Location (0038,0300), else Requesting Service
    (0032,1033), else the order's."""
    min_age: int | None = Field(default=None, ge=0, le=150)
    """In completed years at the time of the study."""
    max_age: int | None = Field(default=None, ge=0, le=150)
    """The same, inclusive: 15 is everybody below 16."""
    hours: Texts = ()
    """"HH:MM-HH:MM" of arrival in the site's time zone, the end not included; may pass midnight."""
    weekdays: Annotated[tuple[Weekday, ...], Field(max_length=7)] = ()
    """MON to SUN, of the moment of arrival in the site's time zone."""

    @field_validator("urgency")
    @classmethod
    def _raises(cls, value: Urgency) -> Urgency:
        if value is Urgency.ROUTINE:
            raise ValueError("a rule can only raise a case: STAT or URGENT")
        return value

    @field_validator(
        "modality", "body_part", "study_description", "study_description_words", "calling_ae_title",
        "referring_physician_words", "ward", "hours", "weekdays", mode="before",
    )  # fmt: skip
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("modality")
    @classmethod
    def _modality(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not re.fullmatch(r"[A-Za-z0-9]{2,16}", one):
                raise ValueError(f"{one} is no modality, such as CR, DX or CT")
        return tuple(one.upper() for one in value)

    @field_validator("body_part", "study_description", "study_description_words", "referring_physician_words", "ward")
    @classmethod
    def _has_words(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not _words(one):
                raise ValueError(f"{one} has no letter or digit to compare")
        return value

    @field_validator("calling_ae_title")
    @classmethod
    def _titles(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(ae_title(one) for one in value)
        except IdentifierError as error:
            raise ValueError(str(error)) from None

    @field_validator("hours")
    @classmethod
    def _spans(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not _HOURS.fullmatch(one):
                raise ValueError(f"{one} is no span of a day such as 17:00-07:00")
            begin, end = _span(one)
            if begin == end:
                raise ValueError(f"{one} is empty; the whole day is 00:00-24:00")
        return value

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.min_age is not None and self.max_age is not None and self.min_age > self.max_age:
            raise ValueError(f"rule {self.name}: min_age is above max_age")
        if all(getattr(self, name) in ((), None) for name in CONDITIONS):
            raise ValueError(f"rule {self.name} has no condition and would raise every case")
        return self

    @property
    def asks_time(self) -> bool:
        """True when the site's time zone matters."""
        return bool(self.hours or self.weekdays)

    def matches(self, facts: CaseFacts, local: datetime) -> str | None:
        """Why the rule holds, in its own words and never in those of the case; None when it does not.

        Parameters
        ----------
        local : datetime
            ``facts.received_at`` in the site's time zone.
        """
        reasons = []
        for reason in self._judgements(facts, local):
            if reason is None:
                return None
            reasons.append(reason)
        return f"site rule '{self.name}': {', '.join(reasons)}"

    def _judgements(self, facts: CaseFacts, local: datetime) -> Iterator[str | None]:
        """For each condition that is set: what satisfied it, None when nothing did."""
        if self.calling_ae_title:
            yield _first("AE title", self.calling_ae_title, facts.calling_ae_title.__eq__)
        if self.modality:
            yield _first("modality", self.modality, facts.modality.upper().split("\\").__contains__)
        if self.weekdays:
            yield _first("on", self.weekdays, tuple(Weekday)[local.weekday()].__eq__)
        if self.hours:
            minute = local.hour * 60 + local.minute
            yield _first("at", self.hours, lambda span: _within(minute, span))
        if self.min_age is not None or self.max_age is not None:
            yield self._judge_age(facts.age)
        if self.body_part:
            part = _words(facts.body_part_examined)
            yield _first("body part", self.body_part, lambda wanted: _words(wanted) == part)
        if self.study_description:
            whole = _words(facts.study_description)
            yield _first("description", self.study_description, lambda wanted: _words(wanted) == whole)
        if self.study_description_words:
            said = _words(facts.study_description)
            yield _first("description with", self.study_description_words, lambda wanted: _occurs(wanted, said))
        if self.referring_physician_words:
            name = _words(facts.referring_physician_name)
            yield _first("referrer", self.referring_physician_words, lambda wanted: _occurs(wanted, name))
        if self.ward:
            ward = _words(facts.ward)
            yield _first("ward", self.ward, lambda wanted: _words(wanted) == ward)

    def _judge_age(self, age: int | None) -> str | None:
        least, most = self.min_age or 0, 150 if self.max_age is None else self.max_age
        if age is None or not least <= age <= most:
            return None
        return f"age {least} to {most}" if self.max_age is not None else f"age from {least}"


CONDITIONS: Final = tuple(name for name in Rule.model_fields if name not in ("name", "urgency"))


@dataclass(frozen=True, slots=True)
class RuleClaim:
    """The class that a rule asks for, and the line that the list shows."""

    urgency: Urgency
    rule: str
    reason: str


class RuleSet(BaseModel):
    """The rules of a site with the time zone that their hours and weekdays are meant in."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rules: Annotated[tuple[Rule, ...], Field(max_length=MOST_RULES)] = ()
    """In any order."""
    time_zone: Annotated[str, Field(max_length=64)] = ""
    """Of the IANA database, such as Europe/Berlin."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        check_rules(self.rules, self.time_zone)
        return self

    def matching(self, facts: CaseFacts) -> list[RuleClaim]:
        """What each rule that holds asks for, the deciding one first."""
        if not self.rules:
            return []
        local = facts.received_at.astimezone(ZoneInfo(self.time_zone or "UTC"))
        found = [(rule, rule.matches(facts, local)) for rule in self.rules]
        claims = [RuleClaim(rule.urgency, rule.name, reason) for rule, reason in found if reason is not None]
        return sorted(claims, key=lambda claim: (claim.urgency.rank, claim.rule))

    def claim(self, facts: CaseFacts) -> RuleClaim | None:
        """The highest class that a rule asks for, explained by the first such rule by name; None when none holds."""
        return next(iter(self.matching(facts)), None)

    @property
    def digest(self) -> str:
        """Equal for rules that say the same, in whatever order; "" for none."""
        if not self.rules:
            return ""
        said = chain((self.time_zone,), sorted(rule.model_dump_json() for rule in self.rules))
        return hashlib.sha256("\n".join(said).encode()).hexdigest()


def check_rules(rules: Sequence[Rule], time_zone: str) -> None:
    """Rules that can stand together.

    Raises
    ------
    ValueError
        A name occurs twice, the time zone is unknown, or a rule asks for the time and there is no time zone.
    """
    names = [rule.name.casefold() for rule in rules]
    for rule in rules:
        if names.count(rule.name.casefold()) > 1:
            raise ValueError(f"rules: more than one is named {rule.name}")
        if rule.asks_time and not time_zone:
            raise ValueError(f"rule {rule.name} has hours or weekdays: set time_zone, such as Europe/Berlin")
    if time_zone:
        try:
            ZoneInfo(time_zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"time_zone {time_zone} is not in the time zone database of this system") from None


def _first(what: str, values: Sequence[str], holds: Callable[[str], bool]) -> str | None:
    return next((f"{what} {value}" for value in values if holds(value)), None)


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _occurs(wanted: str, said: list[str]) -> bool:
    """True when the words of ``wanted`` stand in ``said`` one behind the other."""
    *before, last = _words(wanted)
    begins = wanted.endswith("*")
    return any(
        said[at - len(before) : at] == before and (said[at].startswith(last) if begins else said[at] == last)
        for at in range(len(before), len(said))
    )


def _span(hours: str) -> tuple[int, int]:
    """Minutes of the day, the second one up to 24 * 60."""
    begin, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in hours.split("-"))
    return begin, end


def _within(minute: int, hours: str) -> bool:
    begin, end = _span(hours)
    return begin <= minute < end if begin < end else minute >= begin or minute < end


def _day(text: str) -> date | None:
    """A DA value; None for one that is empty or no day."""
    written = _DAY.fullmatch(text.strip())
    try:
        return date(int(written[1]), int(written[2]), int(written[3])) if written else None
    except ValueError:
        return None
