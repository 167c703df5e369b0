"""How far an image lies from those a network has learned from, told by the features that the network makes anyway.

The pooled last feature map of training images is described by its mean, its ``d`` axes of most variance (principal
components) and one variance for all directions left: a probabilistic PCA (Tipping and Bishop 1999). The distance is the
Mahalanobis distance (Lee et al. 2018) in both parts, each divided by its number of directions, so that 1 is usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from models.bundle import Bundle
from models.routing import Refusal
from triage.errors import BundleError
from triage.findings import NotAnalysedReason

GUARD = "guard.safetensors"
"""An optional file of a bundle; one without it reads whatever its routing and the gate let through."""

AXES = 32
FEWEST = 120
"""Training images that a guard needs at least."""
ACCEPTANCE = 0.99
"""Share of validation images within the limit, before the margin is added."""
MARGIN = 1.6
"""The limit lies so many times as far as that: chests of other hospitals lie further off than validation images do."""

Float32 = NDArray[np.float32]
_NAMES = ("mean", "axes", "spread", "rest", "limit")


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """What is usual for a network's features, and how far from it an image may lie.

    Attributes
    ----------
    mean : ndarray
        float32 (C,) of the pooled features.
    axes : ndarray
        float32 (d, C), orthonormal.
    spread : ndarray
        float32 (d,), standard deviation along each axis.
    rest : float
        Standard deviation in every other direction.
    limit : float
        Largest distance of an image that is read.
    """

    mean: Float32
    axes: Float32
    spread: Float32
    rest: float
    limit: float

    @classmethod
    def fit(
        cls, train: NDArray[Any], validation: NDArray[Any], *, acceptance: float = ACCEPTANCE, margin: float = MARGIN
    ) -> Guard | None:
        """Describe training features (N, C); set the limit on validation features (M, C) that training has not seen.

        None where fewer than :data:`FEWEST` training or no validation images are at hand: nobody knows what is usual.
        """
        if len(train) < FEWEST or not len(validation):
            return None
        mean = train.mean(axis=0, dtype=np.float64)
        _, sizes, axes = np.linalg.svd(train.astype(np.float64) - mean, full_matrices=False)
        count = min(AXES, len(train) // 4, train.shape[1] - 1)
        variances = sizes**2 / (len(train) - 1)
        rest = variances[count:].sum() / (train.shape[1] - count)
        floor = max(float(variances[0]) * 1e-9, 1e-12)  # a dead feature has no variance, and no distance either
        guard = cls(
            mean=mean.astype(np.float32),
            axes=axes[:count].astype(np.float32),
            spread=np.sqrt(np.maximum(variances[:count], floor)).astype(np.float32),
            rest=float(np.sqrt(max(float(rest), floor))),
            limit=np.inf,
        )
        limit = margin * float(np.quantile(guard.of_pooled(validation), acceptance))
        return cls(guard.mean, guard.axes, guard.spread, guard.rest, limit)

    @classmethod
    def of(cls, bundle: Bundle) -> Guard | None:
        """The guard of a bundle; None where it has none.

        Raises
        ------
        BundleError
            The file is no guard, or is one for other features.
        """
        if GUARD not in bundle.metadata.files:
            return None
        path = bundle.directory / GUARD
        try:
            with safe_open(path, framework="numpy") as tensors:
                found = {name: tensors.get_tensor(name) for name in _NAMES}
        except (OSError, SafetensorError) as error:
            raise BundleError(f"{path} cannot be read as a guard: {error}.") from error
        guard = cls(found["mean"], found["axes"], found["spread"], float(found["rest"]), float(found["limit"]))
        if not guard.sound or guard.mean.shape != bundle.head()[0].shape[1:]:
            raise BundleError(f"{path} is not a guard for the features of {bundle.metadata.name}.")
        return guard

    @property
    def sound(self) -> bool:
        """Whether shapes belong together and all numbers mean something."""
        shapes = self.axes.ndim == 2 and self.axes.shape == (*self.spread.shape, *self.mean.shape)
        finite = all(np.isfinite(part).all() for part in (self.mean, self.axes, self.spread))
        return bool(shapes and finite and (self.spread > 0).all() and self.rest > 0 and 0 < self.limit < np.inf)

    def to_bytes(self) -> bytes:
        """Content of :data:`GUARD`; the same guard gives the same bytes."""
        parts = (self.mean, self.axes, self.spread, np.float64(self.rest), np.float64(self.limit))
        content: bytes = save({name: np.asarray(part) for name, part in zip(_NAMES, parts, strict=True)})
        return content

    def distances(self, features: Float32) -> NDArray[np.float64]:
        """Of feature maps (N, C, h, w), as :attr:`models.inference.Prediction.features`: float64 (N,), 1 is usual."""
        return self.of_pooled(features.mean(axis=(2, 3), dtype=np.float64))

    def of_pooled(self, pooled: NDArray[Any]) -> NDArray[np.float64]:
        """Of pooled features (N, C)."""
        away = pooled - self.mean.astype(np.float64)
        along = away @ self.axes.T.astype(np.float64)
        left = np.maximum((away**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        count = len(self.axes)
        inside = ((along / self.spread) ** 2).sum(axis=1) / count
        outside = left / (self.rest**2 * (len(self.mean) - count))
        return np.asarray(np.sqrt((inside + outside) / 2), np.float64)

    def refusal(self, distance: float) -> Refusal | None:
        """Why an image at that distance has no score; None where it is within the limit."""
        if distance <= self.limit:
            return None
        detail = f"unlike the images it was trained on (distance {distance:.1f}, limit {self.limit:.1f})"
        return Refusal(NotAnalysedReason.OUT_OF_DISTRIBUTION, detail)
