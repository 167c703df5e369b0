"""Real frontal chests for the gate: a folder and its table, each patient on one side."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from models.preprocessing import display_from_png
from models.training.errors import TrainingDataError
from models.training.folder import patient_place
from models.training.gate.drawing import Picture
from models.training.gate.samples import sheet
from models.training.image_files import ImageFolder

_SIDES = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_VALIDATION, _TEST = 0.1, 0.25
UPSIDE_DOWN = frozenset({"00003490_011"})
"""NIH images that are no upright frontal chests although their table says so; found by a first gate, and looked at."""


def read_chests(images: Path, table: Path, seed: int) -> dict[str, list[Picture]]:
    """The pictures of a table by side: "train", "validation" and "test".

    Parameters
    ----------
    table : Path
        CSV with ``file`` and ``patient``; ``official_split`` where there is one fixes the sides, else the hash of seed
        and patient does.

    Raises
    ------
    TrainingDataError
        The table lacks a column, an image cannot be read, or a side stays empty.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingDataError(f"{table} cannot be read as a table ({error}).") from error
    if not rows or not {"file", "patient"} <= rows[0].keys():
        raise TrainingDataError(f"{table} needs the columns file and patient.", next_step="Name another table.")
    folder = ImageFolder(images)
    sides: dict[str, list[Picture]] = {"train": [], "validation": [], "test": []}
    seen: dict[str, str] = {}
    for row in rows:
        side = _side(row, seed)
        if seen.setdefault(row["patient"], side) != side:
            raise TrainingDataError(f"{table}: patient on line of {row['file']} is on two sides of the split.")
        if Path(row["file"]).stem not in UPSIDE_DOWN:
            sides[side].append(_picture(folder, row["file"]))
    _check(sides.items(), table)
    return sides


def _side(row: dict[str, str], seed: int) -> str:
    stated = _SIDES.get(row.get("official_split", "").strip().lower())
    if stated:
        return stated
    place = patient_place(row["patient"], seed)
    return "test" if place < _TEST else "validation" if place < _TEST + _VALIDATION else "train"


def _picture(folder: ImageFolder, name: str) -> Picture:
    path = folder.find([name])
    array = None if path is None else cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if array is None or array.dtype not in (np.uint8, np.uint16):
        raise TrainingDataError(f"{name} is missing or cannot be read as an image.")
    return sheet(display_from_png(array))


def _check(sides: Iterable[tuple[str, list[Picture]]], table: Path) -> None:
    for side, pictures in sides:
        if not pictures:
            raise TrainingDataError(f"{table} has no image for {side}.", next_step="Name a larger table.")
