"""Who is in the images: groups by age, sex, view, maker or a column, and when one is too small to say anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FEWEST: Final = 10
"""Positives, and negatives, below which a group's figures are not shown: one case would move them by ten points."""
UNKNOWN: Final = "unknown"

_AGE_BANDS: Final = ((18.0, "under 18"), (40.0, "18 to 39"), (60.0, "40 to 59"), (80.0, "60 to 79"))
_SEXES: Final = {"M": "male", "F": "female", "O": "other"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is known about one image's patient and making; empty where nobody says.

    Attributes
    ----------
    columns : mapping of str to str
        Columns of a table that somebody asks for: where an image was collected, for instance, since a finding
        that is common in one collection and rare in another can be "found" by telling the collections apart.
    """

    age_years: float | None = None
    sex: str = ""
    view: str = ""
    manufacturer: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    def filled_from(self, other: Subject) -> Subject:
        """What is missing here taken from there."""
        return Subject(
            age_years=other.age_years if self.age_years is None else self.age_years,
            sex=self.sex or other.sex,
            view=self.view or other.view,
            manufacturer=self.manufacturer or other.manufacturer,
            columns={**other.columns, **self.columns},
        )


NOBODY: Final = Subject()
"""Of whom nothing is known."""


def groups(subjects: Sequence[Subject]) -> Mapping[str, Mapping[str, Array]]:
    """Axis ("age", "sex", "view", "manufacturer", a column) → name of the group → indices of its images.

    An axis of which nothing is known is left out; on the others those of whom it is not known are a group of their own.
    """
    columns = dict.fromkeys(column for subject in subjects for column in subject.columns)
    named = {
        "age": [_age_band(subject.age_years) for subject in subjects],
        "sex": [_SEXES.get(subject.sex.strip().upper()[:1], UNKNOWN) for subject in subjects],
        "view": [subject.view.strip().upper() or UNKNOWN for subject in subjects],
        "manufacturer": [subject.manufacturer.strip() or UNKNOWN for subject in subjects],
        **{name: [subject.columns.get(name, "").strip() or UNKNOWN for subject in subjects] for name in columns},
    }
    return {
        axis: {name: np.flatnonzero(np.array(names) == name) for name in _ordered(names)}
        for axis, names in named.items()
        if set(names) - {UNKNOWN}
    }


def too_few(positives: int, negatives: int) -> str:
    """Why a group's figures would be noise, or an empty text."""
    scarce = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((positives, "positive"), (negatives, "negative"))
        if count < FEWEST
    ]
    return f"too few to say anything: {' and '.join(scarce)}" if scarce else ""


def _age_band(age: float | None) -> str:
    if age is None:
        return UNKNOWN
    return next((name for limit, name in _AGE_BANDS if age < limit), "80 and over")


def _ordered(names: list[str]) -> list[str]:
    bands = [name for _, name in _AGE_BANDS]
    return sorted(set(names), key=lambda name: (name == UNKNOWN, bands.index(name) if name in bands else 99, name))
