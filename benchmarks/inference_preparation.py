"""From stored values to the network's input: ours beside pydicom's look-up functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from alternating import alternate
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from models.metadata import InputSpec
from models.preprocessing import display_image, network_input

_STORED_BITS = 14


def measure(_folder: Path, *, repeats: int, tiny: bool) -> str:
    """A Markdown table: a synthetic DX of 2500 × 2048, 14 bits stored, to 224² and 512²."""
    shape = (250, 204) if tiny else (2500, 2048)
    pixels = _pixels(shape)
    lines = [
        f"## Preprocessing, {shape[0]} × {shape[1]}, {_STORED_BITS} of 16 bits",
        "",
        "| VOI | to | pydicom's functions + area resize, ms | ours, ms | times as fast | mean error | largest error |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, header in (("window", _windowed()), ("sigmoid", _windowed("SIGMOID")), ("LUT sequence", _tabled())):
        for size in (224, 512):
            spec = InputSpec(height=size, width=size, mean=0.0, std=1.0)
            lines.append(_row(name, header, pixels, spec, repeats))
    lines.append("")
    lines.append(
        "Both begin with decoded pixels and end with the letterboxed input. Error on the scale 0 to 1 against "
        "pydicom's functions in float64. Goals: ≥ 5 × as fast, mean error < 1e-6."
    )
    return "\n".join(lines)


def _row(name: str, header: Dataset, pixels: NDArray[np.uint16], spec: InputSpec, repeats: int) -> str:
    def theirs() -> NDArray[np.float64]:
        display = apply_voi_lut(apply_modality_lut(pixels, header), header).astype(np.float64) / _highest(header)
        return _letterboxed(np.clip(display, 0.0, 1.0), spec)

    def ours() -> NDArray[np.float32]:
        image, _ = network_input(display_image(header, pixels), spec)
        return image[0]

    difference = np.abs(ours() - theirs())
    taken = alternate({"pydicom": theirs, "ours": ours}, repeats)
    ratio = taken["pydicom"].median / taken["ours"].median
    return (
        f"| {name} | {spec.height}² | {taken['pydicom'].text()} | {taken['ours'].text()} | {ratio:.2f} | "
        f"{difference.mean():.1e} | {difference.max():.1e} |"
    )


def _letterboxed(display: NDArray[np.float64], spec: InputSpec) -> NDArray[np.float64]:
    rows, columns = display.shape
    scale = min(spec.height / rows, spec.width / columns)
    height, width = round(rows * scale), round(columns * scale)
    image = np.zeros((spec.height, spec.width))
    top, left = (spec.height - height) // 2, (spec.width - width) // 2
    fitted = cv2.resize(display, (width, height), interpolation=cv2.INTER_AREA)
    image[top : top + height, left : left + width] = fitted
    return image


def _pixels(shape: tuple[int, int]) -> NDArray[np.uint16]:
    rng = np.random.default_rng(5)
    smooth = cv2.resize(rng.random((20, 16)), shape[::-1], interpolation=cv2.INTER_CUBIC)
    noisy = smooth * 14000 + rng.normal(0, 60, shape)
    return np.clip(noisy, 0, (1 << _STORED_BITS) - 1).astype(np.uint16)


def _header() -> Dataset:
    header: Any = Dataset()
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsStored, header.BitsAllocated, header.PixelRepresentation = _STORED_BITS, 16, 0
    header.RescaleSlope, header.RescaleIntercept = 1, 0
    return header


def _windowed(function: str = "LINEAR") -> Dataset:
    header: Any = _header()
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = 7000, 9000, function
    return header


def _tabled() -> Dataset:
    header: Any = _header()
    table: Any = Dataset()
    table.LUTDescriptor = [1 << _STORED_BITS, 0, 16]
    table.LUTData = (
        np.round((np.arange(1 << _STORED_BITS) / ((1 << _STORED_BITS) - 1)) ** 0.6 * 65535).astype(int).tolist()
    )
    header.VOILUTSequence = [table]
    return header


def _highest(header: Dataset) -> float:
    """What white is in the range that pydicom's functions give."""
    return 65535.0 if "VOILUTSequence" in header else float((1 << _STORED_BITS) - 1)
