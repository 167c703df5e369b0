"""From stored values to the network's input, held against pydicom's reference functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from model_samples import data_files, make_dataset
from numpy.typing import NDArray
from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from models.decoding import decode, read
from models.metadata import InputSpec
from models.preprocessing import (
    Placement,
    display_from_png,
    display_image,
    network_input,
    pixel_aspect,
    unlike_an_image,
)
from triage.errors import PixelError

SPEC = InputSpec(height=224, width=224, mean=0.5, std=0.25)


def shown(pixels: NDArray[Any], **elements: Any) -> NDArray[np.float32]:
    dataset = make_dataset(pixels, **elements)
    return display_image(dataset, decode(dataset))


def reference(dataset: Dataset, pixels: NDArray[Any]) -> NDArray[np.float64]:
    """pydicom's windowed values, brought from their own range to [0, 1]."""
    windowed = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset).astype(np.float64)
    low, high = (-(2.0 ** (dataset.BitsStored - 1)), 2.0 ** (dataset.BitsStored - 1) - 1)
    if dataset.PixelRepresentation == 0:
        low, high = 0.0, 2.0**dataset.BitsStored - 1
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    low, high = low * slope + intercept, high * slope + intercept
    return (windowed - low) / (high - low)


@st.composite
def windowed_images(draw: st.DrawFn) -> tuple[Dataset, NDArray[Any]]:
    bits = draw(st.sampled_from([8, 10, 12, 15, 16]))
    signed = draw(st.booleans())
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    seed = draw(st.integers(0, 2**32 - 1))
    pixels = np.random.default_rng(seed).integers(low, high + 1, size=(9, 7)).astype(dtype)
    function = draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", None]))
    elements: dict[str, Any] = {
        "WindowCenter": draw(st.integers(low, high)),
        "WindowWidth": draw(st.integers(1, high - low + 1)),
        "RescaleSlope": draw(st.sampled_from([1, 0.5, 2.25])),
        "RescaleIntercept": draw(st.integers(-1024, 1024)),
    }
    if function:
        elements["VOILUTFunction"] = function
    return make_dataset(pixels, bits_stored=bits, **elements), pixels


@given(windowed_images())
def test_windows_equal_pydicom(case: tuple[Dataset, NDArray[Any]]) -> None:
    dataset, pixels = case
    np.testing.assert_allclose(display_image(dataset, pixels), reference(dataset, pixels), atol=2e-6)


@pytest.mark.parametrize("path", data_files("objects/vlut_04.dcm"))
def test_voi_lut_equals_pydicom(path: Any) -> None:
    dataset = read(path)
    pixels = decode(dataset)
    expected = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset)
    top = 2.0 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    np.testing.assert_allclose(display_image(dataset, pixels), expected / top, atol=1e-6)


@pytest.mark.parametrize("path", data_files("objects/mlut_18.dcm"))
def test_modality_lut_equals_pydicom(path: Any) -> None:
    dataset = read(path)
    for keyword in ("WindowCenter", "WindowWidth"):
        if keyword in dataset:
            delattr(dataset, keyword)
    pixels = decode(dataset)
    assert "ModalityLUTSequence" in dataset
    values = apply_modality_lut(pixels, dataset).astype(np.float64)
    low, high = np.percentile(values, (0.5, 99.5))
    expected = np.clip((values - low) / (high - low), 0, 1)
    np.testing.assert_allclose(display_image(dataset, pixels), expected, atol=1e-6)


WORDS, BYTES, NUMBERS = "words", "bytes", "numbers"


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize(
    ("signed", "first", "bits", "form", "syntax"),
    [
        (False, 0, 12, WORDS, ExplicitVRLittleEndian),
        (False, 100, 16, NUMBERS, ExplicitVRLittleEndian),
        (False, 0, 8, WORDS, ExplicitVRLittleEndian),
        (False, 0, 8, BYTES, ExplicitVRLittleEndian),
        (False, 0, 8, BYTES, ExplicitVRBigEndian),
        (False, 0, 8, NUMBERS, ExplicitVRLittleEndian),
        (False, 0, 9, WORDS, ExplicitVRBigEndian),
        (True, -1024, 12, WORDS, ExplicitVRLittleEndian),
        (True, 64512, 12, WORDS, ExplicitVRLittleEndian),  # -1024, written as US
        (True, -1024, 8, BYTES, ImplicitVRLittleEndian),
    ],
)
def test_a_table_is_read_as_the_standard_says(
    signed: bool, first: int, bits: int, form: str, syntax: UID, keyword: str, tmp_path: Path
) -> None:
    top = (1 << bits) - 1
    table = np.rint(np.linspace(0, 1, 1900) ** 2 * top).astype(np.uint16)
    stored = (
        np.random.default_rng(5)
        .integers(-1024 if signed else 0, 1024, (20, 30))
        .astype(np.int16 if signed else np.uint16)
    )
    dataset = make_dataset(stored, WindowCenter=top / 2 + 0.5, WindowWidth=top + 1)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    packed = table.astype(np.uint8).tobytes() if form == BYTES else b""
    words = np.frombuffer(packed, "<u2") if packed else table
    item = Dataset()
    item.add(DataElement("LUTDescriptor", "SS" if first < 0 else "US", [1900, first, bits]))
    if form == NUMBERS:
        item.add(DataElement("LUTData", "US", table.tolist()))
    else:
        item.add(DataElement("LUTData", "OW", words.astype(f"{order}u2").tobytes()))
    if keyword == "ModalityLUTSequence":
        item.ModalityLUTType = "US"
    setattr(dataset, keyword, [item])
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].VR = "OW"
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    path = tmp_path / "image.dcm"
    dataset.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    read_back = read(path)
    expected = table[np.clip(stored.astype(int) - (-1024 if signed else first), 0, 1899)] / top
    np.testing.assert_allclose(display_image(read_back, decode(read_back)), expected, atol=1e-6)


def test_a_table_of_rescaled_values_below_zero_is_met_whatever_made_them_negative() -> None:
    """The descriptor's first value is written as US: -1020 is 64516, and only the rescaling says that it may be."""
    stored, item = noise(20, 30).astype(np.uint16) % 1024, Dataset()
    item.add(DataElement("LUTDescriptor", "US", [1024, 64516, 10]))
    item.add(DataElement("LUTData", "US", list(range(1024))))
    image = shown(stored, VOILUTSequence=[item], RescaleSlope=-1, RescaleIntercept=3)
    np.testing.assert_allclose(image, (1023.0 - stored) / 1023, atol=1e-6)


@pytest.mark.parametrize(
    "elements",
    [
        {"LUTDescriptor": [256, 0], "LUTData": [1] * 256},
        {"LUTDescriptor": [256, 0, 32], "LUTData": [1] * 256},
        {"LUTDescriptor": [256, 0, 16], "LUTData": [1] * 100},
        {"LUTDescriptor": [256, 0, 16]},
        {},
    ],
)
def test_a_table_that_cannot_be_used_gives_way_to_the_window_or_is_refused(elements: dict[str, Any]) -> None:
    stored, item = noise(20, 30), Dataset()
    for keyword, value in elements.items():
        item.add(DataElement(keyword, "US", value))
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    np.testing.assert_array_equal(shown(stored, VOILUTSequence=[item], **window), shown(stored, **window))
    with pytest.raises(PixelError, match="ModalityLUTSequence"):
        shown(stored, ModalityLUTSequence=[item], **window)


def test_voi_lut_goes_before_the_window() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    item = Dataset()
    item.LUTDescriptor = [256, 0, 16]
    item.LUTData = [255 * 257 - 257 * value for value in range(256)]  # turns the picture round
    image = shown(pixels, VOILUTSequence=[item], WindowCenter=128, WindowWidth=256)
    np.testing.assert_allclose(image, 1.0 - pixels / 255.0, atol=1e-6)


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),  # the two say the same thing: inverted once, not twice
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
def test_sense(photometric: str, shape: str | None, inverted: bool) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    elements = {"PresentationLUTShape": shape} if shape else {}
    image = shown(pixels, PhotometricInterpretation=photometric, WindowCenter=128, WindowWidth=256, **elements)
    plain = pixels / 255.0
    np.testing.assert_allclose(image, 1.0 - plain if inverted else plain, atol=1e-6)


def test_first_of_several_windows() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    several = shown(pixels, WindowCenter=[100, 30], WindowWidth=[50, 10])
    np.testing.assert_array_equal(several, shown(pixels, WindowCenter=100, WindowWidth=50))


@pytest.mark.parametrize("elements", [{"WindowCenter": None, "WindowWidth": None}, {"WindowCenter": 100}])
def test_no_window_falls_back_to_percentiles(elements: dict[str, Any]) -> None:
    pixels = np.random.default_rng(3).integers(200, 3000, (40, 40)).astype(np.uint16)
    np.testing.assert_array_equal(shown(pixels, **elements), shown(pixels))


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 100, "WindowWidth": 0},
        {"WindowCenter": 100, "WindowWidth": -5},
        {"WindowCenter": 100, "WindowWidth": 0.5},
        {"WindowCenter": 100, "WindowWidth": float("nan")},
        {"WindowCenter": 100, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"},
    ],
)
def test_a_broken_window_is_not_guessed(elements: dict[str, Any]) -> None:
    pixels = np.random.default_rng(3).integers(200, 3000, (40, 40)).astype(np.uint16)
    with pytest.raises(PixelError, match="Window"):
        shown(pixels, **elements)


def test_percentiles_use_the_whole_range_and_resist_outliers() -> None:
    pixels = np.random.default_rng(3).integers(200, 3000, (100, 100)).astype(np.uint16)
    pixels[0, :5] = 65535
    image = shown(pixels)
    low, high = np.percentile(pixels, (0.5, 99.5))
    np.testing.assert_allclose(image, np.clip((pixels - low) / (high - low), 0, 1), atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_brighter_is_never_darker(seed: int, window: bool) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 4096, (20, 20)).astype(np.uint16)
    elements = {"WindowCenter": int(rng.integers(0, 4096)), "WindowWidth": int(rng.integers(1, 4096))}
    image = shown(pixels, bits_stored=12, **(elements if window else {}))
    order = np.argsort(pixels, axis=None)
    assert (np.diff(image.ravel()[order]) >= 0).all()
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1


def test_padding_is_black_and_sets_no_window() -> None:
    inside = np.random.default_rng(3).integers(1000, 2000, (50, 50)).astype(np.int16)
    framed = np.pad(inside, 10, constant_values=-2000)
    framed[0, :] = -1995
    image = shown(framed, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990)
    np.testing.assert_allclose(image[10:-10, 10:-10], shown(inside), atol=1e-6)
    assert image[:10].max() == 0.0


def test_padding_stays_black_when_the_image_is_inverted() -> None:
    pixels = np.array([[0, 100], [200, 255]], dtype=np.uint8)
    image = shown(
        pixels, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0, WindowCenter=128, WindowWidth=256
    )
    assert image[0, 0] == 0.0
    assert image[0, 1] == pytest.approx(1 - 100 / 255)


def test_shutter_blanks_outside_and_sets_no_window() -> None:
    inside = np.random.default_rng(3).integers(1000, 2000, (30, 40)).astype(np.uint16)
    framed = np.full((50, 60), 65535, dtype=np.uint16)
    framed[10:40, 5:45] = inside
    image = shown(
        framed,
        ShutterShape="RECTANGULAR",
        ShutterUpperHorizontalEdge=11,
        ShutterLowerHorizontalEdge=40,
        ShutterLeftVerticalEdge=6,
        ShutterRightVerticalEdge=45,
    )
    np.testing.assert_allclose(image[10:40, 5:45], shown(inside), atol=1e-6)
    image[10:40, 5:45] = 0
    assert not image.any()


def noise(rows: int, columns: int) -> NDArray[Any]:
    return np.random.default_rng(3).integers(0, 4096, (rows, columns)).astype(np.uint16)


def seen_of(image: NDArray[Any]) -> NDArray[np.bool_]:
    return image > 0


@given(
    st.floats(-5, 65), st.floats(-5, 85), st.floats(1, 70), st.sampled_from([1.0, 0.5, 2.0]),
)  # fmt: skip
def test_a_circular_shutter_is_a_circle_where_it_is_looked_at(
    row: float, column: float, radius: float, aspect: float
) -> None:
    stored = np.full((60, 80), 1000, np.uint16)
    image = shown(
        stored, ShutterShape="CIRCULAR", CenterOfCircularShutter=[round(row), round(column)],
        RadiusOfCircularShutter=round(radius), PixelAspectRatio=[round(aspect * 2), 2], WindowCenter=1000,
        WindowWidth=10,
    )  # fmt: skip
    r, c = np.mgrid[1:61, 1:81]
    expected = np.hypot((r - round(row)) * aspect, c - round(column)) <= round(radius)
    np.testing.assert_array_equal(seen_of(image), expected if expected.any() else np.ones_like(expected))


def test_a_polygonal_shutter_hides_what_lies_outside_and_sets_no_window() -> None:
    stored = noise(60, 80)
    stored[:20] = 60000
    # Row and column of each corner: a triangle below row 20.
    image = shown(stored, ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=[21, 1, 60, 1, 60, 80])
    inside = np.zeros((60, 80), np.bool_)
    for row in range(20, 60):
        inside[row, : 1 + int((row - 20) / 39 * 79 + 0.5)] = True
    beyond = ~inside & ~np.roll(inside, 1, axis=1)  # a pixel that the edge runs through may belong to the image
    beyond[:20] = True
    assert np.count_nonzero(seen_of(image) & beyond) == 0
    assert np.count_nonzero(seen_of(image)) > 0.95 * inside.sum()
    assert image[inside].mean() == pytest.approx(0.5, abs=0.05)  # the bright rows set no window


def test_shutters_of_several_shapes_show_what_all_show() -> None:
    stored = np.full((60, 80), 1000, np.uint16)
    window = {"WindowCenter": 1000, "WindowWidth": 10}
    circle = {"CenterOfCircularShutter": [30, 40], "RadiusOfCircularShutter": 20}
    edges = dict(zip(("ShutterUpperHorizontalEdge", "ShutterLowerHorizontalEdge", "ShutterLeftVerticalEdge",
                      "ShutterRightVerticalEdge"), (1, 30, 1, 80), strict=True))  # fmt: skip
    both = shown(stored, ShutterShape=["RECTANGULAR", "CIRCULAR"], **circle, **edges, **window)
    round_one = shown(stored, ShutterShape="CIRCULAR", **circle, **window)
    flat = shown(stored, ShutterShape="RECTANGULAR", **edges, **window)
    np.testing.assert_array_equal(seen_of(both), seen_of(round_one) & seen_of(flat))
    assert 0 < np.count_nonzero(both) < np.count_nonzero(round_one)


@pytest.mark.parametrize(
    "elements",
    [
        {"ShutterShape": "CIRCULAR"},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [10, 10], "RadiusOfCircularShutter": 0},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [900, 900], "RadiusOfCircularShutter": 5},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 20, 20]},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 5, 5, 9, 9]},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 1, 20, 20]},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [90, 90, 90, 95, 95, 95]},
        {"ShutterShape": "BITMAP"},
    ],
)
def test_a_shutter_of_another_shape_without_sense_is_ignored(elements: dict[str, Any]) -> None:
    stored = noise(20, 20)
    np.testing.assert_array_equal(shown(stored, **elements), shown(stored))


def test_shutter_without_sense_is_ignored() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (20, 20)).astype(np.uint8)
    closed = shown(
        pixels,
        ShutterShape="RECTANGULAR",
        ShutterUpperHorizontalEdge=15,
        ShutterLowerHorizontalEdge=5,
        ShutterLeftVerticalEdge=1,
        ShutterRightVerticalEdge=20,
    )
    np.testing.assert_array_equal(closed, shown(pixels))


@pytest.mark.parametrize("slope", ["0", "NaN", "1e400"])
def test_meaningless_rescale_is_refused(slope: str) -> None:
    pixels = np.zeros((10, 10), dtype=np.uint8)
    dataset = make_dataset(pixels, RescaleIntercept=0)
    with config.disable_value_validation():
        dataset.add(DataElement("RescaleSlope", "DS", slope))
    with pytest.raises(PixelError, match="RescaleSlope"):
        display_image(dataset, pixels)


HOW_IT_IS_SEEN = (
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence", "RescaleSlope",
    "RescaleIntercept", "PresentationLUTShape", "PixelPaddingValue", "PixelPaddingRangeLimit", "ShutterShape",
    "CenterOfCircularShutter", "RadiusOfCircularShutter", "VerticesOfThePolygonalShutter", "ShutterLeftVerticalEdge",
    "PixelAspectRatio", "ImagerPixelSpacing", "PixelSpacing",
)  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(HOW_IT_IS_SEEN),
        st.one_of(
            st.binary(max_size=12),
            st.sampled_from([b"inf", b"1e400", b"NaN", b"-5", b"1\\", b"CIRCULAR", b"POLYGONAL", b"9" * 20]),
        ),
        min_size=1,
        max_size=4,
    )
)
@example({"PixelAspectRatio": b"inf "})
@example({"VOILUTSequence": b"-5"})
@example({"ModalityLUTSequence": b"-5"})
def test_whatever_a_header_says_a_picture_or_a_reason_comes_of_it(elements: dict[str, bytes]) -> None:
    stored = noise(20, 30)
    dataset = make_dataset(stored)
    for keyword, value in elements.items():
        tag = Tag(tag_for_keyword(keyword) or 0)
        dataset._dict[tag] = RawDataElement(tag, None, len(value), value, 0, True, True)
    try:
        image = display_image(dataset, stored)
    except PixelError:
        return
    assert image.dtype == np.float32
    assert 0.0 <= image.min() <= image.max() <= 1.0
    assert 0.25 <= pixel_aspect(dataset) <= 4.0


def test_wide_words_give_the_same_picture() -> None:
    pixels = np.random.default_rng(3).integers(0, 60000, (30, 30)).astype(np.uint16)
    np.testing.assert_allclose(shown(pixels.astype(np.uint32)), shown(pixels), atol=1e-6)


def test_big_endian_array_gives_the_same_picture() -> None:
    pixels = np.random.default_rng(3).integers(-500, 500, (30, 30)).astype("<i2")
    dataset = make_dataset(pixels)
    np.testing.assert_array_equal(display_image(dataset, pixels.astype(">i2")), display_image(dataset, pixels))


def test_png_goes_the_route_of_an_image_without_a_window() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (30, 30)).astype(np.uint8)
    np.testing.assert_array_equal(display_from_png(pixels), shown(pixels))


def test_colour_is_refused() -> None:
    with pytest.raises(PixelError, match="one frame"):
        display_from_png(np.zeros((4, 4, 3), dtype=np.uint8))


# --- fitting ---


@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(0.25, 4.0), st.floats(0, 1), st.floats(0, 1))
def test_placement_there_and_back(rows: int, columns: int, aspect: float, x: float, y: float) -> None:
    placement = Placement.letterbox(rows, columns, SPEC, pixel_aspect=aspect)
    column, row = placement.to_input(x * columns, y * rows)
    assert -1e-6 <= column <= SPEC.width + 1e-6
    assert -1e-6 <= row <= SPEC.height + 1e-6
    back = placement.to_source(column, row)
    assert back == pytest.approx((x * columns, y * rows), abs=1e-6)


@given(st.integers(100, 4000), st.integers(100, 4000), st.floats(0.5, 2.0))
def test_letterbox_fills_one_side_and_keeps_the_shape(rows: int, columns: int, aspect: float) -> None:
    placement = Placement.letterbox(rows, columns, SPEC, pixel_aspect=aspect)
    height, width = placement.fitted
    assert height == SPEC.height or width == SPEC.width
    assert height / width == pytest.approx(rows * aspect / columns, rel=0.02 + 1.0 / min(height, width))
    assert placement.offset_row == (SPEC.height - height) // 2
    assert placement.offset_column == (SPEC.width - width) // 2


def test_feature_map_spans_the_whole_input() -> None:
    placement = Placement.letterbox(400, 200, SPEC)
    assert placement.feature_to_source(3.5, 3.5, height=7, width=7) == pytest.approx((100.0, 200.0))
    assert placement.feature_to_source(0.0, 0.0, height=7, width=7)[0] < 0  # the letterbox lies outside


def test_network_input_is_the_area_average_on_black() -> None:
    display = np.random.default_rng(3).random((500, 300), dtype=np.float32)
    image, placement = network_input(display, SPEC)
    assert image.shape == (1, 224, 224)
    assert image.dtype == np.float32
    height, width = placement.fitted
    left = placement.offset_column
    fitted = cv2.resize(display.astype(np.float64), (width, height), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(image[0, :, left : left + width] * 0.25 + 0.5, fitted, atol=1e-6)
    np.testing.assert_allclose(image[0, :, :left], (0 - 0.5) / 0.25)
    np.testing.assert_allclose(image[0, :, left + width :], (0 - 0.5) / 0.25)


def test_window_before_resize_is_faithful_to_float64() -> None:
    """The fast route (16 bit look-up, float32 area average) against pydicom's float64 route."""
    pixels = np.random.default_rng(3).integers(0, 1 << 14, (600, 500)).astype(np.uint16)
    dataset = make_dataset(pixels, bits_stored=14, WindowCenter=8000, WindowWidth=9000)
    image, placement = network_input(display_image(dataset, pixels), SPEC)
    height, width = placement.fitted
    expected = cv2.resize(reference(dataset, pixels), (width, height), interpolation=cv2.INTER_AREA)
    left = placement.offset_column
    ours = image[0, :, left : left + width].astype(np.float64) * 0.25 + 0.5
    assert np.abs(ours - expected).max() < 1e-6


def test_small_image_is_enlarged_without_new_extremes() -> None:
    display = np.random.default_rng(3).random((20, 20), dtype=np.float32)
    image, _ = network_input(display, SPEC)
    shown_again = image * 0.25 + 0.5
    assert display.min() - 1e-5 <= shown_again.min() <= shown_again.max() <= display.max() + 1e-5


@pytest.mark.parametrize(
    ("elements", "aspect"),
    [
        ({}, 1.0),
        ({"PixelAspectRatio": [2, 1]}, 2.0),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, 0.5),
        ({"PixelSpacing": [0.3, 0.3]}, 1.0),
        ({"PixelAspectRatio": [1, 2], "PixelSpacing": [0.3, 0.3]}, 0.5),
        ({"PixelAspectRatio": [0, 1]}, 1.0),
        ({"PixelAspectRatio": [100, 1]}, 1.0),
        ({"ImagerPixelSpacing": None}, 1.0),
    ],
)
def test_pixel_aspect(elements: dict[str, Any], aspect: float) -> None:
    assert pixel_aspect(make_dataset(np.zeros((4, 4), np.uint8), **elements)) == aspect


def test_tall_pixels_make_a_tall_picture() -> None:
    display = np.ones((200, 200), dtype=np.float32)
    _, placement = network_input(display, SPEC, pixel_aspect=2.0)
    assert placement.fitted == (224, 112)


@pytest.mark.parametrize(
    ("display", "word"),
    [
        (np.zeros((300, 300)), "same value"),
        (np.ones((300, 300)), "same value"),
        (np.full((300, 300), 0.4), "same value"),
        (np.where(np.arange(90000).reshape(300, 300) % 300 < 2, 1.0, 0.0), "black"),
        (np.where(np.arange(90000).reshape(300, 300) % 300 < 2, 0.0, 1.0), "white"),
        (np.random.default_rng(0).random((4, 4)), "8 pixels"),
        (np.random.default_rng(0).random((1, 1)), "8 pixels"),
    ],
)
def test_nothing_to_see(display: NDArray[np.float64], word: str) -> None:
    problem = unlike_an_image(display.astype(np.float32))
    assert problem is not None
    assert word in problem


@pytest.mark.parametrize("path", data_files("radiograph/nih-derived/*.dcm", "radiograph/*.dcm"))
def test_real_radiographs_look_like_images(path: Any) -> None:
    dataset = read(path)
    image = display_image(dataset, decode(dataset))
    assert unlike_an_image(image) is None


@pytest.mark.parametrize("path", data_files("radiograph/RG1_J2KI.dcm", "radiograph/nih-derived/*M1*.dcm"))
def test_inverted_radiographs_have_dark_lungs(path: Any) -> None:
    """MONOCHROME1 handled: in the middle of each half (lung) the picture is darker than along the midline."""
    dataset = read(path)
    image, _ = network_input(display_image(dataset, decode(dataset)), SPEC)
    lungs = np.concatenate([image[0, 60:130, 50:85].ravel(), image[0, 60:130, 140:175].ravel()])
    midline = image[0, 100:200, 100:124]
    assert lungs.mean() < midline.mean()
