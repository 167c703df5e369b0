"""Result objects and previews on disk, below the results root; names are digests, never text from the network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node import results
from triage.errors import StorageFullError
from triage.repositories.outcomes import BuiltObject, Previews

PREVIEW_SIDE = 1024
"""Longest side of a preview in pixels: the width of a page, a hundredth of the bytes of a radiograph."""
JPEG_QUALITY = 90


def store_object(root: Path, dataset: Dataset, kind: str, *, source_instance_id: int | None = None) -> BuiltObject:
    """Write a result object durably under the digest of its SOP Instance UID.

    A retry rebuilds the same bytes under the same name, so writing again is harmless.

    Raises
    ------
    StorageFullError
        The disk did not take it.
    """
    relative = _place(root, str(dataset.SOPInstanceUID), "dcm")
    try:
        sha256, size = results.write(dataset, root / relative)
    except OSError as error:
        raise StorageFullError(f"A result object could not be written: {error.strerror}.") from error
    return BuiltObject(
        kind=kind,
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        relative_path=relative.as_posix(),
        sha256=sha256,
        size=size,
        source_instance_id=source_instance_id,
    )


def store_previews(
    root: Path, heat_map: BuiltObject, display: NDArray[np.float32], overlay: NDArray[np.uint8] | None
) -> Previews:
    """Write the page's pictures of one image as JPEG, beside its heat map.

    Parameters
    ----------
    display : ndarray
        float32 (rows, columns) in [0, 1].
    overlay : ndarray or None
        uint8 (rows, columns, 3) RGB, the same view with the activation over it.
    """
    rows, columns = display.shape
    scale = min(1.0, PREVIEW_SIDE / max(rows, columns))
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    grey = np.clip(cv2.resize(display, size, interpolation=cv2.INTER_AREA) * 255, 0, 255).astype(np.uint8)
    image = _write_jpeg(root, heat_map.sop_instance_uid, "image", grey)
    if overlay is None:
        return Previews(image=image)
    return Previews(image=image, overlay=_write_jpeg(root, heat_map.sop_instance_uid, "overlay", overlay[:, :, ::-1]))


def _write_jpeg(root: Path, uid: str, role: str, picture: NDArray[np.uint8]) -> str:
    encoded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise StorageFullError("A preview could not be encoded.")
    relative = _place(root, uid, f"{role}.jpg")
    try:
        (root / relative).write_bytes(data.tobytes())  # a lost preview is rebuilt by a new look; no need for fsync
    except OSError as error:
        raise StorageFullError(f"A preview could not be written: {error.strerror}.") from error
    return relative.as_posix()


def _place(root: Path, uid: str, suffix: str) -> Path:
    digest = hashlib.sha256(uid.encode("ascii")).hexdigest()
    relative = Path(digest[:2]) / f"{digest}.{suffix}"
    (root / relative).parent.mkdir(parents=True, exist_ok=True)
    return relative
