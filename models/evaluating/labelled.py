"""Labelled images from a folder with its table, or phantoms, split so that no patient is on two sides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from models.evaluating.errors import EvaluationError, LeakageError
from models.evaluating.images import Image, PhantomImage, StoredImage
from models.evaluating.subgroups import NOBODY, Subject
from models.phantom import draw_findings
from models.phantom.lesions import FINDINGS
from models.training.errors import TrainingDataError
from models.training.folder import Row, read_table, same_patient, split
from models.training.layouts.records import lines_of
from models.training.plan import FolderSource

KNOWN_LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "pneumothorax": ("Pneumothorax",),
    "pleural_effusion": ("Effusion", "Pleural Effusion"),
    "consolidation": ("Consolidation",),
    "cardiomegaly": ("Cardiomegaly",),
    "nodule_mass": ("Nodule", "Mass"),
    "lung_opacity": ("Consolidation", "Pneumonia", "Infiltration", "Lung Opacity"),
}
"""Finding → what public tables call it; the report names them, `--label` replaces them."""

_LABELS = ("Finding Labels", "label")
_NAMES = ("Image Index", "file", "Path", "path", "dicom_id")
_AGES = ("Patient Age", "Age", "age", "PatientAge", "age_years")
_SEXES = ("Patient Sex", "Patient Gender", "Sex", "sex", "PatientSex", "gender")
_VIEWS = ("View Position", "ViewPosition", "AP/PA", "view")
_MAKERS = ("Manufacturer", "manufacturer")
_OLDEST = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledSource:
    """A folder and its table, and how they are read.

    Attributes
    ----------
    labels : mapping of str to tuple of str
        Finding key → labels of the table that mean it, instead of :data:`KNOWN_LABELS`.
    exclude : mapping of str to str
        Column → value of rows that are left out.
    groups : tuple of str
        Columns whose values are groups with figures of their own, beside age, sex, view and manufacturer.
    """

    images: Path
    table: Path
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exclude: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One labelled image.

    Attributes
    ----------
    patient : str
        Images of the same patient share it.
    labels : tuple of float
        0, 1, or NaN where nobody knows, in the order of the findings.
    where : str
        Table and line, for messages: names of patients and files stay out of them.
    columns : mapping of str to str
        The line of the table.
    """

    image: Image
    patient: str
    labels: tuple[float, ...]
    where: str
    subject: Subject = NOBODY
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """What was read: the cases, and what was not there.

    Attributes
    ----------
    missing : int
        Rows whose image is not in the folder.
    excluded : int
        Rows left out because their column says so.
    absent_findings : tuple of str
        Findings for which the table has no column; their labels are NaN.
    patients_known : bool
        False where the table has no patients: every image counts as one.
    """

    cases: tuple[Case, ...]
    missing: int = 0
    excluded: int = 0
    absent_findings: tuple[str, ...] = ()
    patients_known: bool = True
    description: str = ""


def read_labelled(source: LabelledSource, keys: tuple[str, ...]) -> Labelled:
    """The cases of a table whose image exists, in the table's order.

    The layouts are those of :func:`models.training.folder.read_table`; columns for age, sex, view and manufacturer are
    taken where they are.

    Raises
    ------
    EvaluationError
        The table cannot be read, has no rows, lacks a needed column, or none of its images is there.
    """
    lines = _lines(source.table)
    for columns, purpose in ((source.exclude, "rows should be left out"), (source.groups, "there should be groups")):
        unknown = sorted(set(columns) - set(lines[0][1]))
        if unknown:
            raise EvaluationError(f"{source.table} has no column {unknown[0]}, by which {purpose}.")
    kept = [(number, line) for number, line in lines if not _matches(line, source.exclude)]
    _require_single(kept, source.table)
    rows, absent = _rows(source, keys, kept)
    index = _by_stem(kept)
    cases = tuple(_case(row, index, source) for row in rows)
    named = {value for _, line in kept for value in _names(line)}
    return Labelled(
        cases=cases,
        missing=len(kept) - len(cases),
        excluded=len(lines) - len(kept),
        absent_findings=absent,
        patients_known=any(case.patient not in named for case in cases),
        description=f"{source.table.name} with {source.images.name}",
    )


def phantoms(count: int, seed: int, keys: tuple[str, ...], *, unseen: bool = False) -> Labelled:
    """The phantoms 0 to count - 1 of a series; a finding that no phantom shows is unknown.

    Parameters
    ----------
    unseen : bool
        Taken on the scanner that no training saw.
    """
    scanner = " on the unseen scanner" if unseen else ""
    cases = []
    for index in range(count):
        present = draw_findings(seed, index)
        truth = tuple(float(key in present) if key in FINDINGS else float("nan") for key in keys)
        image = PhantomImage(seed, index, unseen)
        cases.append(Case(image=image, patient=f"{seed}/{index}", labels=truth, where=image.name))
    absent = tuple(key for key in keys if key not in FINDINGS)
    description = f"{count} phantoms of series {seed}{scanner}"
    return Labelled(cases=tuple(cases), absent_findings=absent, description=description)


def divide(
    cases: Sequence[Case], *, seed: int, validation: float, test: float
) -> tuple[tuple[Case, ...], tuple[Case, ...], tuple[Case, ...]]:
    """Rest, validation and test by patient, by the same rule as training: same seed and shares, same sides."""
    plan = FolderSource(images=Path(), table=Path(), labels={}, validation=validation, test=test)
    sides: tuple[list[Case], list[Case], list[Case]] = ([], [], [])
    for case in cases:
        parts = split([Row(Path(), case.patient, case.labels)], plan, seed)
        sides[next(side for side, part in enumerate(parts) if part)].append(case)
    return tuple(sides[0]), tuple(sides[1]), tuple(sides[2])


def chosen(cases: Iterable[Case], column: str, value: str) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Cases whose line has the value in the column, and the others.

    Raises
    ------
    EvaluationError
        No line has it: the column or the value is misspelt.
    """
    inside: list[Case] = []
    outside: list[Case] = []
    for case in cases:
        (inside if case.columns.get(column) == value else outside).append(case)
    if not inside:
        raise EvaluationError(f"no row of the table has {value} in a column {column}.")
    return tuple(inside), tuple(outside)


def require_apart(one: Sequence[Case], other: Sequence[Case], names: tuple[str, str]) -> None:
    """No patient stands on both sides.

    Raises
    ------
    LeakageError
        It names lines, not patients.
    """
    first: dict[str, Case] = {}
    for case in one:
        first.setdefault(same_patient(case.patient), case)
    shared: dict[str, tuple[Case, Case]] = {}
    for case in other:
        patient = same_patient(case.patient)
        if patient in first:
            shared.setdefault(patient, (first[patient], case))
    if shared:
        here, there = next(iter(shared.values()))
        raise LeakageError(
            f"{len(shared)} patients are both in {names[0]} and in {names[1]}, the first at {here.where} and "
            f"{there.where}.",
            next_step=LeakageError.next_step
            + " If they are different people with the same number, make the numbers of one table unlike the other's.",
        )


def with_subject(case: Case, header: Subject) -> Case:
    """The case with what its image's header adds to the table's line."""
    return replace(case, subject=case.subject.filled_from(header))


def _named_labels(lines: Iterable[tuple[int, Mapping[str, str]]], wanted: Iterable[str]) -> frozenset[str]:
    """Every label that the table has, as a column or as a word; a word may be wanted in another case."""
    columns: set[str] = set()
    words: set[str] = set()
    for _, line in lines:
        columns.update(line)
        words.update(part.strip() for column in _LABELS for part in line.get(column, "").split("|"))
    exact = {word.casefold() for word in words.intersection(wanted)}
    other = {word.casefold() for word in words} - exact
    alike: dict[str, str] = {}
    for name in wanted:
        if name.casefold() in other:
            alike.setdefault(name.casefold(), name)
    return frozenset(columns | words | set(alike.values()))


def _rows(
    source: LabelledSource, keys: tuple[str, ...], lines: Sequence[tuple[int, Mapping[str, str]]]
) -> tuple[list[Row], tuple[str, ...]]:
    """Rows with a label per key, NaN for findings that the table does not have."""
    wanted = [name for key in keys for name in (*KNOWN_LABELS.get(key, ()), key, *source.labels.get(key, ()))]
    named = _named_labels(lines, wanted)
    usual = {key: tuple(name for name in (*KNOWN_LABELS.get(key, ()), key) if name in named) for key in keys}
    names = {key: source.labels.get(key) or usual[key] or (key,) for key in keys}
    plan = FolderSource(images=source.images, table=source.table, labels=names, exclude=source.exclude, unusable="skip")
    present = tuple(key for key in keys if named.intersection(names[key]))
    read = keys
    try:
        try:
            found = read_table(plan, keys)
        except TrainingDataError:
            if present in ((), keys):
                raise
            read, found = present, read_table(plan, present)
    except TrainingDataError as error:
        raise EvaluationError(str(error), next_step=error.next_step) from error
    rows = []
    for row in found:
        truth = dict(zip(read, row.labels, strict=True))
        rows.append(replace(row, labels=tuple(truth.get(key, float("nan")) for key in keys)))
    return rows, tuple(key for key in keys if key not in read)


def _require_single(lines: Iterable[tuple[int, Mapping[str, str]]], table: Path) -> None:
    seen: dict[str, int] = {}
    for number, line in lines:
        name = next(_names(line), "")
        if name and seen.setdefault(name, number) != number:
            raise EvaluationError(
                f"{table.name} line {seen[name]} and line {number} name the same image.",
                next_step="Keep one of the two lines: an image that counts twice makes the intervals too narrow.",
            )


def _lines(table: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        lines = [(number, dict(line)) for number, line in lines_of(table)]
    except TrainingDataError as error:
        raise EvaluationError(str(error), next_step="Give a table of labels as CSV in UTF-8.") from error
    if not lines:
        raise EvaluationError(f"{table} has no rows.", next_step="Give the table of labels, a row per image.")
    return lines


def _matches(line: Mapping[str, str], conditions: Mapping[str, str]) -> bool:
    return any(line.get(column) == value for column, value in conditions.items())


def _names(line: Mapping[str, str]) -> Iterator[str]:
    return (line[column] for column in _NAMES if line.get(column))


def _by_stem(lines: list[tuple[int, dict[str, str]]]) -> Mapping[str, list[tuple[int, dict[str, str]]]]:
    index: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for number, line in lines:
        for name in _names(line):
            index.setdefault(Path(name).stem, []).append((number, line))
    return index


def _case(row: Row, index: Mapping[str, list[tuple[int, dict[str, str]]]], source: LabelledSource) -> Case:
    """The row with its line: of several images of the same name, the one whose folders agree furthest."""
    candidates = index.get(row.path.stem, [])
    number, line = max(candidates, key=lambda entry: _agreement(row.path, entry[1]), default=(0, {}))
    return Case(
        image=StoredImage(row.path),
        patient=row.patient,
        labels=row.labels,
        where=f"{source.table.name} line {number}",
        subject=_subject(line, source.groups),
        columns=line,
    )


def _agreement(path: Path, line: Mapping[str, str]) -> int:
    def common(name: str) -> int:
        pairs = zip(reversed(path.with_suffix("").parts), reversed(Path(name).with_suffix("").parts), strict=False)
        count = 0
        for ours, theirs in pairs:
            if ours != theirs:
                break
            count += 1
        return count

    return max((common(name) for name in _names(line)), default=0)


def _subject(line: Mapping[str, str], groups: tuple[str, ...]) -> Subject:
    return Subject(
        age_years=_age(_first(line, _AGES)),
        sex=_first(line, _SEXES)[:1].upper(),
        view=_first(line, _VIEWS),
        manufacturer=_first(line, _MAKERS),
        columns={column: line.get(column, "") for column in groups},
    )


def _first(line: Mapping[str, str], columns: tuple[str, ...]) -> str:
    return next((line[column].strip() for column in columns if line.get(column)), "")


def _age(text: str) -> float | None:
    """Years from "58", "58.0" or DICOM's "058Y"; what cannot be an age counts as not said."""
    stated = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)([YMWD]?)", text.upper())
    if not stated:
        return None
    years = float(stated[1]) / {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}[stated[2]]
    return years if years <= _OLDEST else None
