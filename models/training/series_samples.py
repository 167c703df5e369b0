"""Head-CT phantoms as samples: slices of many heads to learn from, whole heads to judge by."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.ct.slices import slab_input, slice_input
from models.metadata import InputSpec, SeriesSpec
from models.phantom.head_ct import HeadCt, generate_head_ct
from models.training.samples import Report

SIZES = (192, 256, 384)
"""Matrices of the phantoms that are learned from; whole heads to judge by have up to 512."""
MASK_SIDE = 40
"""Masks are kept on a coarse grid of this many cells per side."""
VISIBLE = 25.0
"""Square millimetres of blood that make a slice positive; with less it is neither, for nobody could say."""
_CHUNK = 50


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """N slices with their truth.

    Attributes
    ----------
    images : ndarray
        uint8 (N, channels, height, width): display 0..1 as 0..255.
    labels : ndarray
        float32 (N,) of 0, 1, or NaN.
    masks : ndarray
        uint8 (N, MASK_SIDE, MASK_SIDE): how much of a cell is blood, 0..255.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.float32]
    masks: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True, eq=False)
class HeadSample:
    """A whole series as the worker would give it to the network.

    Attributes
    ----------
    inputs : ndarray
        float32 (N, channels, height, width).
    blood : ndarray of bool
        (N, height, width) on the network's input.
    """

    inputs: NDArray[np.float32]
    blood: NDArray[np.bool_]
    present: frozenset[str]


def training_slices(
    directory: Path, count: int, *, seed: int, every: int, series: SeriesSpec, spec: InputSpec, report: Report
) -> Slices:
    """Each ``every``-th slice of the heads 0 to count - 1 of a seed, from the cache below ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        path = directory / f"{seed}-{start}-{stop}-{every}-{spec.height}x{spec.width}.npz"
        if not path.is_file():
            _keep(path, _chunk(seed, range(start, stop), every, series, spec))
            report("generated", {"seed": seed, "done": stop, "of": count})
        with np.load(path, allow_pickle=False) as stored:
            parts.append(Slices(stored["images"], stored["labels"], stored["masks"]))
    return Slices(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "labels", "masks")))


def whole_heads(
    heads: range, *, seed: int, series: SeriesSpec, spec: InputSpec, unseen: bool = False
) -> Iterator[HeadSample]:
    """Heads of a seed, one after the other, as the worker reads them."""
    for index in heads:
        size = int(np.random.default_rng([seed, index, 3]).choice([256, 384, 512]))
        yield head_sample(generate_head_ct(seed, index, size=size, unseen=unseen), series, spec)


def head_sample(head: HeadCt, series: SeriesSpec, spec: InputSpec) -> HeadSample:
    """All slices of a phantom as network input."""
    slices = [slice_input(head.hounsfield(number), series, spec)[0] for number in range(len(head))]
    blood = [_fitted(mask, (spec.width, spec.height)) > 0.5 for mask in head.blood()]
    inputs = np.stack([slab_input(slices, number, series) for number in range(len(head))])
    return HeadSample(inputs, np.stack(blood), head.present)


def _chunk(seed: int, heads: range, every: int, series: SeriesSpec, spec: InputSpec) -> Slices:
    plain = InputSpec(height=spec.height, width=spec.width, mean=0.0, std=1.0)
    images, labels, masks = [], [], []
    for index in heads:
        rng = np.random.default_rng([seed, index, 3])
        head = generate_head_ct(seed, index, size=int(rng.choice(SIZES)), every=every if series.slab == 1 else 1)
        slices = [slice_input(head.hounsfield(number), series, plain)[0] for number in range(len(head))]
        for number, blood in enumerate(head.blood()):
            area = float(blood.sum()) * head.pitch**2
            images.append(np.round(slab_input(slices, number, series) * 255).astype(np.uint8))
            labels.append(1.0 if area >= VISIBLE else 0.0 if area == 0 else np.nan)
            masks.append(np.round(_fitted(blood, (MASK_SIDE, MASK_SIDE)) * 255).astype(np.uint8))
    return Slices(np.stack(images), np.array(labels, np.float32), np.stack(masks))


def _fitted(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float32]:
    resized: NDArray[np.float32] = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return resized


def _keep(path: Path, slices: Slices) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(part, images=slices.images, labels=slices.labels, masks=slices.masks)
    os.replace(part, path)  # noqa: PTH105
