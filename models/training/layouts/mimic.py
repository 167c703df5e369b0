"""MIMIC-CXR-JPG: labels per study, images per metadata table, sides per split table (Johnson et al. 2019)."""

from __future__ import annotations

from pathlib import Path

from models.training.errors import TrainingDataError
from models.training.layouts.chexpert import OBSERVATIONS
from models.training.layouts.records import Line, Listing, Record, label_value, lines_of
from models.training.plan import Side

_SIDES: dict[str, Side] = {"train": "train", "validate": "validation", "test": "test"}
_VIEWS = {"LL": "LATERAL", "LATERAL": "LATERAL"}


def read(table: Path, metadata_table: Path | None, split_table: Path | None) -> Listing:
    """``…-chexpert.csv`` or ``…-negbio.csv`` joined with the tables that name each study's images.

    Images lie in ``files/p10/p10000032/s50414267/<dicom_id>.jpg``, or as DICOM with ``.dcm``. A study without a row in
    the label table (its report was not labelled) is left out.

    Raises
    ------
    TrainingDataError
        Neither table of images is given, or a side is not one that the split table knows.
    """
    images = metadata_table or split_table
    if images is None:
        raise TrainingDataError(
            f"{table} labels studies: which images they have stands in MIMIC-CXR-JPG's metadata or split table.",
            next_step="Give --metadata-table, --split-table or both.",
        )
    labels: dict[str, tuple[int, dict[str, float]]] = {}
    present: list[str] = []
    for line, cells in lines_of(table, ("subject_id", "study_id")):
        present = present or [name for name in OBSERVATIONS if name in cells]
        values = {name: label_value(cells[name], table=table, line=line, column=name) for name in present}
        labels[_whole(cells["study_id"])] = line, values
    sides = _sides(split_table)
    records = []
    for _, cells in lines_of(images, ("dicom_id", "subject_id", "study_id")):
        study = _whole(cells["study_id"])
        if study in labels:
            line, values = labels[study]
            records.append(_record(cells, study, line, values, sides))
    return Listing(tuple(records), frozenset(present), complete=True)


def _record(cells: Line, study: str, line: int, values: dict[str, float], sides: dict[str, Side]) -> Record:
    subject, image = _whole(cells["subject_id"]), cells["dicom_id"].strip()
    folder = f"files/p{subject[:2]}/p{subject}/s{study}"
    position = cells.get("ViewPosition", "").strip().upper()
    return Record(
        names=tuple(f"{start}{image}{end}" for start in (f"{folder}/", f"{folder[6:]}/") for end in (".jpg", ".dcm")),
        patient=subject,
        labels=values,
        line=line,
        side=sides.get(image),
        view=_VIEWS.get(position, position),
        columns=cells,
    )


def _sides(split_table: Path | None) -> dict[str, Side]:
    if split_table is None:
        return {}
    sides: dict[str, Side] = {}
    for line, cells in lines_of(split_table, ("dicom_id", "split")):
        word = cells["split"].strip().lower()
        if word not in _SIDES:
            raise TrainingDataError(f"{split_table}, line {line}: {word[:20]!r} is none of {', '.join(_SIDES)}.")
        sides[cells["dicom_id"].strip()] = _SIDES[word]
    return sides


def _whole(text: str) -> str:
    """Numbers as pandas may have written them: "10000032.0"."""
    return text.strip().removesuffix(".0")
