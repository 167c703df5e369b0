"""Where the images of a table lie, and what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from models.decoding import decode, read
from models.metadata import InputSpec
from models.preprocessing import display_from_png, display_image, pixel_aspect
from models.training.errors import TrainingDataError
from models.training.samples import finely_fitted
from triage.errors import FirstreadError

ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", "")
"""Of image files; a resized copy of a data set often has another one than its table says."""


class ImageFolder:
    """Finds the images that a table names below one folder, and never outside it.

    A name with folders in it is looked for as it is. A bare name is looked for in the folder itself, in ``images``,
    and in NIH's ``images_001/images`` to ``images_012/images``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[Path, dict[str, Path]] = {}
        self._flat = [root, root / "images"]
        for part in sorted(root.glob("images_*")):
            self._flat += [part / "images", part]

    def find(self, names: Iterable[str]) -> Path | None:
        """The file of the first name that is there."""
        for name in names:
            relative = PurePosixPath(name.replace("\\", "/"))
            if relative.is_absolute() or ".." in relative.parts:
                relative = PurePosixPath(relative.name)
            folders = self._flat if len(relative.parts) < 2 else [self._root / relative.parent]
            for folder in folders:
                found = self._named(folder, relative.name)
                if found is not None:
                    return found
        return None

    def _named(self, folder: Path, name: str) -> Path | None:
        files = self._files(folder)
        stem = PurePosixPath(name).stem
        return next((files[n] for n in (name, *(stem + ending for ending in ENDINGS)) if n in files), None)

    def _files(self, folder: Path) -> dict[str, Path]:
        # One look at a folder instead of fourteen at each of 112,000 images.
        if folder not in self._listed:
            self._listed[folder] = {p.name: p for p in folder.iterdir() if p.is_file()} if folder.is_dir() else {}
        return self._listed[folder]


def read_image(path: Path, spec: InputSpec) -> NDArray[np.uint16]:
    """The picture as the network will see it, by the same way as in service.

    Parameters
    ----------
    path : Path
        PNG or JPEG by its ending, else DICOM.

    Returns
    -------
    ndarray
        uint16 (height, width): display 0..1 as 0..65535, fitted.

    Raises
    ------
    TrainingDataError
        Not an image.
    """
    try:
        if path.suffix.lower() in {".png", ".jpg", ".jpeg"}:
            array = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
            if array is None:
                raise TrainingDataError(f"{path.name} cannot be read as an image.")
            return finely_fitted(display_from_png(array), spec)
        dataset = read(path)
        return finely_fitted(display_image(dataset, decode(dataset)), spec, pixel_aspect=pixel_aspect(dataset))
    except TrainingDataError:
        raise
    except (FirstreadError, OSError, cv2.error) as error:
        raise TrainingDataError(f"{path.name} cannot be read as an image ({error}).") from error
