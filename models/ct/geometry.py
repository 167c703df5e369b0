"""Do the slices of a series make one volume? A pure rule over headers, with a reason where they do not.

A network that reads a series assumes what a reader sees at a glance: axial slices of one acquisition, all of them, at
equal distances, in order. Nothing is repaired: a gap that is filled with a guess hides what lies in it. Positions and
orientations decide (PS3.3 C.7.6.2.1.1), never Instance Number or Slice Location, which senders renumber.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.metadata import SeriesSpec
from models.routing import Refusal
from triage.findings import NotAnalysedReason as Reason

_UNIT_TOLERANCE = 1e-2
_SAME_DIRECTION = 1e-3
_SAME_PLACE_MM = 0.02
_SQUARE = 1e-3
_SIDEWAYS_MM = 2.0
"""How far a slice may lie off the line of its neighbours; scanners round positions to a tenth or so."""
_UPRIGHT_DEGREES = 45.0
_NO_AGENT = frozenset(
    {"", "0", "N", "NO", "NON", "NONE", "KEIN", "KEINE", "NIL", "NATIVE", "NATIV", "WITHOUT", "W/O", "N/A"}
)

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """Where one slice lies, as its header says.

    Attributes
    ----------
    position : tuple of 3 floats, or None
        Image Position (Patient), mm; None where it is missing or no numbers.
    orientation : tuple of 6 floats, or None
        Image Orientation (Patient): two unit vectors at a right angle.
    spacing : tuple of 2 floats, or None
        Pixel Spacing, mm, rows first.
    frame : str
        Frame of Reference UID (PS3.3 C.7.4.1): positions of two frames have nothing to do with each other.
    tilt : float
        Gantry/Detector Tilt, degrees; 0 where it is not said.
    """

    sop_instance_uid: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    rows: int
    columns: int
    frame: str = ""
    acquisition: str = ""
    localizer: bool = False
    contrast: str = ""
    tilt: float = 0.0

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> Slice:
        """Read a header; what cannot be read counts as not said. Pixel data are not needed."""
        kinds = {part.strip().upper() for part in _texts(dataset, "ImageType")[2:]}
        return cls(
            sop_instance_uid=str(dataset.get("SOPInstanceUID", "")),
            position=_numbers(dataset, "ImagePositionPatient", 3),
            orientation=_directions(_numbers(dataset, "ImageOrientationPatient", 6)),
            spacing=_numbers(dataset, "PixelSpacing", 2),
            rows=_whole(dataset, "Rows"),
            columns=_whole(dataset, "Columns"),
            frame="".join(_texts(dataset, "FrameOfReferenceUID")[:1]).strip(),
            acquisition="".join(_texts(dataset, "AcquisitionNumber")[:1]),
            localizer="LOCALIZER" in kinds or "SCOUT" in kinds,
            contrast=_contrast("".join(_texts(dataset, "ContrastBolusAgent")[:1])),
            tilt=(_numbers(dataset, "GantryDetectorTilt", 1) or (0.0,))[0],
        )

    @property
    def normal(self) -> Vector:
        """Unit vector across the slice, towards the head where the slice is axial. Needs an orientation."""
        assert self.orientation is not None  # noqa: S101 - for the type checker; `check` has looked
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        upwards: Vector = normal / np.linalg.norm(normal)
        return upwards if upwards[2] >= 0 else -upwards


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """Slices that make one volume.

    Attributes
    ----------
    slices : tuple of Slice
        From below to above, along their normal.
    spacing : float
        Median distance of neighbours, mm.
    left_out : tuple of (str, Refusal)
        SOP Instance UIDs of the series that are no part of the volume, and why.
    remarks : tuple of str
        What was unusual and allowed.
    """

    slices: tuple[Slice, ...]
    spacing: float
    left_out: tuple[tuple[str, Refusal], ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoVolume:
    """Slices that make none.

    Attributes
    ----------
    refusal : Refusal
        What is wrong with those that could have been its slices.
    left_out : tuple of (str, Refusal)
        SOP Instance UIDs of those that could not, each with its own reason.
    """

    refusal: Refusal
    left_out: tuple[tuple[str, Refusal], ...] = ()


def check(slices: Iterable[Slice], spec: SeriesSpec) -> Volume | NoVolume:
    """Find the volume in one series.

    Scouts, slices without geometry and those of another orientation, matrix or frame of reference are left out, each
    with its reason; so are whole acquisitions that lie over or among a larger one. What remains must be complete. The
    order in which the slices come changes nothing.

    Parameters
    ----------
    slices : iterable of Slice
        All images of the series that passed the header rules of the bundle.
    """
    kept, left_out = [], []
    for one in sorted(slices, key=lambda s: s.sop_instance_uid):
        refusal = _unusable(one, spec)
        if refusal is None:
            kept.append(one)
        else:
            left_out.append((one.sop_instance_uid, refusal))
    if not kept:
        nothing = left_out[0][1] if left_out else Refusal(Reason.UNUSABLE_GEOMETRY, "no slice")
        return NoVolume(refusal=nothing, left_out=tuple(left_out))
    stacked, strangers = _largest(_stacks(kept))
    left_out += [(s.sop_instance_uid, Refusal(Reason.UNUSABLE_GEOMETRY, _STRANGER)) for s in strangers]
    stacked, others = _one_acquisition(stacked, spec)
    left_out += [(s.sop_instance_uid, Refusal(Reason.UNUSABLE_GEOMETRY, _OTHER_ACQUISITION)) for s in others]
    ordered = sorted(stacked, key=_place)
    problem = _incomplete(ordered, spec)
    if problem:
        return NoVolume(refusal=Refusal(Reason.UNUSABLE_GEOMETRY, problem), left_out=tuple(left_out))
    return Volume(
        slices=tuple(ordered),
        spacing=float(np.median(np.diff([_place(one) for one in ordered]))),
        left_out=tuple(left_out),
        remarks=tuple(_remarks(ordered)),
    )


_STRANGER = "another orientation, matrix or frame of reference than the rest of its series"
_OTHER_ACQUISITION = "lies over or among a larger acquisition of the same series"


def _unusable(one: Slice, spec: SeriesSpec) -> Refusal | None:
    """Why a slice can be no part of any volume."""
    if one.localizer:
        return Refusal(Reason.UNSUPPORTED_VIEW, "a localizer")
    if one.position is None or one.orientation is None or one.spacing is None:
        return Refusal(Reason.UNUSABLE_GEOMETRY, "its header does not say where it lies")
    if min(one.spacing) <= 0 or abs(one.spacing[0] / one.spacing[1] - 1) > _SQUARE:
        return Refusal(Reason.UNUSABLE_GEOMETRY, "its pixels are not square")
    angle = math.degrees(math.acos(min(1.0, abs(float(one.normal[2])))))
    if angle > spec.max_angle_degrees:
        return Refusal(Reason.UNSUPPORTED_VIEW, f"{angle:.0f} degrees from axial")
    return _unlike_training(one, spec)


def _unlike_training(one: Slice, spec: SeriesSpec) -> Refusal | None:
    """Why a slice with geometry is one that the network never saw."""
    assert one.orientation is not None  # noqa: S101 - for the type checker; `_unusable` has looked
    assert one.spacing is not None  # noqa: S101
    if one.contrast and not spec.contrast:
        return Refusal(Reason.UNSUPPORTED_VIEW, "contrast given")
    if one.orientation[4] < math.cos(math.radians(_UPRIGHT_DEGREES)):
        # A mirrored slice is upright: training mirrors. A head that lies on its face or ear is one that it never saw.
        return Refusal(Reason.UNSUPPORTED_VIEW, "its upper edge is not the front of the patient")
    field = max(one.rows * one.spacing[0], one.columns * one.spacing[1])
    if spec.max_field_mm is not None and field > spec.max_field_mm:
        return Refusal(Reason.UNUSABLE_GEOMETRY, f"a field of {field:.0f} mm, at most {spec.max_field_mm:g}")
    if spec.min_field_mm is not None and field < spec.min_field_mm:
        return Refusal(Reason.UNUSABLE_GEOMETRY, f"a field of {field:.0f} mm, at least {spec.min_field_mm:g}")
    return None


def _stacks(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices of one orientation, matrix, pixel spacing and frame of reference, each with the first of its stack."""
    stacks: list[list[Slice]] = []
    for one in slices:
        home = next((stack for stack in stacks if _alike(stack[0], one)), None)
        if home is None:
            stacks.append([one])
        else:
            home.append(one)
    return stacks


def _alike(a: Slice, b: Slice) -> bool:
    return (
        (a.rows, a.columns, a.frame) == (b.rows, b.columns, b.frame)
        and bool(np.allclose(a.orientation or (), b.orientation or (), atol=_SAME_DIRECTION))
        and bool(np.allclose(a.spacing or (), b.spacing or (), rtol=_SAME_DIRECTION))
    )


def _largest(groups: Sequence[list[Slice]]) -> tuple[list[Slice], list[Slice]]:
    """The group with the most slices, the first among equals, and all others together."""
    most = max(groups, key=len)
    return most, [one for group in groups if group is not most for one in group]


def _one_acquisition(stack: list[Slice], spec: SeriesSpec) -> tuple[list[Slice], list[Slice]]:
    """Where acquisitions lie over or among each other and do not fill each other's gaps: the largest one, and the rest.

    Old scanners go over a patient twice, once for every second slice: what is evenly spaced is one volume.
    """
    acquisitions: dict[str, list[Slice]] = {}
    for one in stack:
        acquisitions.setdefault(one.acquisition, []).append(one)
    if len(acquisitions) == 1 or not _uneven(np.diff(sorted(_place(one) for one in stack)), spec):
        return stack, []
    ranges = sorted((min(places), max(places)) for places in map(_places, acquisitions.values()))
    apart = all(lower[1] + _SAME_PLACE_MM < upper[0] for lower, upper in pairwise(ranges))
    return (stack, []) if apart else _largest(list(acquisitions.values()))


def _places(slices: Sequence[Slice]) -> list[float]:
    return [_place(one) for one in slices]


def _place(one: Slice) -> float:
    """How far up the slice lies along its normal, mm."""
    return float(np.dot(one.normal, one.position or (0.0, 0.0, 0.0)))


def _incomplete(ordered: Sequence[Slice], spec: SeriesSpec) -> str:
    """What is wrong with a sorted stack, or ""."""
    count = len(ordered)
    if count < spec.min_slices:
        return f"too few slices: {count} of at least {spec.min_slices}"
    if count > spec.max_slices:
        return f"too many slices: {count}, at most {spec.max_slices}"
    places = np.array([_place(one) for one in ordered])
    usual = float(np.median(np.diff(places)))
    extent = float(places[-1] - places[0]) + usual
    problem = _uneven(np.diff(places), spec)
    if not problem and usual > spec.max_spacing_mm:
        problem = f"slices {usual:.1f} mm apart, at most {spec.max_spacing_mm:g}"
    if not problem and extent < spec.min_extent_mm:
        problem = f"covers {extent:.0f} mm of at least {spec.min_extent_mm:g}"
    return problem or _beside_each_other(ordered, spec)


def _beside_each_other(ordered: Sequence[Slice], spec: SeriesSpec) -> str:
    """What is wrong with how slices lie across their normal, or "": a table moves along one line.

    A tilted gantry moves each slice by the same way to one side; the patient who was moved, or another field, all at
    once.
    """
    normal = ordered[0].normal
    steps = np.diff([one.position or (0.0, 0.0, 0.0) for one in ordered], axis=0)
    across = steps - np.outer(steps @ normal, normal)
    off = np.linalg.norm(across - np.median(across, axis=0), axis=1)
    worst = int(np.argmax(off))
    if off[worst] > _SIDEWAYS_MM:
        return f"slices {worst + 1} and {worst + 2} lie {off[worst]:.0f} mm beside each other"
    if _lean(ordered) > spec.max_angle_degrees + 1:
        return f"each slice lies beside the one below it: {_lean(ordered):.0f} degrees from their normal"
    return ""


def _uneven(gaps: Vector, spec: SeriesSpec) -> str:
    """What is wrong with the distances of neighbours, or ""."""
    usual = float(np.median(gaps))
    if gaps.min() <= _SAME_PLACE_MM:
        return "two slices at one place"
    worst = int(np.argmax(np.abs(gaps - usual)))
    if abs(gaps[worst] - usual) > spec.spacing_tolerance * usual:
        missing = round(float(gaps[worst]) / usual) - 1
        whole = missing >= 1 and abs(gaps[worst] / usual - missing - 1) <= spec.spacing_tolerance
        if whole:
            return f"{missing} missing between slices {worst + 1} and {worst + 2}"
        return f"uneven spacing: {gaps.min():.1f} to {gaps.max():.1f} mm"
    return ""


def _remarks(ordered: Sequence[Slice]) -> Iterable[str]:
    """A tilted gantry shifts the slices against each other: what lies above a pixel is not in the same column."""
    angle = _lean(ordered)
    if angle > 1 or any(abs(one.tilt) > 1 for one in ordered):
        yield f"gantry tilted by {max(angle, *(abs(one.tilt) for one in ordered)):.0f} degrees"


def _lean(ordered: Sequence[Slice]) -> float:
    """Angle between the way from the first slice to the last and their normal, degrees."""
    first, last = (np.array(s.position or (0.0, 0.0, 0.0)) for s in (ordered[0], ordered[-1]))
    way, normal = last - first, ordered[0].normal
    return math.degrees(math.acos(min(1.0, abs(float(way @ normal)) / max(float(np.linalg.norm(way)), 1e-9))))


def _contrast(agent: str) -> str:
    """The agent given; "" also where the element is there to say that none was."""
    return "" if agent.strip().rstrip(".").upper() in _NO_AGENT else agent.strip()


def _directions(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    if values is None:
        return None
    row, column = np.array(values[:3]), np.array(values[3:])
    lengths = abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1)
    return values if max(*lengths, abs(row @ column)) <= _UNIT_TOLERANCE else None


def _texts(dataset: Dataset, keyword: str) -> list[str]:
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom parses an element when it is asked for, and may fail in any way
        return []
    if value is None or value == "":
        return []
    many = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return [str(part) for part in (value if many else (value,))]


def _numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    try:
        values = tuple(float(text) for text in _texts(dataset, keyword))
    except ValueError:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _whole(dataset: Dataset, keyword: str) -> int:
    numbers = _numbers(dataset, keyword, 1)
    return int(numbers[0]) if numbers else 0
