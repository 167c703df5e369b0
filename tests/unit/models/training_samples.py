"""Small data sets and plans for the tests of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.metadata import InputSpec, RoutingConditions
from models.training import ArraysSource, Description, FindingPlan, FolderSource, TrainingPlan
from triage.findings import Code

INPUT = InputSpec(height=64, width=64, mean=0.5, std=0.25)
DESCRIPTION = Description(
    name="tiny",
    version="0.0.1",
    manufacturer="tests",
    licence="Apache-2.0",
    intended_use="Tests.",
    limits=("Everything.",),
    disclaimer="TEST",
    research=True,
    data="drawn",
)


def finding(key: str) -> FindingPlan:
    return FindingPlan(key=key, code=Code(value="1", scheme="99TEST", meaning=key))


def picture(seed: int, *, bright: bool, size: int = 28) -> Any:
    """uint8 noise, with a bright square where there is something to find."""
    image = np.random.default_rng(seed).integers(40, 120, (size, size), np.uint8)
    if bright:
        image[size // 4 : size // 2, size // 4 : size // 2] += 120
    return image


def write_arrays(path: Path, counts: tuple[int, int, int] = (48, 24, 24)) -> Path:
    """A MedMNIST file of two classes; every image is another one."""
    arrays, seed = {}, 0
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        labels = np.arange(count) % 2
        arrays[f"{part}_labels"] = labels[:, None].astype(np.uint8)
        arrays[f"{part}_images"] = np.stack([picture(seed + n, bright=bool(labels[n])) for n in range(count)])
        seed += count
    np.savez(path, **arrays)
    return path


def arrays_plan(arrays: Path, **changes: Any) -> TrainingPlan:
    plan = TrainingPlan(
        source=ArraysSource(arrays=arrays, labels={"square": ("1",)}),
        findings=(finding("square"),),
        describe=DESCRIPTION,
        routing=RoutingConditions(),
        architecture="shufflenet_v2_x0_5",
        input=INPUT,
        epochs=2,
        batch=16,
        threads=1,
        date="2026-01-01",
    )
    return replace(plan, **changes)


def write_folder(folder: Path, patients: int, *, each: int = 2) -> Path:
    """PNGs and a plain table: every third patient has a square, in all of his images."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["file,patient,square,age"]
    for patient in range(patients):
        for number in range(each):
            name = f"{patient:03}_{number}.png"
            cv2.imwrite(str(folder / name), picture(patient * each + number, bright=patient % 3 == 0))
            lines.append(f"{name},{patient},{int(patient % 3 == 0)},{20 + patient}")
    table = folder / "labels.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def folder_plan(folder: Path, table: Path, **changes: Any) -> TrainingPlan:
    source = FolderSource(images=folder, table=table, labels={"square": ("square",)})
    return arrays_plan(Path(), **{"source": source, **changes})
