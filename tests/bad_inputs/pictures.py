"""Radiographs of the phantom, compressed and spoilt in every way: what the P cases send."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from models.phantom import generate, to_dataset

TAKEN_AT: Final = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
SEED: Final = 4242
SIDE: Final = 384

Spoil = Callable[[Dataset], None]
Encoder = Callable[[NDArray[Any]], bytes]


@cache
def _drawn(index: int, findings: tuple[str, ...]) -> Dataset:
    return to_dataset(generate(SEED, index, size=SIDE, findings=findings), SEED, index, taken_at=TAKEN_AT)


def phantom(index: int, *findings: str) -> Dataset:
    """A radiograph of the phantom, in a study of its own at each call."""
    dataset = copy.deepcopy(_drawn(index, findings))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (
        f"2.25.{uuid.uuid4().int}" for _ in range(3)
    )
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PatientID = f"BAD-{dataset.StudyInstanceUID[-8:]}"
    return dataset


def sibling(dataset: Dataset, number: int) -> Dataset:
    """Another instance of the same series."""
    other = copy.deepcopy(dataset)
    other.SOPInstanceUID = f"2.25.{uuid.uuid4().int}"
    other.file_meta.MediaStorageSOPInstanceUID = other.SOPInstanceUID
    other.InstanceNumber = number
    return other


def elements(**values: Any) -> Spoil:
    """Sets attributes; None empties one."""

    def spoil(dataset: Dataset) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return spoil


def without(*keywords: str) -> Spoil:
    def spoil(dataset: Dataset) -> None:
        for keyword in keywords:
            delattr(dataset, keyword)

    return spoil


def drawn(pixels: NDArray[Any], **values: Any) -> Spoil:
    """Other pixels, of whatever size and depth, described truly."""

    def spoil(dataset: Dataset) -> None:
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.BitsAllocated = 8 * pixels.dtype.itemsize
        dataset.BitsStored = min(dataset.BitsStored, dataset.BitsAllocated)
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelData = pixels.tobytes()
        elements(**values)(dataset)

    return spoil


def pixels_of(dataset: Dataset) -> NDArray[np.uint16]:
    """The pixels of an uncompressed phantom, (rows, columns)."""
    return np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)


def coded(syntax: str, frame: bytes, *, fragments: int = 1, table: bytes = b"", **values: Any) -> Spoil:
    """Encapsulated pixel data with these bytes as its frame.

    Parameters
    ----------
    fragments : int
        Into how many the frame is cut.
    table : bytes
        Content of the Basic Offset Table.
    """

    def spoil(dataset: Dataset) -> None:
        padded = frame + b"\0" * (len(frame) % 2)
        data = (
            bytearray(encapsulate([padded], fragments_per_frame=fragments, has_bot=False))
            if padded
            else bytearray(b"\xfe\xff\x00\xe0\0\0\0\0" * 2)
        )
        data[4:8] = len(table).to_bytes(4, "little")
        data[8:8] = table
        dataset.PixelData = bytes(data) + b"\xfe\xff\xdd\xe0\0\0\0\0"
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
        elements(**values)(dataset)

    return spoil


def compressed(
    syntax: str,
    change: Callable[[bytes], bytes] = bytes,
    *,
    label: str = "",
    more: tuple[int, int] = (0, 0),
    **how: Any,
) -> Spoil:
    """The dataset's own pixels, compressed, with the codestream changed and described as they were.

    Parameters
    ----------
    label : str
        Transfer syntax that is stated instead of the true one.
    more : tuple of int
        Rows and columns that the codestream has more than the attributes say.
    """

    def spoil(dataset: Dataset) -> None:
        pixels = np.resize(pixels_of(dataset), (dataset.Rows + more[0], dataset.Columns + more[1]))
        coded(label or syntax, change(ENCODERS[syntax](pixels)), **how)(dataset)

    return spoil


def _rle(pixels: NDArray[Any]) -> bytes:
    dataset = phantom(0)
    drawn(pixels)(dataset)
    dataset.compress(uid.RLELossless, generate_instance_uid=False)
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


ENCODERS: Final[Mapping[str, Encoder]] = {
    uid.RLELossless: _rle,
    uid.JPEGLosslessSV1: lambda a: bytes(imagecodecs.ljpeg_encode(a)),
    uid.JPEGLSLossless: lambda a: bytes(imagecodecs.jpegls_encode(a)),
    uid.JPEG2000Lossless: lambda a: bytes(imagecodecs.jpeg2k_encode(a, level=0, codecformat="j2k", reversible=True)),
    uid.HTJ2KLossless: lambda a: bytes(imagecodecs.htj2k_encode(a, reversible=True)),
}
