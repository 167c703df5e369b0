"""Does a series make one volume: order, gaps, duplicates, tilt, strangers; every refusal names what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from models.ct.geometry import NoVolume, Slice, Volume, check
from models.metadata import SeriesSpec, WindowSpec
from triage.findings import NotAnalysedReason as Reason

SPEC = SeriesSpec(windows=(WindowSpec(centre=40, width=80),))


def stack(
    count: int = 24, *, spacing: float = 5.0, tilt: float = 0.0, flipped: bool = False, **more: object
) -> list[Slice]:
    """Axial slices, from below to above, under a gantry tilted by ``tilt`` radians; the table moves along z."""
    column = (0.0, float(np.cos(tilt)), float(np.sin(tilt)))
    orientation = (-1.0, 0.0, 0.0, *column) if flipped else (1.0, 0.0, 0.0, *column)
    return [
        replace(
            Slice(
                sop_instance_uid=f"2.25.{1000 + n}",
                position=(-120.0, -120.0, -40.0 + spacing * n),
                orientation=orientation,
                spacing=(0.47, 0.47),
                rows=512,
                columns=512,
                acquisition="1",
            ),
            **more,
        )
        for n in range(count)
    ]


def detail(found: Volume | NoVolume) -> str:
    assert isinstance(found, NoVolume), found
    return found.refusal.detail


@given(st.permutations(range(24)), st.floats(1.0, 5.5), st.floats(-0.5, 0.5), st.booleans())
def test_order_of_arrival_tilt_and_direction_change_nothing(
    order: Sequence[int], spacing: float, tilt: float, flipped: bool
) -> None:
    slices = stack(spacing=spacing, tilt=tilt, flipped=flipped)
    spec = SPEC.model_copy(update={"min_extent_mm": 15.0})
    found = check([slices[n] for n in order], spec)
    assert isinstance(found, Volume)
    assert found.slices == tuple(slices)
    assert found.spacing == pytest.approx(spacing * np.cos(tilt), rel=1e-6)
    assert (found.remarks != ()) == (abs(np.rad2deg(tilt)) > 1)


@given(st.integers(1, 22), st.permutations(range(24)))
def test_a_missing_slice_is_always_found(missing: int, order: Sequence[int]) -> None:
    slices = stack()
    found = check([slices[n] for n in order if n != missing], SPEC)
    assert detail(found) == f"1 missing between slices {missing} and {missing + 1}"


@given(st.integers(0, 23))
def test_two_slices_at_one_place_are_refused(which: int) -> None:
    slices = stack()
    double = replace(slices[which], sop_instance_uid="2.25.1", acquisition="1")
    assert detail(check([*slices, double], SPEC)) == "two slices at one place"


@given(st.integers(1, 22), st.floats(0.6, 2.4))
def test_a_slice_off_its_place_is_found(which: int, shift: float) -> None:
    slices = stack()
    x, y, z = slices[which].position or (0, 0, 0)
    slices[which] = replace(slices[which], position=(x, y, z + shift))
    assert detail(check(slices, SPEC)).startswith("uneven spacing: ")


def test_small_rounding_of_positions_is_no_uneven_spacing() -> None:
    slices = [
        replace(one, position=(-120.0, -120.0, round(-40.0 + 0.7 * n, 1)))
        for n, one in enumerate(stack(160, spacing=0.7))
    ]
    assert isinstance(check(slices, SPEC.model_copy(update={"spacing_tolerance": 0.2})), Volume)


@pytest.mark.parametrize(
    ("slices", "said"),
    [
        (stack(9), "too few slices: 9 of at least 12"),
        (stack(601, spacing=0.5), "too many slices: 601, at most 600"),
        (stack(24, spacing=1.0), "covers 24 mm of at least 80"),
        (stack(24, spacing=9.0), "slices 9.0 mm apart, at most 8"),
        (stack(contrast="IOHEXOL"), "contrast given"),
        (stack(position=None), "its header does not say where it lies"),
        (stack(orientation=None), "its header does not say where it lies"),
        (stack(tilt=np.deg2rad(50)), "50 degrees from axial"),
        ([replace(one, spacing=(0.5, 0.7)) for one in stack()], "its pixels are not square"),
        (stack(orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)), "its upper edge is not the front of the patient"),
        (stack(orientation=(0.0, 1.0, 0.0, -1.0, 0.0, 0.0)), "its upper edge is not the front of the patient"),
        ([replace(one, spacing=(0.98, 0.98)) for one in stack()], "a field of 502 mm, at most 300"),
        ([replace(one, spacing=(0.2, 0.2)) for one in stack()], "a field of 102 mm, at least 180"),
        ([], "no slice"),
    ],
)
def test_what_is_no_volume_says_why(slices: list[Slice], said: str) -> None:
    spec = SPEC.model_copy(update={"min_field_mm": 180.0, "max_field_mm": 300.0})
    assert detail(check(slices, spec)) == said


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (lambda n: 40.0 if n >= 12 else 0.0, "slices 12 and 13 lie 40 mm beside each other"),
        (lambda n: -9.0 if n == 3 else 0.0, "slices 3 and 4 lie 9 mm beside each other"),
        (lambda n: 9.0 * n, "each slice lies beside the one below it: 61 degrees from their normal"),
        (lambda n: 0.3 * (n % 2), None),
        (lambda n: 2.5 * n, None),  # 27 degrees: a tilted gantry
    ],
)
def test_a_table_moves_along_one_line(way: Callable[[int], float], said: str | None) -> None:
    slices = [replace(one, position=(way(n), 0.0, 5.0 * n)) for n, one in enumerate(stack())]
    found = check(slices, SPEC)
    assert isinstance(found, Volume) if said is None else detail(found) == said


def test_positions_in_two_frames_of_reference_are_never_one_volume() -> None:
    """Evenly spaced by chance; what lies above what is not known."""
    first, second = stack(frame="1.2.3"), stack(14, frame="1.2.4")
    among = [
        replace(one, sop_instance_uid=f"{one.sop_instance_uid}.2", position=(-120.0, -120.0, -37.5 + 5 * n))
        for n, one in enumerate(second)
    ]
    found = check([*among, *first], SPEC)
    assert isinstance(found, Volume)
    assert found.slices == tuple(first)
    assert len(found.left_out) == 14


def test_an_acquisition_among_the_slices_of_a_larger_one_is_left_out() -> None:
    first = stack()
    among = [
        replace(one, sop_instance_uid=f"{one.sop_instance_uid}.2", acquisition="2", position=(-120.0, -120.0, z))
        for one, z in zip(first[:14], (-39.0 + 5 * n for n in range(14)), strict=True)
    ]
    found = check([*among, *first], SPEC)
    assert isinstance(found, Volume)
    assert found.slices == tuple(first)
    assert {refusal.detail for _, refusal in found.left_out} == {
        "lies over or among a larger acquisition of the same series"
    }


def test_two_passes_that_fill_each_others_gaps_are_one_volume() -> None:
    slices = [replace(one, acquisition=str(1 + n % 2)) for n, one in enumerate(stack())]
    found = check(slices, SPEC)
    assert isinstance(found, Volume)
    assert found.slices == tuple(slices)


def test_acquisitions_one_above_the_other_with_a_gap_are_not_taken_for_two() -> None:
    slices = [replace(one, acquisition=str(n // 12)) for n, one in enumerate(stack(spacing=5.0))]
    assert detail(check([*slices[:11], *slices[12:]], SPEC)) == "1 missing between slices 11 and 12"


def test_in_a_series_that_is_no_volume_what_is_no_slice_keeps_its_own_reason() -> None:
    slices = stack()
    scout = replace(slices[0], sop_instance_uid="2.25.1", localizer=True)
    found = check([scout, *slices[:5], *slices[6:]], SPEC)
    assert isinstance(found, NoVolume)
    assert found.refusal.detail == "1 missing between slices 5 and 6"
    assert [(uid, refusal.detail) for uid, refusal in found.left_out] == [("2.25.1", "a localizer")]


def test_scouts_and_strangers_are_left_out_and_the_rest_is_read() -> None:
    slices = stack()
    scout = replace(slices[0], sop_instance_uid="2.25.1", localizer=True)
    small = replace(slices[3], sop_instance_uid="2.25.2", rows=256, columns=256)
    lost = replace(slices[4], sop_instance_uid="2.25.3", position=None)
    found = check([scout, *slices, small, lost], SPEC)
    assert isinstance(found, Volume)
    assert found.slices == tuple(slices)
    assert {uid: (refusal.reason, refusal.detail) for uid, refusal in found.left_out} == {
        "2.25.1": (Reason.UNSUPPORTED_VIEW, "a localizer"),
        "2.25.2": (
            Reason.UNUSABLE_GEOMETRY,
            "another orientation, matrix or frame of reference than the rest of its series",
        ),
        "2.25.3": (Reason.UNUSABLE_GEOMETRY, "its header does not say where it lies"),
    }


def test_of_two_acquisitions_over_each_other_the_larger_is_read() -> None:
    first = stack()
    again = [replace(one, sop_instance_uid=f"{one.sop_instance_uid}.2", acquisition="2") for one in first[:14]]
    found = check([*again, *first], SPEC)
    assert isinstance(found, Volume)
    assert found.slices == tuple(first)
    assert len(found.left_out) == 14


def test_a_header_that_lies_about_its_directions_is_not_believed() -> None:
    dataset = Dataset()
    dataset.SOPInstanceUID = "2.25.1"
    dataset.ImagePositionPatient = [0, 0, 0]
    dataset.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
    dataset.PixelSpacing = [0.5, 0.5]
    assert Slice.from_dataset(dataset).orientation is None


def test_what_a_header_does_not_say_counts_as_not_said() -> None:
    assert Slice.from_dataset(Dataset()) == Slice(
        sop_instance_uid="", position=None, orientation=None, spacing=None, rows=0, columns=0
    )


@pytest.mark.parametrize(("agent", "given"), [("IOHEXOL", True), ("none", False), (" No ", False), ("", False)])
def test_an_agent_that_was_not_given_is_no_contrast(agent: str, given: bool) -> None:
    dataset = Dataset()
    dataset.ContrastBolusAgent = agent
    assert bool(Slice.from_dataset(dataset).contrast) is given


def test_real_slices_are_understood(test_data: object) -> None:
    import pydicom  # noqa: PLC0415

    one = Slice.from_dataset(pydicom.dcmread(f"{test_data}/ct/CT_small.dcm", stop_before_pixels=True))
    assert one.position is not None
    assert one.orientation is not None
    assert one.normal[2] == pytest.approx(1)
