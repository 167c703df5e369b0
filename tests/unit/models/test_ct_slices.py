"""HU, windows and slabs against reference values; slices into a series' score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_windowing

from models.ct.aggregation import key_slices, series_logits
from models.ct.slices import AIR, hounsfield, like_a_body, slab_input, slice_input, windowed
from models.metadata import InputSpec, SeriesSpec, WindowSpec
from triage.errors import PixelError

BRAIN, BONE = WindowSpec(centre=40, width=80), WindowSpec(centre=600, width=2800)
SPEC = InputSpec(height=32, width=32, mean=0.25, std=0.5)


def header(**elements: object) -> Dataset:
    dataset = Dataset()
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = "1", "-1024", "HU"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8, np.int32])
@pytest.mark.parametrize(("slope", "intercept"), [("1", "-1024"), ("0.5", "-1000"), ("2", "0"), ("-1", "1024")])
def test_hounsfield_units_are_pydicoms(dtype: type, slope: str, intercept: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 127, (7, 5)).astype(dtype)
    dataset = header(RescaleSlope=slope, RescaleIntercept=intercept)
    np.testing.assert_allclose(hounsfield(dataset, pixels), apply_modality_lut(pixels, dataset), rtol=1e-6)


def test_padding_is_air_whatever_its_value_and_sign() -> None:
    pixels = np.array([[-2000, 1064], [-1999, 0]], dtype=np.int16)
    assert hounsfield(header(PixelPaddingValue=-2000), pixels).tolist() == [[AIR, 40], [-3023, -1024]]
    # Written as US where it should be SS: the same bits.
    assert hounsfield(header(PixelPaddingValue=63536), pixels)[0, 0] == AIR
    both = header(PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990)
    assert hounsfield(both, pixels)[1, 0] == AIR


@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleSlope": None},
        {"RescaleSlope": "0"},
        {"RescaleIntercept": None},
        {"RescaleType": "US"},
        {"RescaleType": "HU_MOD"},
    ],
)
def test_what_is_no_hounsfield_unit_is_refused(elements: dict[str, object]) -> None:
    with pytest.raises(PixelError):
        hounsfield(header(**elements), np.zeros((4, 4), np.int16))


def test_windows_are_pydicoms_linear_exact() -> None:
    hu = np.linspace(-1200, 3000, 1000, dtype=np.float32).reshape(20, 50)
    for window in (BRAIN, BONE):
        dataset = Dataset()
        dataset.PhotometricInterpretation, dataset.BitsStored, dataset.PixelRepresentation = "MONOCHROME2", 16, 1
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        dataset.WindowCenter, dataset.WindowWidth = window.centre, window.width
        dataset.VOILUTFunction = "LINEAR_EXACT"
        shown = apply_windowing(hu, dataset)
        expected = (shown - shown.min()) / (shown.max() - shown.min())
        np.testing.assert_allclose(windowed(hu, window), expected, atol=2e-5)


def test_a_windowed_slice_leaves_its_hounsfield_units_alone() -> None:
    hu = np.full((8, 8), 40.0, np.float32)
    assert windowed(hu, BRAIN).max() == pytest.approx(0.5)
    assert hu.max() == 40.0


def test_each_window_is_a_channel_and_the_letterbox_is_black() -> None:
    series = SeriesSpec(windows=(BRAIN, BONE))
    image, placement = slice_input(np.full((64, 32), 40.0, np.float32), series, SPEC)
    assert image.shape == (2, 32, 32)
    assert image.dtype == np.float32
    assert image[:, :, 16].mean(axis=1) == pytest.approx([(0.5 - 0.25) / 0.5, (0.3 - 0.25) / 0.5], abs=1e-6)
    assert image[:, :, 0] == pytest.approx(-0.5)
    assert placement.to_source(*placement.to_input(10.0, 20.0)) == pytest.approx((10.0, 20.0))


def test_a_slab_holds_the_neighbours_from_below_to_above_and_repeats_the_ends() -> None:
    series = SeriesSpec(windows=(BRAIN,), slab=3)
    slices = [np.full((1, 2, 2), n, np.float32) for n in range(4)]
    assert [slab_input(slices, n, series)[:, 0, 0].tolist() for n in range(4)] == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 3],
    ]


def test_a_body_is_told_from_values_that_are_no_hounsfield_units() -> None:
    head = np.full((64, 64), -1000.0, np.float32)
    head[16:48, 16:48] = 35.0
    assert like_a_body(head)
    assert not like_a_body(head + 1024)
    assert not like_a_body(np.full((64, 64), -1000.0, np.float32))


LOGITS = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.floats(-20, 20, width=32))


@given(LOGITS, st.integers(1, 5), st.randoms())
def test_the_order_of_slices_does_not_move_the_score(logits: np.ndarray, top: int, random: object) -> None:
    shuffled = logits.copy()
    random.shuffle(order := list(range(len(logits))))  # type: ignore[attr-defined]
    shuffled = logits[order]
    np.testing.assert_allclose(series_logits(shuffled, top), series_logits(logits, top), rtol=1e-5, atol=1e-5)


@given(LOGITS, LOGITS, st.integers(1, 3))
def test_more_slices_never_lower_a_score(logits: np.ndarray, more: np.ndarray, top: int) -> None:
    outputs = min(logits.shape[1], more.shape[1])
    fewer = logits[:, :outputs]
    if len(fewer) >= top:
        grown = np.concatenate([fewer, more[:, :outputs]])
        assert (series_logits(grown, top) >= series_logits(fewer, top) - 1e-4).all()


@given(LOGITS)
def test_with_one_slice_the_score_is_the_highest_and_the_key_slice_has_it(logits: np.ndarray) -> None:
    highest = series_logits(logits, 1)
    assert highest.tolist() == logits.max(axis=0).tolist()
    assert [logits[n, k] for k, n in enumerate(key_slices(logits))] == highest.tolist()


def test_a_slab_has_a_middle() -> None:
    with pytest.raises(ValueError, match="odd number"):
        SeriesSpec(windows=(BRAIN,), slab=2)
    assert SeriesSpec(windows=(BRAIN, BONE), slab=5).channels == 10
