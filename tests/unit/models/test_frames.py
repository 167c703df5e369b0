"""One frame of any image, for people: every frame of an object, in its colours, or a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from model_samples import make_dataset
from numpy.typing import NDArray
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_color_lut
from pydicom.sequence import Sequence
from test_decoding import ENCODERS, compressed, noise

from models.colour import to_rgb
from models.decoder import Decoder
from models.decoding import decode, decode_frame, read
from models.functional_groups import header_of
from models.layout import MAX_FRAMES, Colour, frame_count
from models.viewing import viewable_picture
from triage.errors import PixelError

IN_PYDICOM = [
    "examples_ybr_color.dcm",  # JPEG, 30 frames
    "examples_jpeg2k.dcm",
    "examples_rgb_color.dcm",
    "examples_palette.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "SC_jpeg_no_color_transform.dcm",  # RGB in a JPEG without a word about it
    "ExplVR_BigEnd.dcm",
    "rtdose.dcm",
]


def shown(dataset: Dataset, number: int) -> NDArray[Any]:
    picture = decode_frame(dataset, number)
    return picture.samples if picture.colour is Colour.GREY else to_rgb(dataset, picture)


def as_pydicom_shows(dataset: Dataset) -> NDArray[Any]:
    pixels = dataset.pixel_array
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        return pixels >> 8 if pixels.dtype == np.uint16 else pixels
    if dataset.SamplesPerPixel == 3 and dataset.BitsStored > 8:
        return (pixels >> (dataset.BitsStored - 8)).astype(np.uint8)
    return pixels


def agrees_with_pydicom(path: Path) -> None:
    dataset = read(path)
    expected = as_pydicom_shows(pydicom.dcmread(path))
    frames = frame_count(dataset)
    for number in sorted({1, (frames + 1) // 2, frames}):
        ours = shown(dataset, number)
        theirs = expected if frames == 1 else expected[number - 1]
        assert ours.shape == theirs.shape
        difference = np.abs(ours.astype(int) - theirs.astype(int))
        assert difference.max() <= (0 if ours.ndim == 2 else 2), "conversions round differently"


@pytest.mark.parametrize("name", IN_PYDICOM)
def test_pydicoms_own_files(name: str) -> None:
    agrees_with_pydicom(Path(str(get_testdata_file(name, download=False))))


@pytest.mark.parametrize(
    "name",
    ["us/jpeg-ls-Palette.dcm", "us/YBR_FULL-RLE.dcm", "mr/emri_small.dcm", "mr/emri_small_jpeg_ls_lossless.dcm",
     "ct/eCT_Supplemental.dcm", "damaged/no-pixel-spacing.dcm", "objects/sm_image_jpegls.dcm"],
)  # fmt: skip
def test_real_files_of_many_frames_and_colours(test_data: Path, name: str) -> None:
    agrees_with_pydicom(test_data / name)


def test_fragments_without_a_table_are_put_together(test_data: Path) -> None:
    dataset = read(test_data / "syntaxes/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm")
    first, second = (decode_frame(dataset, number).samples for number in (1, 2))
    assert first.shape == second.shape == (512, 512)
    assert not np.array_equal(first, second)


# --- made here ---


def stack(frames: int, rows: int = 20, columns: int = 24, dtype: str = "u2") -> NDArray[Any]:
    return np.stack([noise(rows, columns, dtype, 8 * np.dtype(dtype).itemsize, seed) for seed in range(frames)])


def many(pixels: NDArray[Any], syntax: str | None = None, **elements: Any) -> Dataset:
    """An object of these frames."""
    dataset = make_dataset(pixels[0], **({"NumberOfFrames": len(pixels)} | elements))
    if syntax is None:
        dataset.PixelData = pixels.tobytes()
    else:
        dataset.PixelData = encapsulate([ENCODERS[syntax](frame) for frame in pixels])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    return dataset


def on_disk(dataset: Dataset, folder: Path) -> Dataset:
    """The same, with its pixels left in the file."""
    dataset.SOPInstanceUID = "2.25.7"
    pydicom.dcmwrite(folder / "many.dcm", dataset, enforce_file_format=True)
    return read(folder / "many.dcm")


@pytest.mark.parametrize("syntax", [None, *ENCODERS])
def test_every_frame_comes_back_from_memory_and_from_the_file(tmp_path: Path, syntax: str | None) -> None:
    pixels = stack(5, 120, 150)
    dataset = many(pixels, syntax)
    for source in (dataset, on_disk(dataset, tmp_path)):
        for number in (5, 1, 3):
            np.testing.assert_array_equal(decode_frame(source, number).samples, pixels[number - 1])
    with pytest.raises(PixelError, match="there is no frame 6"):
        decode_frame(dataset, 6)
    with pytest.raises(PixelError, match="more than one frame"):
        decode(dataset)  # networks read one


def test_the_other_frames_stay_in_the_file(tmp_path: Path) -> None:
    dataset = on_disk(many(stack(8, 200, 200)), tmp_path)
    decode_frame(dataset, 8)
    assert dataset.get_item("PixelData", keep_deferred=True).value is None


def test_the_child_decodes_colours_as_this_process_does() -> None:
    decoder = Decoder()
    try:
        for name in ("examples_ybr_color.dcm", "SC_rgb_rle_2frame.dcm", "examples_jpeg2k.dcm"):
            dataset = read(Path(str(get_testdata_file(name, download=False))))
            ours, theirs = decode_frame(dataset, 1, decoder.decode), decode_frame(dataset, 1)
            np.testing.assert_array_equal(ours.samples, theirs.samples)
            assert ours.colour is theirs.colour
    finally:
        decoder.close()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"NumberOfFrames": MAX_FRAMES + 1}, "is not decoded"),
        ({"NumberOfFrames": 10**9}, "is not decoded"),
        ({"NumberOfFrames": 9}, "cut off"),
        ({"PhotometricInterpretation": "CMYK"}, "no way to show"),
        ({"PhotometricInterpretation": "RGB"}, "do not describe"),
        ({"SamplesPerPixel": 3}, "no way to show"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 2}, "Planar"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(PixelError, match=text):
        decode_frame(many(stack(4), **changes), 9 if changes.get("NumberOfFrames") == 9 else 1)


def test_a_codestream_of_other_samples_is_refused_before_decoding() -> None:
    pixels = noise(16, 16, "u1", 8)
    dataset = compressed(pixels, uid.JPEGLSLossless, ENCODERS[uid.JPEGLSLossless](pixels))
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    with pytest.raises(PixelError, match="1 samples per pixel"):
        decode_frame(dataset, 1, lambda _: pytest.fail("a decoder was called"))


# --- palettes ---


def palette(indices: NDArray[Any], first: int = 0, bits: int = 16, **tables: bytes) -> Dataset:
    dataset = make_dataset(indices, PhotometricInterpretation="PALETTE COLOR")
    for channel in ("Red", "Green", "Blue"):
        setattr(dataset, f"{channel}PaletteColorLookupTableDescriptor", [4, first, bits])
        for keyword, data in tables.items():
            setattr(dataset, keyword.replace("Channel", channel), data)
    return dataset


def test_below_and_above_a_palette_are_its_ends() -> None:
    entries = np.array([10, 20, 30, 40], "<u2") << 8
    dataset = palette(np.array([[0, 5], [6, 200]], np.uint8), 5, ChannelPaletteColorLookupTableData=entries.tobytes())
    assert shown(dataset, 1)[..., 0].tolist() == [[10, 10], [20, 40]]


def test_colours_of_eight_bits_in_a_table_of_sixteen_are_not_black() -> None:
    entries = np.array([10, 20, 30, 255], "<u2")
    dataset = palette(np.array([[0, 3]], np.uint8), ChannelPaletteColorLookupTableData=entries.tobytes())
    assert shown(dataset, 1)[0, :, 1].tolist() == [10, 255]


def test_a_segmented_palette_is_expanded_and_never_beyond_its_size() -> None:
    segments = np.array([0, 1, 2560, 1, 3, 10240], "<u2")  # one entry, then a line over three
    dataset = palette(
        np.array([[0, 1, 2, 3]], np.uint8), SegmentedChannelPaletteColorLookupTableData=segments.tobytes()
    )
    assert shown(dataset, 1)[0, :, 2].tolist() == [10, 20, 30, 40]
    bomb = np.array([0, 1, 9, *[2, 65535, 0, 0] * 500], "<u2")
    hostile = palette(np.array([[3]], np.uint8), SegmentedChannelPaletteColorLookupTableData=bomb.tobytes())
    with pytest.raises(PixelError, match="none of the standard's"):
        shown(hostile, 1)


@pytest.mark.parametrize(
    "tables",
    [{}, {"ChannelPaletteColorLookupTableData": b""}, {"SegmentedChannelPaletteColorLookupTableData": b"\x07\0\1\0"},
     {"SegmentedChannelPaletteColorLookupTableData": b"\0\0\1\0\5\0"}],
)  # fmt: skip
def test_a_palette_without_usable_tables_is_refused(tables: dict[str, bytes]) -> None:
    with pytest.raises(PixelError, match="palette"):
        shown(palette(np.zeros((2, 2), np.uint8), **tables), 1)


# --- what a browser gets ---


def test_a_colour_frame_has_no_window_and_is_black_behind_its_shutter() -> None:
    pixels = np.full((4, 6, 3), [200, 100, 50], np.uint8)
    dataset = make_dataset(pixels[..., 0], SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    dataset.PixelData = pixels.tobytes()
    dataset.ShutterShape = "RECTANGULAR"
    dataset.ShutterLeftVerticalEdge, dataset.ShutterRightVerticalEdge = 2, 6
    dataset.ShutterUpperHorizontalEdge, dataset.ShutterLowerHorizontalEdge = 1, 4
    view = viewable_picture(dataset, decode_frame(dataset, 1), 3)
    assert (view.words.shape, view.words.dtype, view.windows) == ((2, 3, 3), np.uint8, ())
    assert view.words[0, 2].tolist() == [200, 100, 50]
    whole = viewable_picture(dataset, decode_frame(dataset, 1), 100)
    assert not whole.words[:, 0].any()


def test_planes_of_colour_are_put_together() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    dataset = make_dataset(pixels[..., 0], SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=1)
    dataset.PixelData = pixels.transpose(2, 0, 1).tobytes()
    np.testing.assert_array_equal(shown(dataset, 1), pixels)


def group(keyword: str, **elements: Any) -> Dataset:
    item, inner = Dataset(), Dataset()
    for name, value in elements.items():
        setattr(inner, name, value)
    setattr(item, keyword, Sequence([inner]))
    return item


def test_what_a_frame_says_of_itself_stands_above_what_is_shared() -> None:
    dataset = many(stack(2), WindowCenter=1, WindowWidth=2, RescaleSlope=9)
    shared = group("PixelValueTransformationSequence", RescaleSlope=2, RescaleIntercept=-5, RescaleType="HU")
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(
        [group("FrameVOILUTSequence", WindowCenter=centre, WindowWidth=80) for centre in (40, 600)]
    )
    first, second = header_of(dataset, 1), header_of(dataset, 2)
    assert (first.WindowCenter, second.WindowCenter) == (40, 600)
    assert (first.RescaleSlope, second.RescaleIntercept, second.RescaleType) == (2, -5, "HU")
    assert "PixelData" not in first
    assert "PerFrameFunctionalGroupsSequence" not in first
    assert dataset.WindowCenter == 1, "the object is left as it is"
    view = viewable_picture(second, decode_frame(dataset, 2), 100)
    assert (view.windows[0].centre, view.unit) == (600, "HU")
    np.testing.assert_array_equal(view.words * view.slope + view.intercept, stack(2)[1] * 2.0 - 5)


def test_an_enhanced_object_is_seen_as_its_own_table_shows_it(tmp_path: Path) -> None:
    """The table is words, whose byte order the file tells."""
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [4, 0, 8], np.array([0, 10, 200, 255], "<u2").tobytes()
    lut["LUTData"].VR = "OW"
    pixels = np.array([[[0, 1], [2, 3]], [[3, 3], [3, 0]]], "u2")
    dataset = many(pixels, PerFrameFunctionalGroupsSequence=Sequence())
    dataset.SharedFunctionalGroupsSequence = Sequence([group("FrameVOILUTSequence", VOILUTSequence=Sequence([lut]))])
    stored = on_disk(dataset, tmp_path)
    view = viewable_picture(header_of(stored, 2), decode_frame(stored, 2), 9)
    assert view.windows[0].name == "as displayed"
    np.testing.assert_allclose(view.words * view.slope, [[100, 100], [100, 0]], atol=0.01)


@pytest.mark.parametrize("broken", [Sequence(), None, "nothing"])
def test_groups_that_are_missing_change_nothing(broken: Any) -> None:
    dataset = many(stack(2), WindowCenter=1)
    if broken == "nothing":
        dataset.add_new("PerFrameFunctionalGroupsSequence", "LO", broken)
    else:
        dataset.PerFrameFunctionalGroupsSequence = broken
    assert header_of(dataset, 2).WindowCenter == 1
