"""Attribute matching of queries (PS3.4 C.2.2.2): single value, list of UID, universal, wildcard and range. Pure.

Person names are compared without regard to case, and by each of their component groups (PS3.4 C.2.2.2.1 leaves both to
the provider); everything else as it is written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

Matcher = Callable[[str], bool]
"""Whether a value that is held (several separated by backslashes) matches."""

RANGES: Final = frozenset({"DA", "TM", "DT"})
WILDCARDS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_DAY: Final = re.compile(r"\d{8}", re.ASCII)
_TIME: Final = re.compile(r"\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?", re.ASCII)
_INSTANT: Final = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?(?:\+(\d{2})(\d{2}))?", re.ASCII)
_EARLIEST, _LATEST = "000000.000000", "235959.999999"


class KeyRefusedError(ValueError):
    """A key whose value cannot be one of its attribute."""


def matcher_of(vr: str, asked: str) -> Matcher | None:
    """What a key with this value asks of a value; None where everything matches.

    Parameters
    ----------
    vr : str
        Value representation of the attribute.
    asked : str
        Value of the key, decoded and without padding.

    Raises
    ------
    KeyRefusedError
        A date or time that is none.
    """
    if not asked.strip("*"):
        return None
    if vr == "UI":
        wanted = frozenset(filter(None, (uid.strip(" \0") for uid in asked.split("\\"))))
        return lambda held: held in wanted
    if vr in RANGES:
        first, last = span(vr, asked)
        return None if not first and not last else lambda held: within(vr, held, first, last)
    if vr in ("IS", "DS", "US"):
        return lambda held: held == asked or _number(held) == _number(asked) is not None
    matchers = [_text_matcher(vr, one.strip()) for one in asked.split("\\") if one.strip()]
    return lambda held: any(matches(one) for matches in matchers for one in held.split("\\"))


def span(vr: str, asked: str) -> tuple[str, str]:
    """First and last value of a range, or of a single value, as they are compared; "" for an open end.

    Raises
    ------
    KeyRefusedError
        One of them is no date or time.
    """
    asked = asked.strip()
    if "-" not in asked:
        return normal(vr, asked, earliest=True), normal(vr, asked, earliest=vr == "TM")
    first, _, last = asked.partition("-")
    return (
        normal(vr, first.strip(), earliest=True) if first.strip() else "",
        normal(vr, last.strip(), earliest=False) if last.strip() else "",
    )


def within(vr: str, held: str, first: str, last: str) -> bool:
    """Whether a date or time lies in a span of :func:`span`; one that is held in no known form lies in none."""
    try:
        value = normal(vr, held.strip(), earliest=True)
    except KeyRefusedError:
        return False
    return (not first or first <= value) and (not last or value <= last)


def normal(vr: str, text: str, *, earliest: bool) -> str:
    """A date as YYYYMMDD, a time as HHMMSS.FFFFFF, both as one in UTC: what is not said is the earliest or latest.

    The forms of ACR-NEMA, with full stops and colons, are read too (PS3.5 Table 6.2-1).

    Raises
    ------
    KeyRefusedError
        It is none.
    """
    if vr == "DA":
        day = text.replace(".", "")
        if not _DAY.fullmatch(day):
            raise KeyRefusedError("not a date")
        return day
    if vr == "DT":
        return _instant(text, earliest=earliest)
    time = text.replace(":", "")
    if not _TIME.fullmatch(time):
        raise KeyRefusedError("not a time")
    return time + (_EARLIEST if earliest else _LATEST)[len(time) :]


def _instant(text: str, *, earliest: bool) -> str:
    """A DT from its day on; without an offset it is in UTC. Offsets west of it cannot be told from ranges."""
    said = _INSTANT.fullmatch(text)
    if said is None:
        raise KeyRefusedError("not a date and time")
    day, clock, hours, minutes = said.groups()
    time = normal("TM", clock or "", earliest=earliest) if clock else (_EARLIEST if earliest else _LATEST)
    try:
        at = datetime.strptime(day + time, "%Y%m%d%H%M%S.%f")  # noqa: DTZ007 - the offset is taken off here
    except ValueError:
        raise KeyRefusedError("not a date and time") from None
    return f"{at - timedelta(hours=int(hours or 0), minutes=int(minutes or 0)):%Y%m%d%H%M%S.%f}"


def folded(name: str) -> str:
    """A person name as it is compared: one form of each letter, no case, no delimiters behind the last component."""
    groups = unicodedata.normalize("NFC", name).lower().split("=")
    return "=".join(group.strip(" ^") for group in groups).rstrip("=")


def fits(pattern: str, text: str) -> bool:
    """Wildcard matching: ``*`` stands for any signs or none, ``?`` for one.

    Not a regular expression: a pattern of many stars would have it try every way to share the text among them.
    """
    at = star = resume = 0
    begun = False
    position = 0
    while position < len(text):
        sign = pattern[at] if at < len(pattern) else ""
        if sign == "*":
            begun, star, resume = True, at, position
            at += 1
        elif sign and sign in ("?", text[position]):
            at, position = at + 1, position + 1
        elif begun:
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")


def _text_matcher(vr: str, asked: str) -> Matcher:
    wild = vr in WILDCARDS and ("*" in asked or "?" in asked)
    wanted = folded(asked) if vr == "PN" else asked

    def equal(held: str) -> bool:
        return fits(wanted, held) if wild else held == wanted

    def name_equal(held: str) -> bool:
        whole = folded(held)
        return equal(whole) or ("=" not in asked and any(map(equal, whole.split("="))))

    return name_equal if vr == "PN" else lambda held: equal(held.strip())


def _number(text: str) -> int | None:
    stripped = text.strip()
    return int(stripped) if re.fullmatch(r"[+-]?\d{1,12}", stripped, re.ASCII) else None
