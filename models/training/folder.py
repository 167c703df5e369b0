"""A folder of labelled radiographs as samples, split so that no patient is on two sides."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.decoding import decode, read
from models.metadata import InputSpec
from models.preprocessing import display_from_png, display_image, pixel_aspect
from models.training.plan import FolderSource
from models.training.samples import Samples, fitted
from triage.errors import FirstreadError

_NAME = ("Image Index", "file")
_LABELS = ("Finding Labels", "label")
_PATIENT = ("Patient ID", "patient")


class TrainingDataError(FirstreadError):
    """The table or the images of a training run do not fit together."""

    next_step = "Compare the CSV file with the layouts that `firstread models train --help` lists."


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled image."""

    path: Path
    patient: str
    labels: tuple[float, ...]


def read_table(source: FolderSource, keys: tuple[str, ...]) -> list[Row]:
    """The rows whose image exists, in the table's order.

    Raises
    ------
    TrainingDataError
        No column for the image's name or for a finding, or no image at all.
    """
    with source.table.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        columns = reader.fieldnames or []
        name, labels, patient = (next((c for c in group if c in columns), None) for group in (_NAME, _LABELS, _PATIENT))
        if name is None:
            raise TrainingDataError(f"{source.table} has no column {' or '.join(_NAME)}.")
        missing = [key for key in keys if labels is None and key not in columns]
        if missing:
            raise TrainingDataError(f"{source.table} has neither {' nor '.join(_LABELS)} nor a column {missing[0]}.")
        rows = []
        for line in reader:
            if any(line.get(column) == value for column, value in source.exclude.items()):
                continue
            path = source.images / Path(line[name]).name
            if path.is_file():
                truth = tuple(_truth(line, key, source, labels) for key in keys)
                rows.append(Row(path, line[patient] if patient else line[name], truth))
    if not rows:
        raise TrainingDataError(f"none of the images of {source.table} lies in {source.images}.")
    return rows


def split(rows: list[Row], source: FolderSource, seed: int) -> tuple[list[Row], list[Row], list[Row]]:
    """Training, validation and test; a patient's side follows from the hash of seed and patient alone."""
    sides: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for row in rows:
        digest = hashlib.sha256(f"{seed}/{row.patient}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        side = 2 if place < source.test else 1 if place < source.test + source.validation else 0
        sides[side].append(row)
    return sides


def load(rows: list[Row], spec: InputSpec, outputs: int) -> Samples:
    """Read and fit the images."""
    images = [_image(row.path, spec) for row in rows]
    labels = np.array([row.labels for row in rows], np.float32).reshape(-1, outputs)
    stack = np.stack(images) if images else np.zeros((0, spec.height, spec.width), np.uint8)
    return Samples(stack, labels)


def _image(path: Path, spec: InputSpec) -> NDArray[np.uint8]:
    if path.suffix.lower() in {".png", ".jpg", ".jpeg"}:
        array = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
        if array is None:
            raise TrainingDataError(f"{path.name} cannot be read as an image.")
        return fitted(display_from_png(array), spec)
    dataset = read(path)
    return fitted(display_image(dataset, decode(dataset)), spec, pixel_aspect=pixel_aspect(dataset))


def _truth(line: dict[str, str], key: str, source: FolderSource, labels: str | None) -> float:
    if labels is not None:
        named = {part.strip() for part in line[labels].split("|")}
        return float(bool(named & set(source.labels.get(key, (key,)))))
    text = (line[key] or "").strip()
    return float(text) if text in {"0", "1", "0.0", "1.0"} else float("nan")
