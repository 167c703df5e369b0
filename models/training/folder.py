"""A folder of labelled radiographs: the rows of its table that can be learned from, each with file, patient, truth."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from models.training.errors import TrainingDataError
from models.training.image_files import ImageFolder
from models.training.layouts import NO_FINDING, UNCERTAIN, Listing, Record, read_listing
from models.training.plan import FolderSource, Side
from models.training.samples import Report

_NUMBER = re.compile(r"0*(\d+)(?:\.0*)?")
SHOWN = 5
"""So many names stand in an error; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled image.

    Attributes
    ----------
    labels : tuple of float
        1, 0 or NaN (unknown) for each finding of the plan.
    line : int
        Of the table: errors name lines, not patients.
    side : str, optional
        Where a list or the table fixes it.
    """

    path: Path
    patient: str
    labels: tuple[float, ...]
    line: int = 0
    side: Side | None = None
    view: str = ""
    sex: str = ""
    age: float | None = None


def read_table(
    source: FolderSource, keys: tuple[str, ...], report: Report = lambda _event, _figures: None
) -> list[Row]:
    """The rows whose image exists, in the table's order.

    Raises
    ------
    TrainingDataError
        Not a table of a known layout, no column or word for a finding, an image is missing (unless the plan skips
        such), or none is there.
    """
    wanted = frozenset(label for key in keys for label in (key, *source.labels.get(key, ())))
    listing = read_listing(source, wanted)
    _check_labels(source, keys, listing, report)
    records = _with_sides(source, listing, wanted, report)
    if all(record.patient == record.names[0] for record in records):
        report("note", {"text": f"{source.table} names no patients: every image counts as a patient of its own"})
    folder = ImageFolder(source.images)
    rows, missing, left_out = [], [], 0
    for record in records:
        if _excluded(record, source):
            left_out += 1
            continue
        path = folder.find(record.names)
        if path is None:
            missing.append(record.names[0])
            continue
        truth = tuple(_truth(record, key, source) for key in keys)
        rows.append(
            Row(path, record.patient, truth, record.line, record.side, record.view, record.sex, record.age)
        )  # fmt: skip
    if not rows and not missing:
        raise TrainingDataError(f"{source.table}: all {left_out} rows are left out by exclude and views.")
    if not rows:
        raise TrainingDataError(
            f"none of the images of {source.table} lies in {source.images}: {_some(missing)}.",
            next_step="Name the folder that holds the images (or NIH's images_001 … folders, or MIMIC's files folder).",
        )
    if missing and source.unusable == "refuse":
        raise TrainingDataError(
            f"{len(missing)} of {len(rows) + len(missing)} images of {source.table} are not in {source.images}: "
            f"{_some(missing)}.",
            next_step='Complete the folder, or train without them: unusable = "skip" (--unusable skip).',
        )
    _require_one_truth(rows, source)
    report("table", {"images": len(rows), "missing": len(missing), "left_out": left_out})
    return _in_one_spelling(rows, report)


def split(rows: list[Row], source: FolderSource, seed: int) -> tuple[list[Row], list[Row], list[Row]]:
    """Training, validation and test; a patient's side follows from the lists, or from the hash of seed and patient.

    Sides that a list fixes are taken from it; the others are drawn from the patients that no list claims (NIH's
    ``train_val_list.txt`` names both of its sides at once: validation is drawn from it).
    """
    fixed = {row.side for row in rows}
    test = 0.0 if "test" in fixed else source.test
    validation = 0.0 if "validation" in fixed else source.validation
    sides: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for row in rows:
        if row.side in {"validation", "test"}:
            sides[1 if row.side == "validation" else 2].append(row)
            continue
        place = patient_place(row.patient, seed)
        sides[2 if place < test else 1 if place < test + validation else 0].append(row)
    return sides


def patient_place(patient: str, seed: int) -> float:
    """A number in [0, 1) that depends on seed and patient alone, evenly spread."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{patient}".encode()).digest()[:8], "big") / 2**64


def same_patient(patient: str) -> str:
    """One text for all spellings of a patient that tables have: case, spaces, leading zeros, "13.0"."""
    name = patient.strip().casefold()
    number = _NUMBER.fullmatch(name)
    return number[1] if number else name


def _in_one_spelling(rows: list[Row], report: Report) -> list[Row]:
    """The rows, a patient who is spelled in several ways in the first of them: he must not stand on two sides."""
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(same_patient(row.patient), row.patient)
    other = [row.line for row in rows if first[same_patient(row.patient)] != row.patient]
    if not other:
        return rows
    some = _some([str(line) for line in other])
    report("note", {"text": f"patients are spelled in several ways and count as one (lines {some})"})
    return [replace(row, patient=first[same_patient(row.patient)]) for row in rows]


def _require_one_truth(rows: list[Row], source: FolderSource) -> None:
    seen: dict[Path, Row] = {}
    for row in rows:
        other = seen.setdefault(row.path, row)
        if str((other.patient, other.labels)) != str((row.patient, row.labels)):
            raise TrainingDataError(
                f"{source.table}: line {other.line} and line {row.line} say different things of one image.",
                next_step="Keep the line that is right.",
            )


def _truth(record: Record, key: str, source: FolderSource) -> float:
    """One finding of a row: present if any of its labels is, absent if all are, else unknown."""
    labels = record.labels
    names = (key,) if key in labels else source.labels.get(key, (key,))
    values = [labels.get(name, math.nan if record.unlabelled else 0.0) for name in names]
    normal = labels.get(NO_FINDING) == 1
    blank = 0.0 if source.blanks == "negative" or normal else math.nan
    unsure = {"ignore": math.nan, "zeros": 0.0, "ones": 1.0}[source.uncertain]
    values = [blank if math.isnan(v) else unsure if v == UNCERTAIN else v for v in values]
    if any(value == 1 for value in values):
        return 1.0
    return math.nan if any(math.isnan(value) for value in values) else 0.0


def _excluded(record: Record, source: FolderSource) -> bool:
    if any(record.columns.get(column) == value for column, value in source.exclude.items()):
        return True
    return bool(source.views and record.view and record.view not in source.views)


def _check_labels(source: FolderSource, keys: tuple[str, ...], listing: Listing, report: Report) -> None:
    for key in keys:
        names = (key,) if key in listing.known else source.labels.get(key, (key,))
        unknown = [name for name in names if name not in listing.known]
        if not unknown:
            continue
        text = (
            f"finding {key}: {source.table} has no label {', '.join(unknown)}; it has "
            f"{', '.join(sorted(listing.known)[:30]) or 'none'}."
        )
        if listing.complete:
            raise TrainingDataError(
                text, next_step="Correct the labels of the finding; they are written as in the table."
            )
        report("note", {"text": text})


def _with_sides(source: FolderSource, listing: Listing, wanted: frozenset[str], report: Report) -> list[Record]:
    """The records, those of the lists added or marked with their side."""
    if not source.lists:
        return list(listing.records)
    sides: dict[str, Side] = {}
    more: list[Record] = []
    known = {name for record in listing.records for name in record.names}
    for side, path in source.lists.items():
        for name, record in _listed(source, path, wanted):
            if sides.setdefault(name, side) != side:
                raise TrainingDataError(f"{PurePosixPath(name).name} is on two lists: {sides[name]} and {side}.")
            if record is not None and name not in known:
                more.append(replace(record, side=side))
    marked = [replace(record, side=_side(record, sides)) for record in listing.records] + more
    # With lists for training and for test, an image on neither belongs to neither (NIH's lists name all).
    if "train" in source.lists and "test" in source.lists:
        named = [record for record in marked if record.side is not None]
        if len(named) < len(marked):
            report("note", {"text": f"{len(marked) - len(named)} images are on no list and are left out"})
        marked = named
    if not any(record.side for record in marked):
        raise TrainingDataError(f"no image of {source.table} is named by the lists.")
    return marked


def _side(record: Record, sides: Mapping[str, Side]) -> Side | None:
    return next((sides[name] for name in record.names if name in sides), record.side)


def _listed(source: FolderSource, path: Path, wanted: frozenset[str]) -> list[tuple[str, Record | None]]:
    """What a list names: lines of text, or the rows of a table of the same layout."""
    if path.suffix == ".csv" or path.name.endswith(".csv.gz"):
        table = read_listing(replace(source, table=path, lists={}), wanted)
        return [(record.names[0], record) for record in table.records]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingDataError(f"{path} cannot be read as a list of images ({error}).") from error
    names: list[tuple[str, Record | None]] = [(line.strip(), None) for line in lines if line.strip()]
    if not names:
        raise TrainingDataError(f"{path} names no image.")
    return names


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
