"""Where an image lies in the patient, as its header says it. Nothing is made up: a radiograph lies nowhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from pydicom.valuerep import format_number_as_ds

from dicom_node.results.identity import SourceHeader

_UNIT: Final = 1e-3
"""How far direction cosines may be from unit length and a right angle: headers round to three decimals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """An image's pixel matrix in space (PS3.3 C.7.6.2, C.7.4.1).

    Attributes
    ----------
    position : tuple of float
        Centre of the first pixel, mm.
    orientation : tuple of float
        Direction cosines of the rows, then of the columns.
    spacing : (float, float)
        Between rows, between columns, mm.
    thickness : float or None
        Nominal, mm; None where the header has none.
    """

    frame_of_reference_uid: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float | None


def plane_of(source: SourceHeader) -> Plane | None:
    """The image's plane; None where the header lacks a part of it or says something that is no plane."""
    frame_of_reference = source.text("FrameOfReferenceUID")
    position = _numbers(source, "ImagePositionPatient", 3)
    orientation = _numbers(source, "ImageOrientationPatient", 6)
    spacing = _numbers(source, "PixelSpacing", 2)
    if not (frame_of_reference and position and orientation and spacing):
        return None
    if min(spacing) <= 0 or not _is_right_angled(orientation):
        return None
    thickness = _numbers(source, "SliceThickness", 1)
    return Plane(
        frame_of_reference_uid=frame_of_reference,
        position=position,
        orientation=orientation,
        spacing=spacing,
        thickness=thickness[0] if thickness and thickness[0] > 0 else None,
    )


def decimal_strings(numbers: tuple[float, ...]) -> list[str]:
    """The numbers as DS values, 16 characters at most (PS3.5 6.2): headers hold longer ones."""
    return [format_number_as_ds(number) for number in numbers]


def _numbers(source: SourceHeader, keyword: str, count: int) -> tuple[float, ...]:
    """That many finite numbers, or none."""
    try:
        numbers = tuple(float(text) for text in source.texts(keyword))
    except ValueError:
        return ()
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else ()


def _is_right_angled(orientation: tuple[float, ...]) -> bool:
    row, column = orientation[:3], orientation[3:]
    across = sum(a * b for a, b in zip(row, column, strict=True))
    return all(abs(math.hypot(*axis) - 1) < _UNIT for axis in (row, column)) and abs(across) < _UNIT
