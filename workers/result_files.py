"""Result objects and previews on disk, below the results root; names are digests, never text from the network."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node import results
from triage.durable import sync_folder, write_durably
from triage.errors import StorageFullError
from triage.repositories.outcomes import Previews
from triage.repositories.results import BuiltObject
from workers.study_objects import Message

JPEG_QUALITY = 90


def store_object(
    root: Path, dataset: Dataset, kind: str, *, variant: str = "", source_instance_id: int | None = None
) -> BuiltObject:
    """Write a result object durably under the digest of its SOP Instance UID.

    A retry rebuilds the same bytes under the same name, so writing again is harmless.

    Raises
    ------
    StorageFullError
        The disk did not take it.
    """
    relative = _make_place(root, str(dataset.SOPInstanceUID), "dcm")
    try:
        sha256, size = results.write(dataset, root / relative)
    except OSError as error:
        raise StorageFullError(f"A result object could not be written: {error.strerror}.") from error
    return BuiltObject(
        kind=kind,
        variant=variant,
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        relative_path=relative.as_posix(),
        sha256=sha256,
        size=size,
        source_instance_id=source_instance_id,
    )


def store_message(root: Path, message: Message, kind: str, *, variant: str, identity: Mapping[str, str]) -> BuiltObject:
    """Write a message durably under the digest of its identifier, as :func:`store_object` does.

    Raises
    ------
    StorageFullError
        The disk did not take it.
    """
    relative = _make_place(root, message.identifier, message.suffix)
    try:
        write_durably(root / relative, message.content)
    except OSError as error:
        raise StorageFullError(f"A message could not be written: {error.strerror}.") from error
    return BuiltObject(
        kind=kind,
        variant=variant,
        sop_instance_uid=message.identifier,
        sop_class_uid="",
        series_instance_uid="",
        transfer_syntax_uid="",
        relative_path=relative.as_posix(),
        sha256=hashlib.sha256(message.content).hexdigest(),
        size=len(message.content),
        identity=identity,
    )


def store_previews(
    root: Path,
    uid: str,
    image: NDArray[np.uint8],
    overlay: NDArray[np.uint8] | None,
    heat: Mapping[str, NDArray[np.uint8]] = MappingProxyType({}),
) -> Previews:
    """Write the page's pictures of one image, beside its heat map.

    Parameters
    ----------
    uid : str
        SOP Instance UID of the heat map; where there is none, a name that no other pictures have.
    image : ndarray
        uint8 (rows, columns, 3) RGB, small enough for a page.
    overlay : ndarray or None
        The same view, of the same shape, with the activation over it.
    heat : mapping of str to ndarray
        Finding key to its activation over the whole image, uint8 (rows, columns) of any size.
    """
    return Previews(
        image=_write_jpeg(root, uid, "image", image),
        overlay="" if overlay is None else _write_jpeg(root, uid, "overlay", overlay),
        heat={key: _write_picture(root, uid, f"{key}.heat.png", _encoded(".png", map_)) for key, map_ in heat.items()},
    )


def store_rendering(root: Path, instance_id: int, frame: int, words: NDArray[np.uint16] | NDArray[np.uint8]) -> str:
    """Write a frame for a browser's viewer; the path below the results root.

    Parameters
    ----------
    words : ndarray
        uint16 (rows, columns). The file holds them little endian, row by row, in gzip: a browser gets what it can
        window, where a PNG would give it 8 bits. Of a colour image uint8 (rows, columns, 3).

    Raises
    ------
    StorageFullError
        The disk did not take it.
    """
    plain = words.astype("<u2" if words.ndim == 2 else "u1", copy=False).tobytes()
    data = gzip.compress(plain, compresslevel=1, mtime=0)
    return _write_picture(root, f"rendering of {instance_id}.{frame}", "u16.gz" if words.ndim == 2 else "rgb.gz", data)


def _write_jpeg(root: Path, uid: str, role: str, picture: NDArray[np.uint8]) -> str:
    data = _encoded(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return _write_picture(root, uid, f"{role}.jpg", data)


def _encoded(form: str, picture: NDArray[np.uint8], options: Sequence[int] = ()) -> bytes:
    encoded, data = cv2.imencode(form, picture, options)
    if not encoded:
        raise StorageFullError("A preview could not be encoded.")
    return data.tobytes()


def _write_picture(root: Path, uid: str, suffix: str, data: bytes) -> str:
    relative = _make_place(root, uid, suffix)
    temporary = (root / relative).with_name(f"{relative.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        temporary.write_bytes(data)  # a lost picture is made again by a new look; no need for fsync
        temporary.replace(root / relative)  # but nobody is served half of one
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageFullError(f"A preview could not be written: {error.strerror}.") from error
    return relative.as_posix()


def place(uid: str, suffix: str) -> Path:
    """Where a file about a result object lies, below the results root."""
    digest = hashlib.sha256(uid.encode("ascii")).hexdigest()
    return Path(digest[:2]) / f"{digest}.{suffix}"


def result_paths(root: Path, pattern: str = "*.dcm") -> Iterator[str]:
    """Files below the results root, relative to it, folder by folder; of result objects unless asked for others."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        yield from (f"{folder.name}/{path.name}" for path in sorted(folder.glob(pattern)))


def make_folders(root: Path) -> None:
    """Make every folder that a result can lie in, durably: a loss of power takes a folder with its files.

    All at once, at the start of a process: one that finds a folder must not have to ask whether it is synced.
    """
    missing = [folder for folder in (root / f"{number:02x}" for number in range(256)) if not folder.is_dir()]
    for folder in missing:
        folder.mkdir(parents=True, exist_ok=True)
    if missing:
        sync_folder(root)


def _make_place(root: Path, uid: str, suffix: str) -> Path:
    relative = place(uid, suffix)
    if not (root / relative).parent.is_dir():
        make_folders(root)
    return relative
