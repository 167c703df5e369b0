"""Fits, ranges and channels of the network's input: the default is what it always was, and every fit can be undone."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.explain import upscale
from models.metadata import InputSpec
from models.placement import Placement
from models.preprocessing import network_input, normalise
from models.training.samples import Samples, fitted

FITS = ("letterbox", "centre_crop", "stretch")


def spec(**changes: Any) -> InputSpec:
    return InputSpec.model_validate({"height": 64, "width": 64, "mean": 0.0, "std": 1.0, **changes})


def picture(rows: int, columns: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(rows).random((rows, columns), dtype=np.float32)


def test_one_grey_channel_is_what_it_always_was() -> None:
    old = spec(mean=0.5, std=0.25)
    display = picture(200, 120)
    image, placement = network_input(display, old)
    expected = np.zeros((1, 64, 64), np.float32)
    height, width = placement.fitted
    top, left = int(placement.offset_row), int(placement.offset_column)
    resized = cv2.resize(display, (width, height), interpolation=cv2.INTER_AREA)
    expected[0, top : top + height, left : left + width] = resized
    expected -= np.float32(0.5)
    expected /= np.float32(0.25)
    # Means of the same cells, added in another order: nothing that could move a shipped score.
    np.testing.assert_allclose(image, expected, atol=2e-6)


def test_torchxrayvision_range_crop_and_resize() -> None:
    """XRayCenterCrop, XRayResizer(engine="cv2") and normalize(maxval=255), written out (torchxrayvision 1.5)."""
    xrv = spec(value_range="-1024..1024", fit="centre_crop")
    for rows, columns in ((101, 160), (160, 101), (97, 97), (130, 131)):
        stored = np.random.default_rng(1).integers(0, 256, (rows, columns), dtype=np.uint8)
        theirs = (2 * (stored.astype(np.float32) / 255) - 1.0) * 1024
        side = min(rows, columns)
        top, left = rows // 2 - side // 2, columns // 2 - side // 2
        theirs = cv2.resize(theirs[top : top + side, left : left + side], (64, 64), interpolation=cv2.INTER_AREA)
        image, _ = network_input(stored.astype(np.float32) / 255, xrv)
        np.testing.assert_allclose(image[0], theirs, atol=1e-3)  # of a range of 2048


def test_imagenet_normalisation_in_three_channels() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    colour = spec(channels=3, channel_mean=mean, channel_std=std, fit="stretch")
    display = picture(64, 64)
    image, _ = network_input(display, colour)
    assert image.shape == (3, 64, 64)
    assert image.dtype == np.float32
    for channel in range(3):
        np.testing.assert_allclose(image[channel], (display - mean[channel]) / std[channel], rtol=1e-5, atol=1e-6)


def test_three_channels_and_bytes() -> None:
    image = normalise(np.array([[0.0, 1.0]]), spec(channels=3, value_range="0..255", mean=127.5, std=127.5))
    np.testing.assert_array_equal(image, np.broadcast_to([[[-1.0, 1.0]]], (3, 1, 2)))


sides = st.integers(20, 400)


@given(
    st.sampled_from(FITS), sides, sides, st.sampled_from([0.5, 1.0, 1.3, 2.0]), st.integers(32, 90), st.integers(32, 90)
)
def test_a_placement_leads_there_and_back(
    fit: str, rows: int, columns: int, aspect: float, height: int, width: int
) -> None:
    placement = Placement.of(rows, columns, spec(fit=fit, height=height, width=width), pixel_aspect=aspect)
    column, row = placement.to_source(*placement.to_input(3.25, 7.5))
    assert (column, row) == pytest.approx((3.25, 7.5))
    seen, filled = placement.seen, placement.filled
    # The corners of what is seen lie on the corners of what is filled.
    for corner in ("start", "stop"):
        there = placement.to_input(getattr(seen[1], corner), getattr(seen[0], corner))
        assert there == pytest.approx((getattr(filled[1], corner), getattr(filled[0], corner)), abs=1e-6)
    assert 0 <= seen[0].start < seen[0].stop <= rows
    assert 0 <= seen[1].start < seen[1].stop <= columns
    if fit != "centre_crop":
        assert (seen[0], seen[1]) == (slice(0, rows), slice(0, columns))
    if fit != "letterbox":
        assert (filled[0], filled[1]) == (slice(0, height), slice(0, width))


@given(sides, sides, st.sampled_from([0.5, 1.0, 2.0]))
def test_a_centre_crop_keeps_proportions_and_leaves_out_one_direction_only(
    rows: int, columns: int, aspect: float
) -> None:
    placement = Placement.of(rows, columns, spec(fit="centre_crop"), pixel_aspect=aspect)
    seen = [part.stop - part.start for part in placement.seen]
    assert seen[0] == rows or seen[1] == columns
    # Square to within the rounding to whole pixels.
    assert abs(seen[0] * aspect - seen[1]) <= max(1.0, aspect)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("rows", "columns"), [(200, 320), (320, 200), (256, 256)])
def test_a_heat_map_lies_on_the_bright_spot(fit: str, rows: int, columns: int) -> None:
    """What is bright in the input must be bright at the same place of the source, whatever the fit."""
    display = np.zeros((rows, columns), np.float32)
    row, column = int(rows * 0.4), int(columns * 0.55)
    display[row - 8 : row + 8, column - 8 : column + 8] = 1.0
    image, placement = network_input(display, spec(fit=fit))
    laid = upscale(image[0], placement)
    assert laid.shape == display.shape
    found = np.unravel_index(int(cv2.GaussianBlur(laid, (0, 0), 6).argmax()), laid.shape)
    assert abs(found[0] - row) <= 3
    assert abs(found[1] - column) <= 3
    assert np.corrcoef(laid.ravel(), display.ravel())[0, 1] > 0.8


@pytest.mark.parametrize(("rows", "columns"), [(200, 320), (320, 200), (201, 320)])
def test_a_heat_map_says_nothing_where_nothing_was_looked_at(rows: int, columns: int) -> None:
    placement = Placement.of(rows, columns, spec(fit="centre_crop"))
    everywhere = np.ones((8, 8), np.float32)
    laid = upscale(everywhere, placement)
    assert laid[placement.seen].min() == 1.0
    assert laid.sum() == laid[placement.seen].size
    assert upscale(everywhere, placement, rows // 2, columns // 2).mean() == pytest.approx(laid.mean(), abs=0.02)


@pytest.mark.parametrize("fit", FITS)
def test_training_and_service_see_the_same_picture(fit: str) -> None:
    chosen = spec(fit=fit, channels=3, value_range="-1024..1024", channel_mean=(1.0, 2, 3), channel_std=(4.0, 5, 6))
    display = picture(150, 90)
    stored = Samples(fitted(display, chosen)[None], np.zeros((1, 1), np.float32))
    in_training = stored.network_images(slice(None), chosen)[0]
    in_service, _ = network_input(display, chosen)
    assert in_training.shape == in_service.shape == (3, 64, 64)
    # Training keeps 256 grey levels; one of them is 8 of the range of 2048, divided by the smallest deviation.
    assert np.abs(in_training - in_service).max() <= 0.5 * 2048 / 255 / 4 + 1e-3
