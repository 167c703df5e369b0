"""Ages for people: how old a patient was when the images were made."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

_AGE: Final = re.compile(r"(\d{3})([DWMY])", re.ASCII)
_UNITS: Final = {"D": "d", "W": "wk", "M": "mo", "Y": "y"}


def shown_age(birth_date: str, study_date: str, patient_age: str, today: date) -> str:
    """ "45 y", "14 mo", "9 wk", "12 d"; empty when nothing says it.

    Parameters
    ----------
    birth_date, study_date : str
        DA (PS3.5 6.2). Without a study date the age is that of today.
    patient_age : str
        AS (PS3.5 6.2), taken where no birth date says it.
    """
    born, then = _date(birth_date), _date(study_date) or today
    if born is None or born > then:
        match = _AGE.fullmatch(patient_age.strip())
        return f"{int(match[1])} {_UNITS[match[2]]}" if match else ""
    days = (then - born).days
    months = (then.year - born.year) * 12 + then.month - born.month - (then.day < born.day)
    if months >= 24:
        return f"{months // 12} y"
    if months >= 3:
        return f"{months} mo"
    return f"{days // 7} wk" if days >= 28 else f"{days} d"


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(f"{text[:4]}-{text[4:6]}-{text[6:]}") if len(text) == 8 else None
    except ValueError:
        return None
