"""The presentation state: regions and words on the source, in the source's own grey scale."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian
from result_cases import (
    ALGORITHM,
    CREATED_AT,
    EFFUSION,
    NODE,
    PNEUMOTHORAX,
    box,
    finding,
    negative,
    positive,
    radiograph,
    tool,
)

from dicom_node.results import build_presentation_state
from dicom_node.results.files import write
from dicom_node.results.grey_scale import pixel_aspect_ratio
from dicom_node.results.identity import SourceHeader
from models.preprocessing import display_image
from triage.errors import ResultError
from triage.findings import ImageResult
from triage.profiles import Profile

WINTER = timezone(timedelta(hours=1))
"""dcmpschk of DCMTK 3.6.7 knows every offset but that of UTC."""


def state(source: Dataset, image: ImageResult | None = None, **changes: object) -> Dataset:
    arguments: dict[str, object] = {
        "node": NODE, "revision": 1, "created_at": CREATED_AT.astimezone(WINTER), "number": 1,
    }  # fmt: skip
    return build_presentation_state(
        source,
        positive(source) if image is None else image,
        ALGORITHM,
        **(arguments | changes),  # type: ignore[arg-type]
    )


def words(made: Dataset) -> list[str]:
    """Every text, in the order of the annotations."""
    return [
        str(text.UnformattedTextValue) for item in made.GraphicAnnotationSequence for text in item.TextObjectSequence
    ]


def test_the_region_is_outlined_where_it_lies() -> None:
    source = mono()
    made = state(source)
    (graphic,) = made.GraphicAnnotationSequence[0].GraphicObjectSequence
    assert (graphic.GraphicType, graphic.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")
    assert graphic.NumberOfGraphicPoints == 5
    assert graphic.GraphicData == [1.0, 1.0, 24.0, 1.0, 24.0, 32.0, 1.0, 32.0, 1.0, 1.0]
    (area,) = made.DisplayedAreaSelectionSequence
    assert area.DisplayedAreaTopLeftHandCorner == [1, 1]
    assert area.DisplayedAreaBottomRightHandCorner == [48, 64]
    (series,) = made.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedImageSequence] == [source.SOPInstanceUID]


def test_the_words_stand_at_the_region_and_at_the_foot() -> None:
    made = state(mono())
    assert words(made) == [
        "Pneumothorax 0.94 >= 0.60",
        "AI firstread cxr-research 1.2.0\r\nRESEARCH ONLY. Not for primary diagnosis",
    ]
    (text,) = made.GraphicAnnotationSequence[0].TextObjectSequence
    assert list(text.AnchorPoint) == [1.0, 1.0]
    (foot,) = made.GraphicAnnotationSequence[1].TextObjectSequence
    left, top = foot.BoundingBoxTopLeftHandCorner
    right, _ = foot.BoundingBoxBottomRightHandCorner
    assert foot.BoundingBoxAnnotationUnits == "DISPLAY"
    assert 0.15 < left < right < 0.85
    assert top > 0.9


def test_several_regions_are_numbered_as_in_the_picture_and_one_without_region_is_told() -> None:
    source = mono()
    image = ImageResult(
        sop_instance_uid="1.2.3.4.5",
        findings=(
            finding(EFFUSION, 0.7, region=box(20, 30, 40, 60)),
            finding(PNEUMOTHORAX, 0.9, region=box(2, 2, 20, 20)),
            finding(replace(EFFUSION, meaning="Opacity"), 0.8),
        ),
    )
    made = state(source, image)
    assert words(made)[:2] == ["1 Pneumothorax 0.90 >= 0.60", "2 Pleural effusion 0.70 >= 0.60"]
    assert "Opacity 0.80 >= 0.60" in words(made)[2]


def test_nothing_found_is_said() -> None:
    source = mono()
    made = state(source, negative(source))
    assert len(made.GraphicAnnotationSequence) == 1
    assert "No finding above its threshold" in words(made)[0]


def test_one_layer_in_the_colour_of_the_picture() -> None:
    (layer,) = state(mono()).GraphicLayerSequence
    assert layer.GraphicLayer == "AI"
    lightness, a, b = (value / 65535 for value in layer.GraphicLayerRecommendedDisplayCIELabValue)
    light_blue = _lab_d50(np.array([110, 231, 255]) / 255)
    np.testing.assert_allclose((lightness * 100, a * 255 - 128, b * 255 - 128), light_blue, atol=0.01)


def _lab_d50(rgb: npt.NDArray[np.float64]) -> list[float]:
    """CIELab of an sRGB colour for the D50 of an ICC profile (PS3.3 C.10.7.1.1)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = ((0.4360747, 0.3850649, 0.1430804), (0.2225045, 0.7168786, 0.0606169), (0.0139322, 0.0971045, 0.7141733))
    x, y, z = np.cbrt(np.array(to_xyz) @ linear / (0.96422, 1.0, 0.82521))
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, "INVERSE"),
        ({"PhotometricInterpretation": "MONOCHROME2"}, "IDENTITY"),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"}, "IDENTITY"),
        ({"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "INVERSE"}, "INVERSE"),
    ],
)
def test_the_polarity_is_the_sources(attributes: dict[str, str], shape: str) -> None:
    assert state(radiograph(**attributes)).PresentationLUTShape == shape


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"WindowCenter": [40, 300], "WindowWidth": [80, 1500]}, (40, 80, None)),
        ({"WindowCenter": 40, "WindowWidth": 80, "VOILUTFunction": "SIGMOID"}, (40, 80, "SIGMOID")),
        ({"WindowCenter": 40, "WindowWidth": 80, "VOILUTFunction": "LINEAR"}, (40, 80, None)),
        ({"WindowCenter": 40, "WindowWidth": 0}, None),
        ({"WindowCenter": 0.5, "WindowWidth": 0.5}, None),
        ({"WindowCenter": 40, "WindowWidth": 80, "VOILUTFunction": "MAGIC"}, None),
        ({"WindowCenter": 40}, None),
        ({}, None),
    ],
)
def test_the_window_is_the_sources_first(
    attributes: dict[str, object], expected: tuple[int, int, str | None] | None
) -> None:
    made = state(mono(**attributes))
    assert ("SoftcopyVOILUTSequence" in made) == (expected is not None)
    if expected is not None:
        (item,) = made.SoftcopyVOILUTSequence
        assert (item.WindowCenter, item.WindowWidth, item.get("VOILUTFunction")) == expected


def mono(transfer_syntax_uid: str = "1.2.840.10008.1.2.1", **attributes: object) -> Dataset:
    return radiograph(transfer_syntax_uid, **({"PhotometricInterpretation": "MONOCHROME2"} | attributes))


def table(first: int = 0, *, data: object = None, descriptor: list[int] | None = None) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [8, first, 12] if descriptor is None else descriptor)
    item.add_new("LUTData", "US", [0, 10, 100, 1000, 2000, 3000, 4000, 4095] if data is None else data)
    return item


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", ExplicitVRBigEndian])
@pytest.mark.parametrize("first", [0, -1024])
def test_a_voi_table_is_kept_in_every_encoding(syntax: str, first: int) -> None:
    source = mono(
        syntax, VOILUTSequence=[table(first)], WindowCenter=1, WindowWidth=2, PixelRepresentation=int(first < 0)
    )
    (item,) = state(source).SoftcopyVOILUTSequence
    assert "WindowCenter" not in item
    assert list(item.VOILUTSequence[0].LUTDescriptor) == [8, first, 16]
    entries = np.frombuffer(item.VOILUTSequence[0].LUTData, "<u2")
    np.testing.assert_allclose(entries / 0xFFFF, np.array([0, 10, 100, 1000, 2000, 3000, 4000, 4095]) / 4095, atol=1e-5)


@pytest.mark.parametrize(
    "broken", [table(descriptor=[9, 0, 12]), table(descriptor=[8, 0, 12, 4]), table(descriptor=[8, 0, 40]), Dataset()]
)
def test_a_table_that_means_nothing_gives_way_to_the_window(broken: Dataset) -> None:
    (item,) = state(mono(VOILUTSequence=[broken], WindowCenter=40, WindowWidth=80)).SoftcopyVOILUTSequence
    assert (item.WindowCenter, item.WindowWidth) == (40, 80)


def test_the_modality_lut_is_the_sources() -> None:
    ct = state(mono(Modality="CT", RescaleSlope="2.5", RescaleIntercept="-1024"))
    assert (ct.RescaleSlope, ct.RescaleIntercept, ct.RescaleType) == (2.5, -1024, "HU")
    assert state(mono(RescaleSlope="1", RescaleIntercept="0", RescaleType="OD")).RescaleType == "OD"
    assert "RescaleSlope" not in state(mono(RescaleSlope="0", RescaleIntercept="0"))
    item = table()
    item.ModalityLUTType = "OD"
    tabled = state(mono(ModalityLUTSequence=[item], RescaleSlope="1", RescaleIntercept="0"))
    assert tabled.ModalityLUTSequence[0].ModalityLUTType == "OD"
    assert list(tabled.ModalityLUTSequence[0].LUTDescriptor) == [8, 0, 16]
    assert np.frombuffer(tabled.ModalityLUTSequence[0].LUTData, "<u2")[-1] == 4095  # a value, whatever its bits
    assert "RescaleSlope" not in tabled


def test_shutter_and_overlays_of_the_source_stay() -> None:
    source = mono(
        ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge=2, ShutterRightVerticalEdge=40,
        ShutterUpperHorizontalEdge=3, ShutterLowerHorizontalEdge=60,
    )  # fmt: skip
    source.add_new((0x6000, 0x3000), "OW", b"\0" * 384)
    made = state(source)
    assert (made.ShutterShape, made.ShutterRightVerticalEdge, made.ShutterPresentationValue) == ("RECTANGULAR", 40, 0)
    layers = [str(layer.GraphicLayer) for layer in made.GraphicLayerSequence]
    assert layers == ["AI", "SOURCE"]
    assert made[0x6000, 0x1001].value == "SOURCE"
    assert "ShutterShape" not in state(mono(ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge=2))


@pytest.mark.parametrize(
    ("attributes", "ratio"),
    [
        ({}, (1, 1)),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (2, 1)),
        ({"ImagerPixelSpacing": [0.2, 0.2001]}, (1, 1)),
        ({"ImagerPixelSpacing": None, "PixelAspectRatio": [4, 3]}, (4, 3)),
        ({"ImagerPixelSpacing": None, "PixelAspectRatio": [0, 3]}, (1, 1)),
        ({"ImagerPixelSpacing": None}, (1, 1)),
    ],
)
def test_pixels_that_are_not_square(attributes: dict[str, object], ratio: tuple[int, int]) -> None:
    assert pixel_aspect_ratio(SourceHeader(radiograph(**attributes))) == ratio


def test_a_colour_image_gets_none() -> None:
    with pytest.raises(ResultError, match="greyscale image"):
        state(radiograph(PhotometricInterpretation="RGB"))


def test_names_follow_the_inputs(tmp_path: Path) -> None:
    first = state(mono())
    assert (first.Modality, first.SeriesNumber) == ("PR", 9005)
    assert first.SeriesDescription == "AI firstread presentation state cxr-research"
    others = [
        state(mono(SOPInstanceUID="1.2.3.4.6")), state(mono(), version=2), state(mono(), revision=2),
        state(mono(), profile=Profile(series_number=500)),
    ]  # fmt: skip
    assert len({made.SOPInstanceUID for made in (first, *others)}) == 5
    assert others[0].SeriesInstanceUID == first.SeriesInstanceUID
    assert write(first, tmp_path / "a.dcm") == write(state(mono()), tmp_path / "b.dcm")


REAL = ["RG1_J2KI.dcm", "CR-MONO1-10-chest.dcm", "dx_image.dcm", "nih-derived/02_RLE_8bit_M1_NoFinding.dcm"]


@pytest.mark.peer
@pytest.mark.parametrize("name", REAL)
def test_dcmtk_finds_no_error(name: str, test_data: Path, tmp_path: Path) -> None:
    source = dcmread(test_data / "radiograph" / name, force=True, stop_before_pixels=True)
    for image in (positive(source), negative(source)):
        write(state(source, image), tmp_path / "state.dcm")
        run = subprocess.run([tool("dcmpschk"), str(tmp_path / "state.dcm")], capture_output=True, check=False)
        assert b"Test passed" in run.stdout + run.stderr, (run.stdout + run.stderr).decode("latin-1")


@pytest.mark.peer
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dcmtk_shows_what_our_pictures_show(photometric: str, tmp_path: Path) -> None:
    """The grey scale of the state, applied by a viewer's library, is the one that the pictures are drawn in."""
    pixels = np.tile(np.linspace(0, 4095, 48, dtype=np.uint16), (64, 1))
    source = mono(
        PhotometricInterpretation=photometric, BitsAllocated=16, BitsStored=12, HighBit=11, PixelRepresentation=0,
        SamplesPerPixel=1, RescaleSlope="0.5", RescaleIntercept="-100", WindowCenter="900", WindowWidth="1000",
    )  # fmt: skip
    source.PixelData = pixels.tobytes()
    source["PixelData"].VR = "OW"
    source.save_as(tmp_path / "image.dcm", implicit_vr=False, little_endian=True)
    write(state(source), tmp_path / "state.dcm")
    arguments = [tool("dcmp2pgm"), "-p", tmp_path / "state.dcm", tmp_path / "image.dcm", tmp_path / "shown.pgm"]
    subprocess.run([str(argument) for argument in arguments], capture_output=True, check=True)
    content = (tmp_path / "shown.pgm").read_bytes()
    shown = np.frombuffer(content[-64 * 48 :], np.uint8).reshape(64, 48)
    expected = display_image(dcmread(tmp_path / "image.dcm", force=True), pixels)
    difference = np.abs(shown[60].astype(float) / 255 - expected[60])  # a row below the outline
    assert difference.max() < 0.02
