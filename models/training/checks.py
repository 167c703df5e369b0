"""What must hold before a network learns: nobody on two sides, nothing empty, something to tell apart on each side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.training.errors import LeakageError, TrainingDataError
from models.training.folder import SHOWN, Row
from models.training.samples import Report

SIDES = ("train", "validation", "test")


def check_patients(sides: Sequence[Sequence[Row]]) -> None:
    """No patient is on two sides, whoever made them.

    Raises
    ------
    LeakageError
        With the lines of the table where it is so.
    """
    first: dict[str, tuple[int, Row]] = {}
    leaks = []
    for number, side in enumerate(sides):
        for row in side:
            before, other = first.setdefault(row.patient, (number, row))
            if before != number:
                leaks.append(f"line {other.line} ({SIDES[before]}) and line {row.line} ({SIDES[number]})")
    if leaks:
        raise LeakageError(f"{len(leaks)} images are of a patient who is on another side too: {_some(leaks)}.")


def check_findings(keys: Sequence[str], labels: Mapping[str, NDArray[np.float32]]) -> None:
    """Every side has images with and without each finding.

    Parameters
    ----------
    labels : mapping of str to ndarray
        Side → float32 (N, K) of 0, 1 or NaN.

    Raises
    ------
    TrainingDataError
        A side is empty, or a finding is always present, always absent or always unknown there.
    """
    empty = [side for side, values in labels.items() if not len(values)]
    if empty:
        raise TrainingDataError(
            f"no image is left for {' and '.join(empty)}.",
            next_step="Name more images, or larger shares for validation and test.",
        )
    one_sided = []
    for side, values in labels.items():
        for column, key in enumerate(keys):
            present, absent = int((values[:, column] == 1).sum()), int((values[:, column] == 0).sum())
            if not present or not absent:
                one_sided.append(f"{key} in {side} ({present} with, {absent} without)")
    if one_sided:
        raise TrainingDataError(
            f"there is nothing to tell apart for {_some(one_sided)}.",
            next_step="Leave the finding out, name more images, or draw other shares or another seed.",
        )


def one_person_each(rows: list[Row], digests: Sequence[str], policy: str, report: Report) -> list[Row]:
    """The same picture under two patients is one person under two names, or a mistake.

    Parameters
    ----------
    digests : sequence of str
        Of each row's fitted picture.
    policy : str
        "refuse", or "merge": their patients count as one in the split.

    Raises
    ------
    LeakageError
        There are such pictures and the policy refuses them.
    """
    by_digest: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        by_digest[digest].append(index)
    copies = [group for group in by_digest.values() if len(group) > 1]
    shared = [group for group in copies if len({rows[index].patient for index in group}) > 1]
    again = sum(len(group) - 1 for group in copies) - sum(len(group) - 1 for group in shared)
    if again:
        report("note", {"text": f"{again} images are exact copies of another image of the same patient"})
    if not shared:
        return rows
    if policy == "refuse":
        where = [" = ".join(f"{rows[i].path.name} (line {rows[i].line})" for i in group[:3]) for group in shared]
        raise LeakageError(
            f"{len(shared)} pictures stand under two patients or more: {_some(where)}.",
            next_step='Correct the table, or let such patients count as one: shared_images = "merge" '
            "(--shared-images merge).",
        )
    report("note", {"text": f"{len(shared)} pictures stand under several patients, who count as one in the split"})
    return _merged(rows, shared)


def _merged(rows: list[Row], shared: list[list[int]]) -> list[Row]:
    """Rows whose patients are the representatives of their groups (union-find)."""
    parent: dict[str, str] = {}

    def root(patient: str) -> str:
        while parent.get(patient, patient) != patient:
            patient = parent[patient]
        return patient

    for group in shared:
        names = sorted(root(rows[index].patient) for index in group)
        for name in names[1:]:
            parent[root(name)] = root(names[0])
    return [replace(row, patient=root(row.patient)) for row in rows]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
