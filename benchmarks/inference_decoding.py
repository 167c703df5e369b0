"""Decoding: ours, alone and in the product's decoder process, beside every decoder at hand, per transfer syntax."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from alternating import alternate
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from models import decoding
from models.decoder import Decoder

Pixels = NDArray[np.uint16]
_OURS, _PROCESS = "ours", "ours, in the decoder process"
_THREADS = os.cpu_count() or 1


def measure(folder: Path, *, repeats: int, tiny: bool) -> str:
    """A Markdown table, one row per transfer syntax; every decoder must give the same pixels."""
    shape = (250, 204) if tiny else (2500, 2048)
    rng = np.random.default_rng(5)
    smooth = cv2.resize(rng.random((20, 16)), shape[::-1], interpolation=cv2.INTER_CUBIC)
    pixels = np.clip(smooth * 14000 + rng.normal(0, 30, shape), 0, 16383).astype(np.uint16)
    lines = [
        f"## Decoding, {shape[0]} × {shape[1]}, 14 of 16 bits, file to pixels",
        "",
        "| transfer syntax | MB | ours, ms | in the decoder process, ms | fastest other, ms | which | ours / fastest |",
        "|---|---|---|---|---|---|---|",
    ]
    with closing(Decoder(seconds=60)) as decoder:
        for name, syntax, encode in _SYNTAXES:
            path = folder / f"{syntax}.dcm"
            _write(path, pixels, syntax, encode)
            lines.append(_row(name, path, pixels, decoder, repeats))
    lines += [
        "",
        "Each route reads the file anew and adds up the pixels once, so that none is left in the file unread. Ours "
        "compares the codestream with the attributes first. Goal: ≤ 1.1 × the fastest.",
    ]
    return "\n".join(lines)


def _row(name: str, path: Path, pixels: Pixels, decoder: Decoder, repeats: int) -> str:
    routes: dict[str, Callable[[], Any]] = {
        _OURS: lambda: decoding.decode(decoding.read(path)),
        _PROCESS: lambda: decoding.decode(decoding.read(path), decoder.decode),
        **_others(path, pixels),
    }
    for route, decode in list(routes.items()):
        if not np.array_equal(decode(), pixels):
            raise AssertionError(f"{route} does not give the pixels of {name}")
    total = int(pixels.sum(dtype=np.uint64))

    def read_whole(decode: Callable[[], Any]) -> None:
        assert int(decode().sum(dtype=np.uint64)) == total

    taken = alternate({route: (lambda d=decode: read_whole(d)) for route, decode in routes.items()}, repeats)  # type: ignore[misc]
    others = {route: timing for route, timing in taken.items() if route not in (_OURS, _PROCESS)}
    fastest = min(others, key=lambda route: others[route].median)
    ratio = taken[_OURS].median / others[fastest].median
    return (
        f"| {name} | {path.stat().st_size / 1e6:.1f} | {taken[_OURS].text()} | {taken[_PROCESS].text()} | "
        f"{others[fastest].text()} | {fastest} | {ratio:.2f} |"
    )


def _others(path: Path, pixels: Pixels) -> dict[str, Callable[[], Any]]:
    header = dcmread(path, stop_before_pixels=True)
    syntax = UID(header.file_meta.TransferSyntaxUID)
    shape = pixels.shape
    if not syntax.is_encapsulated:

        def mapped() -> Any:
            read = dcmread(path, stop_before_pixels=True)
            size = read.Rows * read.Columns * 2
            return np.memmap(path, "<u2", "r", offset=path.stat().st_size - size, shape=(read.Rows, read.Columns))

        return {
            "header + memmap": mapped,
            "dcmread + frombuffer": lambda: np.frombuffer(dcmread(path).PixelData, "<u2").reshape(shape),
            "pydicom pixel_array": lambda: dcmread(path).pixel_array,
        }

    def frame() -> bytes:
        return next(generate_frames(dcmread(path).PixelData, number_of_frames=1))

    bare: dict[str, dict[str, Callable[[], Any]]] = {
        str(RLELossless): {
            "imagecodecs.dicomrle": lambda: np.frombuffer(imagecodecs.dicomrle_decode(frame(), "<u2"), "<u2").reshape(
                shape
            )
        },
        _JPEG: {
            "imagecodecs.jpeg8": lambda: imagecodecs.jpeg8_decode(frame()),
            "imagecodecs.ljpeg": lambda: imagecodecs.ljpeg_decode(frame()),
        },
        _JPEG_LS: {"imagecodecs.jpegls": lambda: imagecodecs.jpegls_decode(frame())},
        _JPEG_2000: {
            "imagecodecs.jpeg2k, all cores": lambda: imagecodecs.jpeg2k_decode(frame(), numthreads=_THREADS),
            "imagecodecs.jpeg2k, one core": lambda: imagecodecs.jpeg2k_decode(frame(), numthreads=1),
        },
        _HTJ2K: {
            "imagecodecs.htj2k": lambda: imagecodecs.htj2k_decode(frame()),
            "imagecodecs.jpeg2k, all cores": lambda: imagecodecs.jpeg2k_decode(frame(), numthreads=_THREADS),
        },
    }
    plugins = {
        f"pydicom + {plugin}": (lambda p=plugin: pixel_array(dcmread(path), decoding_plugin=p))  # type: ignore[misc]
        for plugin in get_decoder(syntax).available_plugins
        if plugin != "pydicom"  # pure Python takes seconds
    }
    return {**bare[str(syntax)], **plugins}


_JPEG, _JPEG_LS = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"
_JPEG_2000, _HTJ2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"

_Encode = Callable[[Pixels], bytes] | None
_SYNTAXES: tuple[tuple[str, str, _Encode], ...] = (
    ("Explicit VR Little Endian", str(ExplicitVRLittleEndian), None),
    ("RLE Lossless", str(RLELossless), None),
    ("JPEG Lossless, first-order", _JPEG, lambda a: bytes(imagecodecs.ljpeg_encode(a, bitspersample=16))),
    ("JPEG-LS Lossless", _JPEG_LS, lambda a: bytes(imagecodecs.jpegls_encode(a))),
    ("HTJ2K Lossless", _HTJ2K, lambda a: bytes(imagecodecs.htj2k_encode(a))),
    (
        "JPEG 2000 Lossless",
        _JPEG_2000,
        lambda a: bytes(imagecodecs.jpeg2k_encode(a, reversible=True, codecformat="j2k", level=0)),
    ),
)


def _write(path: Path, pixels: Pixels, syntax: str, encode: _Encode) -> None:
    dataset: Any = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(str(ExplicitVRLittleEndian))
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "2.25.1"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 14, 13, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    if syntax == str(RLELossless):
        dataset = copy.copy(dataset)
        dataset.compress(RLELossless, generate_instance_uid=False)
    elif encode is not None:
        dataset.PixelData = encapsulate([encode(pixels)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.save_as(path, enforce_file_format=True)
