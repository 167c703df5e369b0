"""Where an evaluation's images come from: files, or phantoms drawn when they are needed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from pydicom.dataset import Dataset

from models.decoding import read
from models.phantom import generate
from models.phantom.dicom import to_dataset
from models.phantom.export import matrix_size
from models.preprocessing import Float32, display_from_png
from triage.errors import PixelError

_PLAIN = frozenset({".png", ".jpg", ".jpeg"})
_TAKEN_AT = datetime(2026, 1, 1, 12)  # noqa: DTZ001 - a department's wall clock; phantoms are the same every time


class Image(Protocol):
    """One image, not read yet."""

    @property
    def name(self) -> str:
        """For messages."""

    def digest(self) -> str:
        """SHA-256, hex: the same for the same pixels and header.

        Raises
        ------
        OSError
            The file cannot be read.
        """

    def open(self) -> Dataset | Float32:
        """A DICOM object, or the display picture (rows, columns) in [0, 1] of a file without a header.

        Raises
        ------
        DicomError
            It is neither.
        OSError
            The file cannot be read.
        """


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A DICOM, PNG or JPEG file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def digest(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def open(self) -> Dataset | Float32:
        if self.path.suffix.lower() not in _PLAIN:
            return read(self.path)
        array = cv2.imdecode(np.fromfile(self.path, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
        if array is None:
            raise PixelError("the file cannot be read as a PNG or JPEG image.")
        return display_from_png(array)


@dataclass(frozen=True, slots=True)
class PhantomImage:
    """Phantom `index` of series `seed`, as :func:`models.phantom.write_phantoms` would write it."""

    seed: int
    index: int
    unseen: bool = False

    @property
    def name(self) -> str:
        scanner = " on the unseen scanner" if self.unseen else ""
        return f"phantom {self.index} of series {self.seed}{scanner}"

    def digest(self) -> str:
        return hashlib.sha256(f"{_generator()} {self.seed} {self.index} {self.unseen}".encode()).hexdigest()

    def open(self) -> Dataset | Float32:
        phantom = generate(self.seed, self.index, size=matrix_size(self.seed, self.index), unseen=self.unseen)
        return to_dataset(phantom, self.seed, self.index, taken_at=_TAKEN_AT)


@cache
def _generator() -> str:
    """What the generator draws today: when it changes, so do all phantoms, and no kept prediction is theirs."""
    drawn = (generate(seed, 0, size=256, unseen=seed > 2).pixels.tobytes() for seed in range(4))
    return hashlib.sha256(b"".join(drawn)).hexdigest()
