"""A guard for a trained network: its features on training images, its limit on validation images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import EVALUATION, Bundle
from models.bundle_writer import write_again
from models.guard import ACCEPTANCE, GUARD, MARGIN, Guard
from models.inference import Predictor
from models.training.errors import TrainingDataError
from models.training.samples import Samples

MOST = 1000
"""Images of each side that are looked at: more change nothing that is told by 32 axes."""
_BATCH = 16

Features = Callable[[Samples], NDArray[Any]]
"""Samples to pooled features (n, C)."""


@dataclass(frozen=True, slots=True, eq=False)
class Guarded:
    """A guard with the figures that ``evaluation.json`` and the card give of it."""

    guard: Guard
    figures: dict[str, Any]


def fit_guard(features: Features, train: Samples, validation: Samples, test: Samples) -> Guarded | None:
    """None where there are too few images (:data:`models.guard.FEWEST`)."""
    seen = [_pooled(features, side) for side in (train, validation)]
    guard = Guard.fit(*seen)
    if guard is None:
        return None
    distances = guard.of_pooled(_pooled(features, test))
    figures = {
        "limit": round(guard.limit, 4),
        "acceptance": ACCEPTANCE,
        "margin": MARGIN,
        "training_images": len(seen[0]),
        "validation_images": len(seen[1]),
        "test_images": len(distances),
        "test_kept_back": int((distances > guard.limit).sum()),
    }
    return Guarded(guard, figures)


def guard_again(
    bundle: Bundle, directory: Path, sides: tuple[Samples, Samples, Samples], *, threads: int = 1
) -> Bundle:
    """Copy a bundle with a guard made of training, validation and test samples; nothing else of it changes.

    Raises
    ------
    TrainingDataError
        Too few samples.
    """
    predictor = Predictor.load(bundle, "cpu", threads=threads)

    def features(samples: Samples) -> NDArray[Any]:
        images = samples.network_images(slice(None), bundle.metadata.input)
        return np.asarray(predictor.predict(images).features.mean(axis=(2, 3)))

    guarded = fit_guard(features, *sides)
    if guarded is None:
        raise TrainingDataError("there are too few images to tell what is usual.", next_step="Name more images.")
    evaluation = json.loads((bundle.directory / EVALUATION).read_bytes()) | {"guard": guarded.figures}
    return write_again(bundle, directory, evaluation, {GUARD: guarded.guard.to_bytes()})


def _pooled(features: Features, samples: Samples) -> NDArray[Any]:
    chosen = np.unique(np.linspace(0, max(len(samples) - 1, 0), min(len(samples), MOST)).astype(np.int64))
    parts = [features(samples.take(chosen[n : n + _BATCH])) for n in range(0, len(chosen), _BATCH)]
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
