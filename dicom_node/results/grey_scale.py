"""The grey scale of a source image, put on a presentation state: it replaces what the image says (PS3.4 annex N.2)."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dicom_node.results.identity import SourceHeader
from dicom_node.results.wording import plain

_MOST_ENTRIES: Final = 1 << 16
"""Written as 0: the descriptor has 16 bits (PS3.3 C.11.1.1.1)."""
_VOI_FUNCTIONS: Final = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_SHUTTERS: Final = {
    "RECTANGULAR": (
        "ShutterLeftVerticalEdge",
        "ShutterRightVerticalEdge",
        "ShutterUpperHorizontalEdge",
        "ShutterLowerHorizontalEdge",
    ),
    "CIRCULAR": ("CenterOfCircularShutter", "RadiusOfCircularShutter"),
    "POLYGONAL": ("VerticesOfThePolygonalShutter",),
}
_SPACINGS: Final = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


def put_grey_scale(target: Dataset, source: SourceHeader) -> None:
    """Modality, VOI and presentation LUT and shutter as the source has them (PS3.3 C.11.1, C.11.8, C.11.6, C.7.6.11).

    What the source says in a form that is not legal is left out, and the viewer decides.
    """
    _put_modality_lut(target, source)
    voi = _voi(source)
    if voi is not None:
        target.SoftcopyVOILUTSequence = [voi]
    target.PresentationLUTShape = "INVERSE" if _inverted(source) else "IDENTITY"
    _put_shutter(target, source)


def pixel_aspect_ratio(source: SourceHeader) -> tuple[int, int]:
    """Vertical and horizontal size of a pixel as whole numbers (PS3.3 C.7.6.3.1.7); (1, 1) where nothing is said."""
    for keyword in ("PixelAspectRatio", *_SPACINGS):
        values = _numbers(source.texts(keyword))
        if len(values) == 2 and min(values) > 0:
            ratio = Fraction(values[0] / values[1]).limit_denominator(100)
            return max(1, ratio.numerator), ratio.denominator
    return 1, 1


def _put_modality_lut(target: Dataset, source: SourceHeader) -> None:
    table = _table(source, "ModalityLUTSequence")
    if table is not None:
        table.ModalityLUTType = plain(_lut_type(source), 16) or "US"
        target.ModalityLUTSequence = [table]
        return
    slope, intercept = (_numbers(source.texts(keyword)) for keyword in ("RescaleSlope", "RescaleIntercept"))
    if len(slope) == len(intercept) == 1 and slope[0] != 0:
        source.copy("RescaleSlope", target)
        source.copy("RescaleIntercept", target)
        usual = "HU" if source.text("Modality") == "CT" else "US"
        target.RescaleType = plain(source.text("RescaleType"), 16) or usual


def _lut_type(source: SourceHeader) -> str:
    item = next(source.items("ModalityLUTSequence"), None)
    return SourceHeader(item).text("ModalityLUTType") if item is not None else ""


def _voi(source: SourceHeader) -> Dataset | None:
    """The first VOI LUT or window, whichever the pictures of this node use (table before window); None without one."""
    table = _table(source, "VOILUTSequence")
    if table is not None:
        item = Dataset()
        item.VOILUTSequence = [table]
        return item
    centres, widths = _numbers(source.texts("WindowCenter")), _numbers(source.texts("WindowWidth"))
    function = source.text("VOILUTFunction").upper() or "LINEAR"
    if not centres or not widths or function not in _VOI_FUNCTIONS:
        return None
    if widths[0] < 1 and (function == "LINEAR" or widths[0] <= 0):
        return None
    item = Dataset()
    item.WindowCenter, item.WindowWidth = source.texts("WindowCenter")[0], source.texts("WindowWidth")[0]
    if function != "LINEAR":
        item.VOILUTFunction = function
    return item


def _table(source: SourceHeader, keyword: str) -> Dataset | None:
    """The first look-up table of a sequence, written anew; None where it is incomplete (PS3.3 C.11.1.1, C.11.2.1.1).

    Entries have 8 bits or 16, which validators and viewers expect. Those of a VOI LUT are stretched over the whole
    range, so that the image looks the same; those of a modality LUT are values, and stay.
    """
    item = next(source.items(keyword), None)
    try:
        entries, first, bits = (int(value) for value in item["LUTDescriptor"].value)  # type: ignore[index]
        data = item["LUTData"].value  # type: ignore[index]
        little_endian = source.dataset.original_encoding[1] is not False
        words = np.asarray(data, np.uint16) if not isinstance(data, bytes) else _words(data, little_endian)
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        NotImplementedError,
        EOFError,
        struct.error,
    ):
        return None
    entries %= _MOST_ENTRIES
    if len(words) != (entries or _MOST_ENTRIES) or not 8 <= bits <= 16 or not -(1 << 15) <= first < 1 << 16:
        return None
    if 8 < bits < 16:
        if keyword == "VOILUTSequence":
            top = (1 << bits) - 1
            words = np.rint(np.minimum(words, top) * (0xFFFF / top)).astype(np.uint16)
        bits = 16
    table = Dataset()
    if first < 0:  # then all three are SS, and the number of entries wraps round
        table.add_new("LUTDescriptor", "SS", [entries - _MOST_ENTRIES if entries >= 1 << 15 else entries, first, bits])
    else:
        table.add_new("LUTDescriptor", "US", [entries, first, bits])
    table.add_new("LUTData", "OW", words.astype("<u2").tobytes())
    return table


def _words(data: bytes, little_endian: bool) -> npt.NDArray[np.uint16]:
    """The entries of a table that was encoded as OW."""
    return np.frombuffer(data, "<u2" if little_endian else ">u2").astype(np.uint16)


def _inverted(source: SourceHeader) -> bool:
    """Whether small values are white; the shape decides alone where present, as in the pictures of this node."""
    shape = source.text("PresentationLUTShape").upper()
    return (
        shape == "INVERSE"
        if shape in {"INVERSE", "IDENTITY"}
        else source.text("PhotometricInterpretation") == "MONOCHROME1"
    )


def _put_shutter(target: Dataset, source: SourceHeader) -> None:
    """Display Shutter with its grey: a state without one shows what the source hides (PS3.3 C.7.6.11, C.7.6.15)."""
    shapes = [shape.upper() for shape in source.texts("ShutterShape")]
    needed = [keyword for shape in shapes for keyword in _SHUTTERS.get(shape, ("ShutterShape",))]
    if not shapes or "ShutterShape" in needed or not all(_numbers(source.texts(keyword)) for keyword in needed):
        return
    target.ShutterShape = shapes if len(shapes) > 1 else shapes[0]
    for keyword in needed:
        source.copy(keyword, target)
    target.ShutterPresentationValue = 0


def _numbers(texts: tuple[str, ...]) -> list[float]:
    """The values as numbers; empty when one of them is none."""
    try:
        values = [float(text) for text in texts]
    except ValueError:
        return []
    return values if all(math.isfinite(value) for value in values) else []
