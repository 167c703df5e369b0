"""From the keys of a query to what decides about a study, a series or an instance (PS3.4 C.2.2.2, Table K.6-1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from unicodedata import normalize

from dicom_node.information_models import (
    ACCESSION_NUMBER,
    PATIENT_ID,
    PATIENT_NAME,
    STEP_DATE,
    STEP_TIME,
    STUDY_DATE,
    STUDY_UID,
    Attribute,
    Facts,
    Here,
    Level,
)
from dicom_node.query_keys import Keys
from dicom_node.store_scp import Answer
from triage.catalogue import Narrowing
from triage.errors import DicomError
from triage.matching import KeyRefusedError, Matcher, matcher_of, span

IDENTIFIER_DOES_NOT_MATCH: Final = 0xA900


class QueryRefusedError(DicomError):
    """A question that cannot be answered; the status and what is said beside it."""

    def __init__(self, status: int, comment: str, offending: int | None = None) -> None:
        super().__init__(comment)
        self.answer = Answer(status, comment, None if offending is None else (offending >> 16, offending & 0xFFFF))


def require_one_value(keys: Keys, tag: int) -> None:
    value = keys.text(tag)
    if not value or any(sign in value for sign in "\\*?"):
        raise QueryRefusedError(IDENTIFIER_DOES_NOT_MATCH, "A unique key of a level above needs one value", tag)


def accepting(keys: Keys, level: Level, here: Here) -> Callable[[Facts], bool]:
    """Whether facts match every key of a level (PS3.4 C.2.2.2)."""
    tests: list[tuple[Attribute, Matcher]] = []
    nested: list[Callable[[Facts], bool]] = []
    combined = level.keys() >= {STEP_DATE, STEP_TIME} and _moments(keys)
    for tag, asked in keys.values.items():
        attribute = level.get(tag)
        if attribute is None or not attribute.matched:
            continue
        if attribute.items is not None:
            if tag in keys.several:
                raise QueryRefusedError(IDENTIFIER_DOES_NOT_MATCH, "A sequence key has one item", tag)
            if isinstance(asked, Keys):
                nested.append(accepting(asked, attribute.items, here))
        elif isinstance(asked, str) and not (combined and tag in (STEP_DATE, STEP_TIME)):
            matcher = _matcher(attribute, asked)
            if matcher is not None:
                tests.append((attribute, matcher))
    if combined:
        nested.append(_between(combined, level, here))

    def accepts(facts: Facts) -> bool:
        return all(matches(attribute.of(facts, here)) for attribute, matches in tests) and all(
            each(facts) for each in nested
        )

    return accepts


def _matcher(attribute: Attribute, asked: str) -> Matcher | None:
    try:
        return matcher_of(attribute.vr, asked)
    except KeyRefusedError:
        comment = f"{attribute.name} cannot have this value"[:64]
        raise QueryRefusedError(IDENTIFIER_DOES_NOT_MATCH, comment, attribute.tag) from None


def _moments(keys: Keys) -> tuple[str, str] | None:
    """First and last moment of a date range and a time range that are one period (PS3.4 Table K.6-1)."""
    date, time = keys.text(STEP_DATE), keys.text(STEP_TIME)
    if "-" not in date or "-" not in time:
        return None
    (first_day, last_day), (first_time, last_time) = span("DA", date), span("TM", time)
    return (
        first_day + (first_time or "000000.000000") if first_day else "",
        last_day + (last_time or "235959.999999") if last_day else "",
    )


def _between(moments: tuple[str, str], level: Level, here: Here) -> Callable[[Facts], bool]:
    first, last = moments

    def accepts(facts: Facts) -> bool:
        moment = level[STEP_DATE].of(facts, here) + level[STEP_TIME].of(facts, here) + ".000000"
        return (not first or first <= moment) and (not last or moment <= last)

    return accepts


def narrowed(keys: Keys, narrowing: Narrowing) -> Narrowing:
    """What of the keys a database may use to leave cases out."""
    exact = {}
    for tag, name in ((STUDY_UID, "study_uids"), (PATIENT_ID, "patient_ids"), (ACCESSION_NUMBER, "accession_numbers")):
        values = tuple(value.strip() for value in keys.text(tag).split("\\") if value.strip())
        if values and not any(sign in value for value in values for sign in "*?"):
            exact[name] = values
    patterns = [
        (name, keys.text(tag))
        for tag, name in ((PATIENT_ID, "patient_id"), (ACCESSION_NUMBER, "accession_number"))
        if set("*?") & set(keys.text(tag)) and "\\" not in keys.text(tag)
    ]
    name = keys.text(PATIENT_NAME)
    if name.strip("*") and "\\" not in name:
        patterns.append(("patient_name", f"*{normalize('NFC', name).replace('=', '*').strip(' ^')}*"))
    return Narrowing(
        unread=narrowing.unread,
        **exact,
        patterns=tuple(patterns),
        study_dates=("", "") if narrowing.unread else span("DA", keys.text(STUDY_DATE) or "-"),
    )
