"""NIH ChestX-ray14: ``Data_Entry_2017.csv`` as it is (Wang et al. 2017)."""

from __future__ import annotations

from pathlib import Path

from models.training.layouts.records import Listing, Record, lines_of, sex, years

NAME, LABELS, PATIENT = "Image Index", "Finding Labels", "Patient ID"
KNOWN = frozenset(
    {
        "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
        "Infiltration", "Mass", "No Finding", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
    }
)  # fmt: skip


def read(table: Path) -> Listing:
    """``Image Index``, ``Finding Labels`` with ``|`` between them, ``Patient ID``, and what else is there.

    Age comes as "58" or "058Y", the follow-up number says nothing that a training needs.
    """
    records = []
    for line, cells in lines_of(table, (NAME, LABELS)):
        present = {part.strip() for part in cells[LABELS].split("|")} - {""}
        records.append(
            Record(
                names=(cells[NAME].strip(),),
                patient=cells.get(PATIENT, "").strip() or cells[NAME].strip(),
                labels=dict.fromkeys(present, 1.0),
                line=line,
                view=cells.get("View Position", "").strip().upper(),
                sex=sex(cells.get("Patient Gender", cells.get("Patient Sex", ""))),
                age=years(cells.get("Patient Age", "")),
                columns=cells,
            )
        )
    seen = {label for record in records for label in record.labels}
    return Listing(tuple(records), KNOWN | seen, complete=True)
