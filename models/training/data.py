"""From the source of a plan to the samples of its three sides, checked."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.training.arrays import array_samples
from models.training.checks import SIDES, check_findings, check_patients, one_person_each
from models.training.durable import write_durably
from models.training.errors import TrainingDataError
from models.training.folder import SHOWN, Row, read_table, split
from models.training.folds import fold_sides
from models.training.image_cache import cache_images
from models.training.phantoms import phantom_samples
from models.training.plan import ArraysSource, FolderSource, PhantomSource, TrainingPlan
from models.training.samples import Report, Samples


@dataclass(frozen=True, slots=True)
class Data:
    """Training, validation and test.

    Attributes
    ----------
    digest : str
        Of labels and sides: a checkpoint belongs to it.
    rows : tuple of sequences of Row, or None
        The table's rows behind the samples, where there is a table.
    unseen : Samples or None
        Phantoms of the scanner that no training saw.
    division : mapping or None
        ``seed``, and the shares ``validation`` and ``test``, where the hash of seed and patient alone decided the sides
        (:func:`models.training.folder.split`); None where lists, folds, a file or people under two names did.
    """

    train: Samples
    validation: Samples
    test: Samples
    digest: str
    rows: tuple[list[Row], list[Row], list[Row]] | None = None
    unseen: Samples | None = None
    division: Mapping[str, float] | None = None

    @property
    def sides(self) -> tuple[Samples, Samples, Samples]:
        return self.train, self.validation, self.test


def load_data(plan: TrainingPlan, directory: Path, cache: Path, report: Report) -> Data:
    """Read what the plan's source names.

    Parameters
    ----------
    directory : Path
        Phantoms are kept there.
    cache : Path
        Where fitted images lie; folds of one cross-validation share it.

    Raises
    ------
    TrainingDataError, LeakageError
        The data do not allow this training; nothing was trained.
    """
    source = plan.source
    rows: tuple[list[Row], list[Row], list[Row]] | None = None
    unseen: Samples | None = None
    if isinstance(source, FolderSource):
        sides, rows = _folder(plan, source, cache, report)
    elif isinstance(source, ArraysSource):
        sides = array_samples(source, plan.keys, plan.input, report)
    else:
        sides, unseen = _phantoms(plan, source, directory, report)
    check_findings(plan.keys, {name: side.labels for name, side in zip(SIDES, sides, strict=True)})
    digest = hashlib.sha256()
    for number, side in enumerate(sides):
        digest.update(side.labels.tobytes())
        for row in rows[number] if rows else ():
            digest.update(f"{row.path.name}\n".encode())
    return Data(*sides, digest.hexdigest(), rows, unseen, _division(plan, rows))


def _division(plan: TrainingPlan, rows: Iterable[Iterable[Row]] | None) -> Mapping[str, float] | None:
    source = plan.source
    if not isinstance(source, FolderSource) or plan.folds or source.shared_images == "merge":
        return None
    if any(row.side is not None for side in rows or () for row in side):
        return None
    return {"seed": plan.seed, "validation": source.validation, "test": source.test}


def write_split(path: Path, keys: tuple[str, ...], rows: tuple[list[Row], list[Row], list[Row]], seed: int) -> None:
    """``split.csv``: which image is on which side, and the proof that no patient is on two.

    A patient appears as a digest: equal for equal patients, and no name.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file", "patient_digest", "side", "view", "sex", "age", *keys])
    for side, part in zip(SIDES, rows, strict=True):
        for row in part:
            patient = hashlib.sha256(f"{seed}/{row.patient}".encode()).hexdigest()[:16]
            labels = ["" if np.isnan(value) else int(value) for value in row.labels]
            writer.writerow([row.path.name, patient, side, row.view, row.sex, row.age, *labels])
    write_durably(path, text.getvalue().encode())


def _folder(
    plan: TrainingPlan, source: FolderSource, cache: Path, report: Report
) -> tuple[tuple[Samples, Samples, Samples], tuple[list[Row], list[Row], list[Row]]]:
    rows = read_table(source, plan.keys, report)
    if plan.folds == 0:
        check_patients(split(rows, source, plan.seed))  # before hours of reading images
    cached = cache_images([row.path for row in rows], plan.input, cache, processes=plan.threads, report=report)
    unreadable = [rows[index].path.name for index in sorted(cached.problems)]
    if unreadable and source.unusable == "refuse":
        raise TrainingDataError(
            f"{len(unreadable)} of {len(rows)} images cannot be read: {', '.join(unreadable[:SHOWN])}.",
            next_step='Replace them, or train without them: unusable = "skip" (--unusable skip).',
        )
    if unreadable:
        report("note", {"text": f"{len(unreadable)} images cannot be read and are left out"})
    usable = [index for index in range(len(rows)) if index not in cached.problems]
    rows = one_person_each(
        [rows[i] for i in usable], [cached.digests[i] for i in usable], source.shared_images, report
    )  # fmt: skip
    place = {id(row): index for row, index in zip(rows, usable, strict=True)}
    sides = fold_sides(rows, plan.folds, plan.fold or 0, plan.seed) if plan.folds else split(rows, source, plan.seed)
    check_patients(sides)
    outputs = len(plan.findings)
    samples = [
        Samples(
            cached.images.take(np.array([place[id(row)] for row in side], int)),
            np.array([row.labels for row in side], np.float32).reshape(-1, outputs),
        )
        for side in sides
    ]
    return (samples[0], samples[1], samples[2]), sides


def _phantoms(
    plan: TrainingPlan, source: PhantomSource, directory: Path, report: Report
) -> tuple[tuple[Samples, Samples, Samples], Samples | None]:
    """The three sides, and the phantoms of the scanner that no training saw."""

    def drawn(count: int, seed: int, emphasis: str = "", *, unseen: bool = False) -> Samples:
        return phantom_samples(
            directory / "phantoms",
            count,
            seed=seed,
            size=source.size,
            spec=plan.input,
            keys=plan.keys,
            processes=plan.threads,
            report=report,
            emphasis=emphasis,
            unseen=unseen,
        )

    sides = (
        drawn(source.train, source.seed, source.emphasis),
        drawn(source.validation, source.seed + 1),
        drawn(source.test, source.test_series),
    )
    return sides, drawn(source.unseen, source.test_series + 1, unseen=True) if source.unseen else None
