"""Frames for the browser: nothing of the range is lost, and what must not be seen is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.viewing import Viewable, viewable
from triage.errors import PixelError


def header(**attributes: Any) -> Dataset:
    dataset = Dataset()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def values(view: Viewable) -> NDArray[np.float64]:
    return view.words * view.slope + view.intercept


@given(
    slope=st.sampled_from([1.0, 2.0, 0.5, -1.0]), intercept=st.integers(-2000, 2000), low=st.integers(-32768, 20000),
)  # fmt: skip
def test_values_are_the_modality_values(slope: float, intercept: int, low: int) -> None:
    stored = np.arange(low, low + 12, dtype=np.int16).reshape(3, 4)
    view = viewable(header(RescaleSlope=slope, RescaleIntercept=intercept), stored, 100)
    assert values(view) == pytest.approx(stored.astype(float) * slope + intercept)


def test_the_windows_are_those_of_the_header_with_their_names() -> None:
    told = header(
        WindowCenter=[40, 600], WindowWidth=[80, 2800], WindowCenterWidthExplanation=["BRAIN", "BONE"], Modality="CT"
    )
    view = viewable(told, np.zeros((4, 4), np.int16), 100)
    assert [(w.centre, w.width, w.name) for w in view.windows] == [(40, 80, "BRAIN"), (600, 2800, "BONE")]
    assert view.unit == "HU"


@pytest.mark.parametrize(
    ("stated", "function"), [("SIGMOID", "SIGMOID"), ("linear_exact ", "LINEAR_EXACT"), ("", "LINEAR"), ("X", "LINEAR")]
)
def test_what_the_windows_are_applied_by_is_told(stated: str, function: str) -> None:
    told = header(WindowCenter=[40], WindowWidth=[80], VOILUTFunction=stated)
    assert viewable(told, np.zeros((4, 4), np.int16), 100).function == function


def test_without_a_usable_window_the_values_make_one() -> None:
    stored = np.linspace(100, 900, 10000).reshape(100, 100).astype(np.uint16)
    (window,) = viewable(header(WindowCenter=[40], WindowWidth=[0]), stored, 100).windows
    assert window.centre == pytest.approx(500, abs=5)
    assert window.width == pytest.approx(800, abs=20)
    assert window.name == "fitted", "nobody sent it"


def test_padding_and_what_a_shutter_hides_are_black_and_set_no_window() -> None:
    stored = np.full((10, 10), 500, np.int16)
    stored[4:6, 4:6] = [[400, 600], [450, 550]]
    stored[0] = -2000
    stored[:, 0] = 3000
    told = header(
        PixelPaddingValue=-2000, ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge=2, ShutterRightVerticalEdge=10,
        ShutterUpperHorizontalEdge=1, ShutterLowerHorizontalEdge=10,
    )  # fmt: skip
    plain = viewable(told, stored, 100)
    assert set(values(plain)[0]) == {400.0}
    assert set(values(plain)[:, 0]) == {400.0}
    told.PhotometricInterpretation = "MONOCHROME1"
    inverted = viewable(told, stored, 100)
    assert inverted.inverted
    assert set(values(inverted)[0]) == {600.0}
    assert inverted.windows[0].width < 300


def test_a_round_shutter_hides_the_corners() -> None:
    stored = np.full((40, 40), 500, np.int16)
    stored[0, 0] = 3000
    stored[20, 20] = 400
    told = header(ShutterShape="CIRCULAR", CenterOfCircularShutter=[20, 20], RadiusOfCircularShutter=15)
    plain = viewable(told, stored, 100)
    assert values(plain)[0, 0] == values(plain)[39, 39] == 400.0
    assert values(plain)[20, 30] == 500.0


def test_a_large_image_comes_smaller_and_says_its_size() -> None:
    view = viewable(header(PixelSpacing=[2, 1]), np.full((400, 100), 7, np.uint16), 200)
    assert view.words.shape == (200, 50)
    assert (view.rows, view.columns, view.aspect) == (400, 100, 2.0)
    assert set(values(view).ravel()) == {7.0}


def test_a_voi_table_is_what_can_be_windowed() -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [4, 0, 8], [0, 10, 200, 255]
    told = header(VOILUTSequence=[item])
    view = viewable(told, np.array([[0, 1], [2, 3]], np.uint16), 100)
    assert values(view) == pytest.approx(np.array([[0, 10], [200, 255]]) / 2.55, abs=0.01)
    assert view.windows[0].name == "as displayed"


@pytest.mark.parametrize("stored", [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32)])
def test_what_is_no_grey_frame_is_refused(stored: NDArray[Any]) -> None:
    with pytest.raises(PixelError):
        viewable(header(), stored, 100)


def test_a_slope_of_nothing_is_refused() -> None:
    with pytest.raises(PixelError, match="RescaleSlope"):
        viewable(header(RescaleSlope=0), np.zeros((2, 2), np.uint16), 100)
