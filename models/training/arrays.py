"""Images in one ``.npz`` as MedMNIST writes them (Yang et al. 2023)."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.metadata import InputSpec
from models.preprocessing import display_from_png
from models.training.errors import LeakageError, TrainingDataError
from models.training.plan import ArraysSource
from models.training.samples import Report, Samples, fitted

_PARTS = {"train": "train", "val": "validation", "test": "test"}
_LARGEST = 4 << 30
"""Bytes of all arrays together, uncompressed: they are held in memory."""


def array_samples(
    source: ArraysSource, keys: tuple[str, ...], spec: InputSpec, report: Report
) -> tuple[Samples, Samples, Samples]:
    """Training, validation and test as the file divides them.

    Raises
    ------
    TrainingDataError
        Not such a file, too large, or a finding's class is no label of it.
    LeakageError
        The same picture is on two sides and the plan refuses that.
    """
    arrays = _load(source)
    taken: set[str] = set()
    sides: dict[str, Samples] = {}
    dropped = 0
    # From the test side on: what is in it must not have been learned.
    for name in ("test", "val", "train"):
        images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
        digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
        keep = np.array([digest not in taken for digest in digests], bool)
        dropped += int((~keep).sum())
        taken |= set(digests)
        truth = np.column_stack([_truth(labels, source.labels.get(key, (key,)), key) for key in keys])
        pictures = [fitted(display_from_png(image), spec) for image in images[keep]]
        stack = np.stack(pictures) if pictures else np.zeros((0, spec.height, spec.width), np.uint8)
        sides[_PARTS[name]] = Samples(stack, truth[keep].astype(np.float32))
    if dropped and source.shared_images == "refuse":
        raise LeakageError(
            f"{dropped} pictures of {source.arrays.name} stand on two sides.",
            next_step='Leave them out of training and validation: shared_images = "drop" (--shared-images drop).',
        )
    if dropped:
        report("note", {"text": f"{dropped} pictures left out: they stand on the test or validation side too"})
    report("note", {"text": f"{source.arrays.name} names no patients: its sides cannot be proven to be patient-wise"})
    return sides["train"], sides["validation"], sides["test"]


def _load(source: ArraysSource) -> Mapping[str, NDArray[np.generic]]:
    needed = [f"{part}_{kind}" for part in _PARTS for kind in ("images", "labels")]
    try:
        with zipfile.ZipFile(source.arrays) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _LARGEST:
                raise TrainingDataError(f"{source.arrays} holds more than {_LARGEST >> 30} GiB of arrays.")
        with np.load(source.arrays, allow_pickle=False) as stored:
            missing = [name for name in needed if name not in stored]
            if missing:
                raise TrainingDataError(f"{source.arrays} has no array {', '.join(missing)}.")
            arrays = {name: stored[name] for name in needed}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise TrainingDataError(f"{source.arrays} cannot be read as .npz ({error}).") from error
    for part in _PARTS:
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.ndim != 3 or images.dtype != np.uint8 or labels.ndim != 2 or len(images) != len(labels):
            raise TrainingDataError(
                f"{source.arrays}: {part}_images is {images.dtype} {images.shape}, {part}_labels {labels.shape}; grey "
                "uint8 images (N, h, w) and labels (N, 1) or (N, K) are read."
            )
    return arrays


def _truth(labels: NDArray[np.generic], names: tuple[str, ...], key: str) -> NDArray[np.bool_]:
    if not all(name.isdecimal() for name in names):
        raise TrainingDataError(f"finding {key}: labels of a .npz are numbers of classes, not {', '.join(names)}.")
    numbers = [int(name) for name in names]
    if labels.shape[1] == 1:
        return np.isin(labels[:, 0], numbers)
    if max(numbers) >= labels.shape[1]:
        raise TrainingDataError(f"finding {key}: the arrays have {labels.shape[1]} columns of labels, counted from 0.")
    named: NDArray[np.bool_] = np.any(labels[:, numbers] == 1, axis=1)
    return named
