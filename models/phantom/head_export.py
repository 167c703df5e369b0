"""A folder of head-CT phantoms with their truth, as `firstread phantom --kind head-ct` writes it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from models.phantom.head_bleeding import KINDS
from models.phantom.head_ct import generate_head_ct
from models.phantom.head_dicom import write_series

FINDING = "intracranial_haemorrhage"
Progress = Callable[[int, int], None]
"""Called with (studies written, studies to write)."""


def write_head_cts(
    out: Path,
    count: int,
    seed: int,
    *,
    taken_at: datetime,
    size: int = 512,
    start: int = 0,
    unseen: bool = False,
    slices: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write `count` series, each in a folder of its own, ``truth.csv``, ``slices.csv`` and the masks.

    Parameters
    ----------
    taken_at : datetime
        Study time of the first phantom; each further one was "taken" ten minutes later.
    size : int
        Rows and columns.
    start : int
        Index of the first phantom.
    unseen, slices
        As of :func:`models.phantom.head_ct.generate_head_ct`.

    Returns
    -------
    Path
        ``truth.csv``: folder, study_instance_uid, series_instance_uid, slices, a column of 0 or 1 for
        ``intracranial_haemorrhage`` and one for each of :data:`~models.phantom.head_bleeding.KINDS`. ``slices.csv`` has
        the same columns per slice, by file and sop_instance_uid. A slice with blood has its mask as
        ``masks/<folder>_<slice>.png``, 255 inside.
    """
    masks = out / "masks"
    masks.mkdir(parents=True, exist_ok=True)
    table = out / "truth.csv"
    with (
        table.open("w", newline="", encoding="utf-8") as studies,
        (out / "slices.csv").open("w", newline="", encoding="utf-8") as every_slice,
    ):
        by_study, by_slice = csv.writer(studies), csv.writer(every_slice)
        by_study.writerow(["folder", "study_instance_uid", "series_instance_uid", "slices", FINDING, *KINDS])
        by_slice.writerow(["file", "sop_instance_uid", FINDING, *KINDS])
        for done, index in enumerate(range(start, start + count), start=1):
            head = generate_head_ct(seed, index, size=size, unseen=unseen, slices=slices)
            name = f"head_{seed}_{index:04d}"
            when = taken_at + timedelta(minutes=10 * (done - 1))
            datasets = write_series(head, out / name, seed, index, taken_at=when)
            kinds = [int(kind in head.present) for kind in KINDS]
            study = [name, datasets[0].StudyInstanceUID, datasets[0].SeriesInstanceUID, len(head)]
            by_study.writerow([*study, int(any(kinds)), *kinds])
            for number, (dataset, blood) in enumerate(zip(datasets, head.blood(), strict=True)):
                shown = [int(kind in head.masks and bool(head.masks[kind][number].any())) for kind in KINDS]
                file = f"{name}/slice_{number + 1:03d}.dcm"
                by_slice.writerow([file, dataset.SOPInstanceUID, int(bool(blood.any())), *shown])
                if blood.any():
                    cv2.imwrite(str(masks / f"{name}_{number + 1:03d}.png"), blood.astype(np.uint8) * 255)
            if progress is not None:
                progress(done, count)
    return table
