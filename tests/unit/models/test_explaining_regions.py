"""Maps laid over the source where the network saw it, and the regions they mark."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.explaining.placing import upscale
from models.explaining.regions import region, regions
from models.metadata import InputSpec
from models.preprocessing import Placement

SPEC = InputSpec(height=224, width=224, mean=0.5, std=0.25)


@pytest.mark.parametrize("rows_columns", [(2500, 2048), (400, 800), (800, 400), (224, 224), (100, 90)])
def test_a_bright_cell_lands_where_it_was(rows_columns: tuple[int, int]) -> None:
    """The centre of a map cell, followed through the letterbox by hand, is the brightest source pixel."""
    placement = Placement.letterbox(*rows_columns, SPEC)
    for row, column in [(3, 3), (2, 3), (3, 4)]:
        cam = np.zeros((7, 7), np.float32)
        cam[row, column] = 1.0
        laid = upscale(cam, placement)
        assert laid.shape == rows_columns
        peak_row, peak_column = np.unravel_index(int(np.argmax(laid)), laid.shape)
        expected = placement.feature_to_source(column + 0.5, row + 0.5, height=7, width=7)
        step = max(1.0, 1.0 / placement.scale_row)
        assert (peak_column + 0.5, peak_row + 0.5) == pytest.approx(expected, abs=step)


@given(st.integers(50, 600), st.integers(50, 600), st.floats(0.5, 2.0), st.integers(0, 2**32 - 1))
def test_upscaling_is_bilinear_in_source_coordinates(rows: int, columns: int, aspect: float, seed: int) -> None:
    placement = Placement.letterbox(rows, columns, SPEC, pixel_aspect=aspect)
    cam = np.random.default_rng(seed).random((7, 7), dtype=np.float32)
    laid = upscale(cam, placement)
    assert laid.min() >= cam.min() - 1e-6
    assert laid.max() <= cam.max() + 1e-6
    row, column = rows // 3, columns // 4
    x, y = placement.to_input(column + 0.5, row + 0.5)
    assert laid[row, column] == pytest.approx(bilinear(cam, x * 7 / 224 - 0.5, y * 7 / 224 - 0.5), abs=0.05)


def bilinear(cam: NDArray[np.float32], x: float, y: float) -> float:
    x, y = min(max(x, 0.0), 6.0), min(max(y, 0.0), 6.0)
    left, top = min(int(x), 5), min(int(y), 5)
    across = cam[top : top + 2, left] * (1 - (x - left)) + cam[top : top + 2, left + 1] * (x - left)
    return float(across[0] * (1 - (y - top)) + across[1] * (y - top))


def test_smaller_matrix_shows_the_same_picture() -> None:
    placement = Placement.letterbox(2000, 1600, SPEC)
    cam = np.random.default_rng(1).random((7, 7), dtype=np.float32)
    small, full = upscale(cam, placement, 200, 160), upscale(cam, placement)
    averaged = full.reshape(200, 10, 160, 10).mean(axis=(1, 3))
    np.testing.assert_allclose(small, averaged, atol=0.03)


# --- regions ---


def inside(point: tuple[float, float], polygon: tuple[tuple[float, float], ...]) -> bool:
    """Even-odd rule."""
    x, y = point
    crossings = 0
    for (x1, y1), (x2, y2) in pairwise(polygon):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            crossings += 1
    return crossings % 2 == 1


@given(
    st.integers(10, 3000),
    st.integers(10, 3000),
    st.floats(0.25, 4.0),
    st.sampled_from([(7, 7), (2, 3), (14, 14), (1, 1)]),
    st.integers(0, 2**32 - 1),
)
def test_region_is_a_closed_polygon_in_the_image_around_its_peak(
    rows: int, columns: int, aspect: float, shape: tuple[int, int], seed: int
) -> None:
    placement = Placement.letterbox(rows, columns, SPEC, pixel_aspect=aspect)
    cam = np.random.default_rng(seed).random(shape, dtype=np.float32)
    found = region(cam, placement)
    assert found is not None
    assert len(found.outline) >= 4
    assert found.outline[0] == found.outline[-1]
    assert all(0 <= x <= columns and 0 <= y <= rows for x, y in (*found.outline, found.peak))
    left, top, right, bottom = found.box
    assert right > left
    assert bottom > top
    assert left <= found.peak[0] <= right
    assert top <= found.peak[1] <= bottom


def test_region_takes_the_peaks_part_only() -> None:
    placement = Placement.letterbox(700, 700, SPEC)
    cam = np.zeros((7, 7), np.float32)
    cam[1, 1], cam[5, 5] = 1.0, 0.9
    found = region(cam, placement)
    assert found is not None
    assert found.peak == pytest.approx((150, 150), abs=3)
    assert inside(found.peak, found.outline)
    assert not inside((550, 550), found.outline)
    # A bilinear tent falls to one half half a cell from its centre.
    assert found.box == pytest.approx((100, 100, 200, 200), abs=12)


def test_lower_level_gives_a_larger_region() -> None:
    placement = Placement.letterbox(700, 700, SPEC)
    cam = np.zeros((7, 7), np.float32)
    cam[3, 3] = 1.0
    narrow, wide = region(cam, placement, level=0.8), region(cam, placement, level=0.2)
    assert narrow is not None
    assert wide is not None
    assert wide.box[0] < narrow.box[0] < narrow.box[2] < wide.box[2]


def test_activation_over_the_whole_image_is_the_whole_image() -> None:
    found = region(np.ones((7, 7), np.float32), Placement.letterbox(300, 200, SPEC))
    assert found is not None
    assert found.box == (0, 0, 200, 300)


def test_activation_in_the_letterbox_is_not_shown_outside() -> None:
    cam = np.zeros((7, 7), np.float32)
    cam[:, 0] = 1.0  # all of it left of a tall image
    assert region(cam, Placement.letterbox(1000, 300, SPEC)) is None


def test_every_part_is_found_and_the_highest_comes_first() -> None:
    placement = Placement.letterbox(700, 700, SPEC)
    cam = np.zeros((7, 7), np.float32)
    cam[1, 1], cam[5, 5], cam[1, 5], cam[5, 1] = 0.8, 1.0, 0.9, 0.3  # the last one is below the level
    found = regions(cam, placement)
    assert [one.peak for one in found] == [pytest.approx(p, abs=3) for p in ((550, 550), (550, 150), (150, 150))]
    assert found[0] == region(cam, placement)
    assert all(inside(one.peak, one.outline) for one in found)
    assert len(regions(cam, placement, most=2)) == 2


def test_a_speck_is_noise_and_the_region_is_the_next_part() -> None:
    placement = Placement.letterbox(640, 640, InputSpec(height=640, width=640, mean=0.5, std=0.25))
    fine = np.zeros((640, 640), np.float32)
    fine[100:103, 100:103] = 1.0  # 9 of 410 thousand pixels
    fine[300:360, 300:380] = 0.9
    found = region(fine, placement)
    assert found is not None
    assert found.box == pytest.approx((300, 300, 380, 360), abs=3)
    assert regions(fine, placement, smallest=0.0)[0].peak == pytest.approx((101.5, 101.5), abs=2)
    fine[300:360, 300:380] = 0.0
    assert region(fine, placement) is None


@pytest.mark.parametrize("corner", [(0, 0), (0, 6), (6, 0), (6, 6)])
def test_a_part_at_the_border_ends_at_the_border(corner: tuple[int, int]) -> None:
    cam = np.zeros((7, 7), np.float32)
    cam[corner] = 1.0
    found = region(cam, Placement.letterbox(700, 700, SPEC))
    assert found is not None
    left, top, right, bottom = found.box
    assert (top == 0) if corner[0] == 0 else (bottom == 700)
    assert (left == 0) if corner[1] == 0 else (right == 700)


def test_an_empty_map_marks_nothing() -> None:
    assert regions(np.zeros((7, 7), np.float32), Placement.letterbox(500, 400, SPEC)) == ()
