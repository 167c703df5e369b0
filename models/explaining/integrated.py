"""Integrated gradients: attributions of single pixels that add up to the score (Sundararajan et al. 2017). Needs torch.

attribution = (x - x0) * integral over a in [0, 1] of dlogit/dx (x0 + a (x - x0)), by the midpoint rule. Their sum is
logit(x) - logit(x0): completeness, the paper's axiom, which tells whether the steps were fine enough. A map that does
not add up is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from models.explaining.activation import Float32, to_peak
from triage.errors import ExplanationError

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 0.05
"""How far the sum may be from the difference of the logits, as a share of it; the paper asks for 5 %."""
FEWEST_STEPS, MOST_STEPS = 32, 256
_BATCH = 8
_CELLS = 40
"""Attributions of single pixels are noise to the eye: their map is shown in so many cells along the longer side."""


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """What each input pixel adds to a logit.

    Attributes
    ----------
    values : ndarray
        float32 (H, W), signed, in units of the logit; the sum over the channels.
    difference : float
        logit(image) - logit(baseline).
    steps : int
        Of the integral.
    """

    values: Float32
    difference: float
    steps: int

    @property
    def gap(self) -> float:
        """How far the attributions are from adding up, in units of the logit."""
        return abs(float(self.values.sum(dtype=np.float64)) - self.difference)

    def heat(self) -> Float32:
        """As a map in [0, 1]: averaged over cells, then as of :func:`~models.explaining.activation.to_peak`."""
        height, width = self.values.shape
        shrink = min(1.0, _CELLS / max(height, width))
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        return to_peak(np.asarray(cv2.resize(self.values, size, interpolation=cv2.INTER_AREA)))


def integrated_gradients(
    logits: Callable[[Tensor], Tensor],
    image: Float32,
    row: int,
    *,
    baseline: float | Float32,
    tolerance: float = TOLERANCE,
    most_steps: int = MOST_STEPS,
) -> Attribution:
    """Attribute one logit to the pixels of one image.

    Parameters
    ----------
    logits : callable
        Tensor (N, 1, H, W) → logits (N, K); in evaluation mode, on the CPU.
    image : ndarray
        float32 (1, H, W), the network's input.
    row : int
        Which logit.
    baseline : float or ndarray
        Value of every pixel of the image that says nothing, or float32 (C, 1, 1): black, as the bundle's normalisation
        has it (:func:`models.preprocessing.normalise`).
    tolerance : float
        Largest :attr:`Attribution.gap`, as a share of the difference of the logits but at least of 0.1 logits.
    most_steps : int
        The steps are doubled from 32 until the attributions add up, at most to so many.

    Raises
    ------
    ExplanationError
        They do not add up.
    """
    steps = min(FEWEST_STEPS, most_steps)
    while True:
        found = _integrate(logits, image, row, baseline, steps)
        allowed = tolerance * max(abs(found.difference), 0.1)
        if found.gap <= allowed:
            return found
        if 2 * steps > most_steps:
            raise ExplanationError(
                f"integrated gradients of {steps} steps miss the score's {found.difference:.3g} by {found.gap:.2g}."
            )
        steps *= 2


def _integrate(
    logits: Callable[[Tensor], Tensor], image: Float32, row: int, baseline: float | Float32, steps: int
) -> Attribution:
    import torch  # noqa: PLC0415 - a CPU worker does without, unless its bundle asks for this method

    start = torch.from_numpy(np.broadcast_to(np.asarray(baseline, np.float32), image.shape).copy())
    path = torch.from_numpy(np.ascontiguousarray(image)) - start
    total = torch.zeros(image.shape)
    with torch.enable_grad():
        for first in range(0, steps, _BATCH):
            share = (torch.arange(first, min(first + _BATCH, steps)) + 0.5) / steps
            points = (start + share[:, None, None, None] * path).requires_grad_()
            (gradient,) = torch.autograd.grad(logits(points)[:, row].sum(), points)
            total += gradient.sum(dim=0)
    with torch.inference_mode():
        ends = logits(torch.stack([start, start + path]))[:, row]
    values = (path * total / steps).sum(dim=0).numpy()
    if not np.isfinite(values).all():
        raise ExplanationError("the gradients of the score are not finite.")
    return Attribution(values=values, difference=float(ends[1] - ends[0]), steps=steps)
