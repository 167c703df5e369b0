"""Images on which heat maps are checked: phantoms with their true masks, or pictures without any."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from models.decoding import decode, read
from models.explaining.activation import Float32
from models.explaining.localisation import Mask
from models.metadata import InputSpec
from models.phantom import generate
from models.preprocessing import display_from_png, display_image, network_input, pixel_aspect
from models.resampling import shrink
from triage.errors import PixelError

MASK_STEP = 4
"""Masks lie on a grid of a quarter of the input's resolution: finer than any map."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Case:
    """One image with what is known about it.

    Attributes
    ----------
    image : ndarray
        float32 (1, H, W), the network's input.
    present : frozenset of str or None
        Keys of the findings it shows; None where nobody knows.
    masks : mapping of str to ndarray
        bool (H / 4, W / 4): where a finding lies, as far as that is known.
    """

    image: Float32
    present: frozenset[str] | None = None
    masks: Mapping[str, Mask] = field(default_factory=dict)


def phantom_cases(count: int, seed: int, spec: InputSpec, keys: Collection[str], *, size: int = 640) -> Iterator[Case]:
    """The phantoms 0 to count - 1 of a seed, with the masks of the findings in ``keys``.

    Parameters
    ----------
    size : int
        Longer side of the phantom's matrix in pixels.
    """
    plain = spec.model_copy(update={"mean": 0.0, "std": 1.0})
    for index in range(count):
        phantom = generate(seed, index, size=size)
        image, _ = network_input(phantom.display(), spec)
        masks = {}
        for key in phantom.present & set(keys):
            inside, _ = network_input(phantom.masks[key].astype(np.float32), plain)
            coverage = shrink(inside[0], spec.height // MASK_STEP, spec.width // MASK_STEP)
            # A pleural line is thinner than a cell: where nothing is covered by two fifths, what is covered most.
            masks[key] = coverage > min(0.4, 0.99 * float(coverage.max()))
        yield Case(image=image, present=phantom.present, masks=masks)


def picture_cases(folder: Path, spec: InputSpec) -> Iterator[Case]:
    """Pictures of a folder about which nothing is known, in the order of their names: PNG, JPEG or DICOM.

    Raises
    ------
    PixelError
        One of them cannot be read as a grey image.
    """
    for path in sorted(folder.iterdir()):
        suffix = path.suffix.lower()
        if suffix in {".png", ".jpg", ".jpeg"}:
            grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
            if grey is None:
                raise PixelError(f"{path} cannot be read as an image.")
            image, _ = network_input(display_from_png(grey), spec)
            yield Case(image=image)
        elif suffix == ".dcm":
            dataset = read(path)
            display = display_image(dataset, decode(dataset))
            image, _ = network_input(display, spec, pixel_aspect=pixel_aspect(dataset))
            yield Case(image=image)
