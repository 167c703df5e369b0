"""NIH ChestX-ray14: ``Data_Entry_2017.csv`` as it is (Wang et al. 2017)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from models.training.layouts.records import Listing, Record, lines_of, patient_of, sex, words_of, years

NAME, LABELS, PATIENT = "Image Index", "Finding Labels", "Patient ID"
KNOWN = frozenset(
    {
        "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
        "Infiltration", "Mass", "No Finding", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
    }
)  # fmt: skip


def read(table: Path, wanted: Collection[str] = ()) -> Listing:
    """``Image Index``, ``Finding Labels`` with ``|`` between them, ``Patient ID``, and what else is there.

    Age comes as "58" or "058Y", the follow-up number says nothing that a training needs.

    Parameters
    ----------
    wanted : collection of str
        Labels that the plan asks for beside the data set's own.
    """
    records = []
    for line, cells in lines_of(table, (NAME, LABELS)):
        image, labels = cells[NAME].strip(), words_of(cells[LABELS], KNOWN | set(wanted), table=table, line=line)
        records.append(
            Record(
                names=(image,),
                patient=patient_of(cells, PATIENT, image, table=table, line=line),
                labels=labels,
                unlabelled=not labels,
                line=line,
                view=cells.get("View Position", "").strip().upper(),
                sex=sex(cells.get("Patient Gender", cells.get("Patient Sex", ""))),
                age=years(cells.get("Patient Age", "")),
                columns=cells,
            )
        )
    seen = {label for record in records for label in record.labels}
    return Listing(tuple(records), KNOWN | seen, complete=True)
