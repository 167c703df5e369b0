"""A folder of phantoms with their truth, as `firstread phantom` writes it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from models.phantom.dicom import write_dicom
from models.phantom.lesions import FINDINGS
from models.phantom.radiograph import generate

Progress = Callable[[int, int], None]
"""Called with (files written, files to write)."""

_MATRIX = (1024, 2500)


def write_phantoms(
    out: Path,
    count: int,
    seed: int,
    *,
    taken_at: datetime,
    size: int | None = None,
    start: int = 0,
    unseen: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write `count` DICOM radiographs, ``truth.csv`` and ``masks/<file>_<finding>.png`` into a folder.

    Parameters
    ----------
    taken_at : datetime
        Study time of the first phantom; each further one was "taken" four minutes later.
    size : int, optional
        Longer side in pixels; by default another one for every phantom, 1024 to 2500.
    start : int
        Index of the first phantom.
    unseen : bool
        Taken on the scanner that no training saw.

    Returns
    -------
    Path
        ``truth.csv``: file, sop_instance_uid, and one column of 0 or 1 for each of
        :data:`~models.phantom.lesions.FINDINGS`. A finding's mask lies on the image's own matrix, 255 inside.
    """
    masks = out / "masks"
    masks.mkdir(parents=True, exist_ok=True)
    table = out / "truth.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "sop_instance_uid", *FINDINGS])
        for done, index in enumerate(range(start, start + count), start=1):
            phantom = generate(seed, index, size=size or matrix_size(seed, index), unseen=unseen)
            name = f"phantom_{seed}_{index:04d}"
            when = taken_at + timedelta(minutes=4 * (done - 1))
            dataset = write_dicom(phantom, out / f"{name}.dcm", seed, index, taken_at=when)
            for key, mask in phantom.masks.items():
                cv2.imwrite(str(masks / f"{name}_{key}.png"), mask.astype(np.uint8) * 255)
            present = [int(key in phantom.present) for key in FINDINGS]
            writer.writerow([f"{name}.dcm", dataset.SOPInstanceUID, *present])
            if progress is not None:
                progress(done, count)
    return table


def matrix_size(seed: int, index: int) -> int:
    """Longer side of a phantom in pixels, where nobody asks for one: another for every phantom, 1024 to 2500."""
    return int(np.random.default_rng([seed, index, 1]).integers(*_MATRIX))
