"""Which patients of a table a training held out: found again by the training's own rule, and proven by counting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from models.evaluating.errors import EvaluationError
from models.evaluating.labelled import Case, divide

USUAL: Final = {"validation": 0.2, "test": 0.3}
"""Shares of bundles from before their training stated them, as :class:`models.training.plan.FolderSource` divides."""
_NEXT: Final = (
    "Add the column side of the training's split.csv to the table, and give --validation side=validation --test "
    "side=test."
)


def held_out(
    cases: Sequence[Case], figures: Mapping[str, Any], seed: int
) -> tuple[tuple[Case, ...], tuple[Case, ...], tuple[Case, ...]]:
    """What the training learned from, its validation and its test.

    Parameters
    ----------
    figures : mapping
        The bundle's own ``evaluation.json``.
    seed : int
        Of its training, where the figures do not state the division.

    Raises
    ------
    EvaluationError
        The sides were not drawn by seed and patient, or this table does not divide into as many images as the training
        had: then images that it learned from could be taken for held out, and flatter it.
    """
    training = figures.get("training")
    training = training if isinstance(training, Mapping) else {}
    division = training.get("division", {"seed": seed, **USUAL})
    if not isinstance(division, Mapping):
        raise EvaluationError(
            "the sides of this bundle's training were not drawn from its seed, but from lists, folds or a file: they "
            "cannot be found again from the table.",
            next_step=_NEXT,
        )
    sides = divide(cases, seed=division["seed"], validation=division["validation"], test=division["test"])
    here = tuple(map(len, sides))
    there = tuple(_images(figures.get(name)) for name in ("training", "validation", "test"))
    if here != there:
        raise EvaluationError(
            f"this table divides into {_counted(here)}; the bundle's training had {_counted(there)}. It is not the "
            "table that the bundle was trained on, or its sides were drawn otherwise.",
            next_step=_NEXT,
        )
    return sides


def _images(figures: object) -> int | None:
    count = figures.get("images") if isinstance(figures, Mapping) else None
    return count if isinstance(count, int) else None


def _counted(sides: Sequence[int | None]) -> str:
    learned, validation, test = ("an unknown number of" if count is None else count for count in sides)
    return f"{learned} images for training, {validation} images for validation and {test} images for the test"
