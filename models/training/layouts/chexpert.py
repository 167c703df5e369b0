"""CheXpert: ``train.csv`` and ``valid.csv`` (Irvin et al. 2019)."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from models.training.errors import TrainingDataError
from models.training.layouts.records import Listing, Record, label_value, lines_of, sex, years

OBSERVATIONS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
"""The columns of CheXpert's labeler, which MIMIC-CXR-JPG uses too."""
_PATIENT = re.compile(r"^patient\d+$", re.IGNORECASE)


def read(table: Path) -> Listing:
    """``Path``, ``Sex``, ``Age``, ``Frontal/Lateral``, ``AP/PA`` and the observations that the table has.

    The patient is the part ``patient00001`` of the path. The path's first part (``CheXpert-v1.0-small``) may be there
    or not in the folder of images.
    """
    records = []
    present: list[str] = []
    for line, cells in lines_of(table, ("Path",)):
        present = present or [name for name in OBSERVATIONS if name in cells]
        path = PurePosixPath(cells["Path"].strip())
        patient = next((part for part in path.parts if _PATIENT.match(part)), None)
        if patient is None:
            raise TrainingDataError(f"{table}, line {line}: the path has no part like patient00001.")
        lateral = cells.get("Frontal/Lateral", "").strip().lower() == "lateral"
        records.append(
            Record(
                names=tuple(str(PurePosixPath(*path.parts[skip:])) for skip in range(min(3, len(path.parts)))),
                patient=patient.lower(),
                labels={name: label_value(cells[name], table=table, line=line, column=name) for name in present},
                line=line,
                view="LATERAL" if lateral else cells.get("AP/PA", "").strip().upper(),
                sex=sex(cells.get("Sex", "")),
                age=years(cells.get("Age", "")),
                columns=cells,
            )
        )
    return Listing(tuple(records), frozenset(present), complete=True)
