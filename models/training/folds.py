"""Patients dealt into k folds of about equal size, each with its part of the rare findings."""

from __future__ import annotations

from collections import defaultdict

from models.training.errors import TrainingDataError
from models.training.folder import Row, patient_place


def deal(rows: list[Row], folds: int, seed: int) -> list[list[Row]]:
    """Every patient into one of `folds` folds, stratified by the rarest finding that he has.

    Greedy: from the rarest finding to the commonest, patients with many images first, each goes where images with
    this finding are fewest so far, then where images are fewest (after Sechidis et al. 2011). The same rows and seed
    give the same folds.

    Raises
    ------
    TrainingDataError
        Fewer patients than folds.
    """
    patients: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        patients[row.patient].append(row)
    if len(patients) < folds:
        raise TrainingDataError(f"{len(patients)} patients cannot be dealt into {folds} folds.")
    outputs = len(rows[0].labels)
    having = [sum(any(r.labels[k] == 1 for r in images) for images in patients.values()) for k in range(outputs)]
    strata: dict[int | None, list[str]] = defaultdict(list)
    for patient, images in patients.items():
        own = [k for k in range(outputs) if any(row.labels[k] == 1 for row in images)]
        strata[min(own, key=lambda k: having[k], default=None)].append(patient)

    dealt: list[list[Row]] = [[] for _ in range(folds)]
    rarest_first = sorted((k for k in strata if k is not None), key=lambda k: having[k])
    for finding in [*rarest_first, None]:
        with_finding = [sum(r.labels[finding] == 1 for r in fold) if finding is not None else 0 for fold in dealt]
        order = sorted(strata.get(finding, ()), key=lambda p: (-len(patients[p]), patient_place(p, seed)))
        for patient in order:
            place = min(range(folds), key=lambda n: (with_finding[n], len(dealt[n]), n))
            dealt[place] += patients[patient]
            if finding is not None:
                with_finding[place] += sum(row.labels[finding] == 1 for row in patients[patient])
    return dealt


def fold_sides(rows: list[Row], folds: int, fold: int, seed: int) -> tuple[list[Row], list[Row], list[Row]]:
    """Training, validation and test of one turn, counted from 0.

    Without a fixed test side, fold `fold` is the test set, the next one validation, the rest training: every image is
    tested once. Where a list fixes the test side, it stays the test set of every turn and fold `fold` is validation.
    """
    test = [row for row in rows if row.side == "test"]
    dealt = deal([row for row in rows if row.side != "test"], folds, seed)
    validation = fold if test else (fold + 1) % folds
    train = [row for n, part in enumerate(dealt) if n != validation and (test or n != fold) for row in part]
    return train, dealt[validation], test or dealt[fold]
