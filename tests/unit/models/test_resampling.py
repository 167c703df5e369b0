"""Area averaging: OpenCV's numbers, and a mean that stays the mean."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.resampling import shrink


@given(st.integers(1, 180), st.integers(1, 180), st.floats(0.01, 1.0), st.floats(0.01, 1.0), st.integers(0, 2**32 - 1))
def test_it_is_area_averaging(rows: int, columns: int, down: float, across: float, seed: int) -> None:
    image = np.random.default_rng(seed).random((rows, columns), dtype=np.float32)
    height, width = max(1, round(rows * down)), max(1, round(columns * across))
    small = shrink(image, height, width)
    assert (small.shape, small.dtype) == ((height, width), np.float32)
    expected = cv2.resize(image.astype(np.float64), (width, height), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(small, expected, atol=2e-6)
    assert float(small.mean()) == pytest.approx(float(image.mean()), abs=1e-5)
    assert small.min() >= image.min() - 1e-6
    assert small.max() <= image.max() + 1e-6


def test_the_same_size_is_the_same_image() -> None:
    image = np.random.default_rng(0).random((37, 41), dtype=np.float32)
    np.testing.assert_allclose(shrink(image, 37, 41), image, atol=1e-7)


def test_a_view_into_a_larger_image_is_read_where_it_lies() -> None:
    large = np.random.default_rng(1).random((90, 80), dtype=np.float32)
    part = large[10:70, 5:65]
    np.testing.assert_array_equal(shrink(part, 20, 16), shrink(part.copy(), 20, 16))
