"""What every layout of a label table is read into, and what layouts share."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from models.training.errors import TrainingDataError
from models.training.plan import Side

UNCERTAIN = -1.0
"""A label whose report is not sure."""
NO_FINDING = "No Finding"
MAX_AGE_YEARS = 120.0
"""NIH's table has patients of 414 years: beyond this an age is unknown."""

Line = Mapping[str, str]
_OTHER = re.compile(r"[,;/&+]")
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
    unlabelled : bool
        Its cell of words is blank: nobody has said what is absent either.
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
    unlabelled: bool = False
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
        return _columns(next(csv.reader(stream, delimiter=_delimiter(stream)), []))


def lines_of(table: Path, required: tuple[str, ...] = ()) -> Iterator[tuple[int, Line]]:
    """The rows of a CSV file with their line numbers.

    Raises
    ------
    TrainingDataError
        Not there, empty, not text, or a required column is missing.
    """
    try:
        with _open(table) as stream:
            reader = csv.DictReader(stream, delimiter=_delimiter(stream))
            columns = reader.fieldnames = _columns(reader.fieldnames or [])
            if not columns:
                raise TrainingDataError(f"{table} is empty.")
            missing = [name for name in required if name not in columns]
            if missing:
                raise TrainingDataError(f"{table} has no column {', '.join(missing)}; it has {', '.join(columns)}.")
            for line in reader:
                yield reader.line_num, {key: value or "" for key, value in line.items() if isinstance(key, str)}
    except FileNotFoundError as error:
        raise TrainingDataError(f"{table} cannot be read: {error.strerror}.") from error
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


def words_of(cell: str, known: Collection[str], *, table: Path, line: int) -> dict[str, float]:
    """Labels that are words in a cell with ``|`` between them: each 1, in the spelling of ``known`` where only its case
    differs.

    Raises
    ------
    TrainingDataError
        Another separator, or a finding beside "No Finding": read as they stand, such words would make it absent.
    """
    spellings: dict[str, list[str]] = {}
    for name in known:
        spellings.setdefault(name.casefold(), []).append(name)
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in cell.split("|"))):
        meant = [part] if part in known else spellings.get(part.casefold(), [])
        if not meant and any(piece.strip().casefold() in spellings for piece in _OTHER.split(part)):
            raise TrainingDataError(f"{table}, line {line}: {part[:40]!r} is no label; labels are separated by |.")
        found.update(dict.fromkeys(meant or [part], 1.0))
    normal = {name for name in found if name.casefold() == NO_FINDING.casefold()}
    if normal and found.keys() - normal:
        raise TrainingDataError(f"{table}, line {line}: {cell.strip()[:40]!r} says that there is a finding and none.")
    return found


def patient_of(cells: Line, column: str, image: str, *, table: Path, line: int) -> str:
    """The patient of a line; the image stands for him where the table has no such column.

    Raises
    ------
    TrainingDataError
        The table has patients and this line has none: he could be any of the others.
    """
    if column not in cells:
        return image
    patient = cells[column].strip()
    if not patient:
        raise TrainingDataError(
            f"{table}, line {line}: column {column} is blank.",
            next_step="Say whose image it is, or leave the line out: nobody else can tell which side it may stand on.",
        )
    return patient


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


def _columns(names: Iterable[str]) -> list[str]:
    return [name.strip() for name in names]


def _delimiter(stream: IO[str]) -> str:
    """What stands between the columns of the first line: spreadsheets write semicolons where numbers have commas."""
    first = stream.readline()
    stream.seek(0)
    return max(",;\t", key=first.count)


def _open(table: Path) -> IO[str]:
    if table.suffix == ".gz":
        return gzip.open(table, "rt", newline="", encoding="utf-8-sig")
    return table.open(newline="", encoding="utf-8-sig")
