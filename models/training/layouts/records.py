"""What every layout of a label table is read into, and what layouts share."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from models.training.errors import TrainingDataError
from models.training.plan import Side

UNCERTAIN = -1.0
"""A label whose report is not sure."""
MAX_AGE_YEARS = 120.0
"""NIH's table has patients of 414 years: beyond this an age is unknown."""

Line = Mapping[str, str]
_AGE = re.compile(r"^\s*0*(\d+(?:\.\d+)?)\s*([YMWD]?)\s*$", re.IGNORECASE)
_PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


@dataclass(frozen=True, slots=True)
class Record:
    """One image as its table describes it.

    Attributes
    ----------
    names : tuple of str
        Where the image may lie, relative to the folder of images, most likely first.
    patient : str
    labels : mapping of str to float
        Label of the table → 1, 0, :data:`UNCERTAIN` or NaN (blank). Where labels are words in a cell, those that are
        not there are absent: 0.
    line : int
        In the table, the header being line 1: errors name lines, not patients.
    side : str, optional
        Where the table itself says so.
    view, sex : str
        "PA", "AP", "LATERAL", "" (not stated); "F", "M", "".
    age : float, optional
        Years.
    """

    names: tuple[str, ...]
    patient: str
    labels: Mapping[str, float]
    line: int
    side: Side | None = None
    view: str = ""
    sex: str = ""
    age: float | None = None
    columns: Line = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listing:
    """A table, read.

    Attributes
    ----------
    known : frozenset of str
        Labels that the table can express, whether or not a row has them.
    complete : bool
        True: a label that is not among `known` is a mistake. False: `known` is what the rows happen to mention.
    """

    records: tuple[Record, ...]
    known: frozenset[str]
    complete: bool


def columns_of(table: Path) -> list[str]:
    """The header of a CSV file."""
    with _open(table) as stream:
        return next(csv.reader(stream), [])


def lines_of(table: Path, required: tuple[str, ...] = ()) -> Iterator[tuple[int, Line]]:
    """The rows of a CSV file with their line numbers.

    Raises
    ------
    TrainingDataError
        Not there, empty, not text, or a required column is missing.
    """
    try:
        with _open(table) as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames
            if not columns:
                raise TrainingDataError(f"{table} is empty.")
            missing = [name for name in required if name not in columns]
            if missing:
                raise TrainingDataError(f"{table} has no column {', '.join(missing)}; it has {', '.join(columns)}.")
            for line in reader:
                yield reader.line_num, {key: value or "" for key, value in line.items() if isinstance(key, str)}
    except (OSError, UnicodeDecodeError, csv.Error, EOFError) as error:
        raise TrainingDataError(f"{table} cannot be read as CSV ({error}).") from error


def label_value(text: str, *, table: Path, line: int, column: str) -> float:
    """A cell of a label column: 1, 0, :data:`UNCERTAIN`, or NaN where it is blank.

    Raises
    ------
    TrainingDataError
        Anything else: "yes" and "2" may mean what they like, so nobody guesses.
    """
    cell = text.strip()
    if cell in {"", "nan", "NaN", "NA"}:
        return float("nan")
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if value not in (0.0, 1.0, UNCERTAIN):
        raise TrainingDataError(
            f"{table}, line {line}: column {column} says {cell[:20]!r}; a label is 1, 0, -1 (uncertain) or blank."
        )
    return value


def years(text: str) -> float | None:
    """An age as tables write it: "58", "058Y", "018M", "12.5"; None where it is not stated or impossible."""
    match = _AGE.match(text)
    if match is None:
        return None
    value = float(match[1]) / _PER_YEAR[match[2].upper()]
    return round(value, 2) if value <= MAX_AGE_YEARS else None


def sex(text: str) -> str:
    """ "F", "M" or "" (not stated)."""
    letter = text.strip()[:1].upper()
    return letter if letter in {"F", "M"} else ""


def _open(table: Path) -> IO[str]:
    if table.suffix == ".gz":
        return gzip.open(table, "rt", newline="", encoding="utf-8-sig")
    return table.open(newline="", encoding="utf-8-sig")
