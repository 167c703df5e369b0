"""The secondary capture: its modules, its pixels, its two transfer syntaxes."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless
from result_cases import ALGORITHM, CREATED_AT, NODE, heat_map, negative, positive, radiograph

from dicom_node.results import build_heat_map
from dicom_node.results.files import write
from triage.errors import ResultError
from triage.profiles import Compression, Profile


def made_of(picture: npt.NDArray[np.uint8], source: Dataset | None = None, **changes: object) -> Dataset:
    header = radiograph() if source is None else source
    arguments: dict[str, object] = {"node": NODE, "revision": 1, "created_at": CREATED_AT, "number": 1}
    return build_heat_map(header, picture, positive(header), ALGORITHM, **(arguments | changes))  # type: ignore[arg-type]


def noise(rows: int, columns: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (rows, columns, 3), np.uint8)


@pytest.mark.parametrize("shape", [(30, 40), (31, 41), (1, 1)])
def test_pixels_come_back(shape: tuple[int, int], tmp_path: Path) -> None:
    picture = noise(*shape)
    write(made_of(picture), tmp_path / "sc.dcm")
    read = dcmread(tmp_path / "sc.dcm")
    np.testing.assert_array_equal(read.pixel_array, picture)
    assert read.PixelData[picture.size :] == b"\x00" * (picture.size % 2)


def test_jpeg_comes_back_nearly_the_same(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    picture = np.stack([np.tile(ramp, (48, 1))] * 3, axis=-1)
    write(made_of(picture, profile=Profile(compression="jpeg")), tmp_path / "sc.dcm")
    read = dcmread(tmp_path / "sc.dcm")
    assert read.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert read.PhotometricInterpretation == "YBR_FULL_422"
    assert np.abs(read.pixel_array.astype(int) - picture).max() < 12
    assert (read.LossyImageCompression, read.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert read.LossyImageCompressionRatio > 1


def test_loss_before_ours_is_told() -> None:
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": "12.5",
        "LossyImageCompressionMethod": "ISO_15444_1",
    }
    raw = made_of(noise(4, 4), radiograph(**lossy))
    assert (raw.LossyImageCompression, raw.LossyImageCompressionRatio) == ("01", 12.5)
    jpeg = made_of(noise(16, 16), radiograph(**lossy), profile=Profile(compression="jpeg"))
    assert list(jpeg.LossyImageCompressionMethod) == ["ISO_15444_1", "ISO_10918_1"]
    assert len(jpeg.LossyImageCompressionRatio) == 2
    assert made_of(noise(4, 4)).LossyImageCompression == "00"


def test_modules() -> None:
    source = radiograph()
    made = heat_map(source, positive(source))
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert (made.Modality, made.ConversionType) == ("OT", "WSD")
    assert made.ImageType == ["DERIVED", "SECONDARY", "OTHER"]
    assert (made.BurnedInAnnotation, made.RecognizableVisualFeatures) == ("NO", "NO")
    assert (made.SeriesNumber, made.SeriesDescription) == (9002, "AI firstread heat map cxr-research")
    assert made.StudyInstanceUID == source.StudyInstanceUID
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert made.PatientOrientation == ["L", "F"]
    assert made.BodyPartExamined == "CHEST"
    assert "Laterality" not in made
    assert "PixelSpacing" not in made
    (item,) = made.SourceImageSequence
    assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert made.DerivationDescription == (
        "Heat map of cxr-research 1.2.0: Pleural effusion 0.12 < 0.60 negative; Pneumothorax 0.94 >= 0.60 POSITIVE."
        " Not for primary diagnosis"
    )
    assert made.ContentQualification == "RESEARCH"


@pytest.mark.parametrize(
    ("attributes", "laterality"),
    [
        ({"BodyPartExamined": "SKULL"}, None),
        ({"BodyPartExamined": "HAND", "Laterality": "L"}, "L"),
        ({"BodyPartExamined": "HAND", "ImageLaterality": "R"}, "R"),
        ({"BodyPartExamined": "HAND", "ImageLaterality": "U"}, ""),
        ({"BodyPartExamined": "RIBCAGE"}, ""),
        ({"BodyPartExamined": None}, ""),
    ],
)
def test_laterality_where_the_part_may_have_a_side(attributes: dict[str, str | None], laterality: str | None) -> None:
    source = radiograph(**attributes)
    assert heat_map(source, positive(source)).get("Laterality") == laterality


def test_names_follow_the_inputs() -> None:
    source = radiograph()
    first = made_of(noise(4, 4))
    assert first.SOPInstanceUID == made_of(noise(5, 5)).SOPInstanceUID
    again = made_of(noise(4, 4), revision=2)
    assert again.SOPInstanceUID != first.SOPInstanceUID
    assert again.SeriesInstanceUID != first.SeriesInstanceUID
    other = radiograph(SOPInstanceUID="1.2.3.4.9")
    assert heat_map(other, negative(other)).SOPInstanceUID != first.SOPInstanceUID
    assert heat_map(other, negative(other)).SeriesInstanceUID == first.SeriesInstanceUID
    assert heat_map(source, negative(source)).SOPInstanceUID == first.SOPInstanceUID


@pytest.mark.parametrize("compression", get_args(Compression))
def test_two_builds_are_byte_equal(compression: Compression, tmp_path: Path) -> None:
    profile = Profile(compression=compression)
    first = write(made_of(noise(64, 48), profile=profile), tmp_path / "a.dcm")
    assert write(made_of(noise(64, 48), profile=profile), tmp_path / "b.dcm") == first


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16)]
)
def test_only_rgb_of_eight_bits(picture: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ResultError, match="RGB"):
        made_of(picture)


@pytest.mark.parametrize(
    ("compression", "syntax"), [("none", ExplicitVRLittleEndian), ("jpeg-2000", JPEG2000Lossless), ("rle", RLELossless)]
)
def test_lossless_pixels_come_back(compression: Compression, syntax: str, tmp_path: Path) -> None:
    picture = noise(31, 41)
    made = made_of(picture, profile=Profile(compression=compression))
    write(made, tmp_path / "sc.dcm")
    read = dcmread(tmp_path / "sc.dcm")
    assert read.file_meta.TransferSyntaxUID == syntax
    assert read.LossyImageCompression == "00"
    np.testing.assert_array_equal(read.pixel_array, picture)


def test_each_compression_has_a_name_of_its_own() -> None:
    made = [made_of(noise(4, 4), profile=Profile(compression=each)) for each in get_args(Compression)]
    assert len({one.SOPInstanceUID for one in made}) == len({one.SeriesInstanceUID for one in made}) == len(made)
