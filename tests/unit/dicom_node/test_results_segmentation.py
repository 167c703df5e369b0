"""The segmentation: its pixels on the image's own, its segments tied to the report, its geometry the image's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from odd_sources import axial
from odd_sources import radiograph as odd_radiograph
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless
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
    report,
)  # fmt: skip

from dicom_node.results import build_segmentation
from dicom_node.results.files import write
from dicom_node.results.segmentation import filled
from triage.errors import ResultError
from triage.findings import ImageResult, Laterality
from triage.profiles import DEFAULT, Profile

FRACTIONAL = Profile(segmentation="fractional")


def segmentation(
    source: Dataset, image: ImageResult, maps: dict[str, npt.NDArray[np.float32]] | None = None, **changes: object
) -> Dataset:
    arguments: dict[str, object] = {"node": NODE, "revision": 1, "created_at": CREATED_AT, "number": 1}
    return build_segmentation(source, maps or {}, image, ALGORITHM, **(arguments | changes))  # type: ignore[arg-type]


def two_findings(source: Dataset) -> ImageResult:
    found = (
        finding(PNEUMOTHORAX, 0.94, region=box(2, 3, 10, 20)),
        finding(EFFUSION, 0.7, region=box(5, 30, 40, 50)),
    )
    return ImageResult(sop_instance_uid=str(source.SOPInstanceUID), findings=found)


def slope(source: Dataset) -> npt.NDArray[np.float32]:
    return np.linspace(0, 1, source.Rows * source.Columns, dtype=np.float32).reshape(source.Rows, source.Columns)


def test_the_region_of_each_finding_is_a_segment_of_one_bit(tmp_path: Path) -> None:
    source = radiograph()
    write(segmentation(source, two_findings(source)), tmp_path / "seg.dcm")
    read = dcmread(tmp_path / "seg.dcm")
    expected = np.zeros((2, source.Rows, source.Columns), np.uint8)
    expected[0, 3:20, 2:10], expected[1, 30:50, 5:40] = 1, 1
    np.testing.assert_array_equal(read.pixel_array, expected)
    assert (read.BitsAllocated, read.SegmentationType, read.NumberOfFrames) == (1, "BINARY", 2)
    assert [s.SegmentedPropertyTypeCodeSequence[0].CodeMeaning for s in read.SegmentSequence] == [
        "Pneumothorax", "Pleural effusion",
    ]  # fmt: skip
    assert [f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in read.PerFrameFunctionalGroupsSequence] \
        == [1, 2]  # fmt: skip


def test_a_region_in_eight_bits(tmp_path: Path) -> None:
    source = radiograph()
    write(segmentation(source, two_findings(source), profile=Profile(eight_bit=True)), tmp_path / "seg.dcm")
    read = dcmread(tmp_path / "seg.dcm")
    assert (read.BitsAllocated, read.SegmentationType, read.SegmentationFractionalType) == (
        8,
        "FRACTIONAL",
        "OCCUPANCY",
    )
    assert set(np.unique(read.pixel_array)) == {0, read.MaximumFractionalValue}


@pytest.mark.parametrize(
    ("compression", "syntax"),
    [("none", ExplicitVRLittleEndian), ("jpeg", ExplicitVRLittleEndian), ("rle", RLELossless),
     ("jpeg-2000", JPEG2000Lossless)],
)  # fmt: skip
def test_the_map_comes_back_in_256_steps_without_loss(compression: str, syntax: str, tmp_path: Path) -> None:
    source = radiograph()
    image = two_findings(source)
    maps = {"pneumothorax": slope(source), "pleural_effusion": 1 - slope(source)}
    write(
        segmentation(source, image, maps, profile=Profile(segmentation="fractional", compression=compression)),
        tmp_path / "seg.dcm",
    )
    read = dcmread(tmp_path / "seg.dcm")
    assert read.file_meta.TransferSyntaxUID == syntax
    assert read.SegmentationFractionalType == "PROBABILITY"
    np.testing.assert_array_equal(read.pixel_array, np.rint(np.stack(list(maps.values())) * 255))


def test_a_segment_names_the_finding_as_the_report_does() -> None:
    source = radiograph()
    image = positive(source)
    (segment,) = segmentation(source, image).SegmentSequence
    group = next(
        item for container in report(source, image).ContentSequence if container.ConceptNameCodeSequence[0].CodeValue ==
        "126010" for item in container.ContentSequence
    )  # fmt: skip
    named = {item.ConceptNameCodeSequence[0].CodeValue: item for item in group.ContentSequence}
    assert segment.TrackingUID == named["112040"].UID
    assert segment.TrackingID == named["112039"].TextValue
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "36118008"
    assert segment.SegmentLabel == "AI activation: Pneumothorax"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "1.2.0"
    assert segment.AnatomicRegionSequence[0].CodeMeaning == "Lung"
    assert "AnatomicRegionModifierSequence" not in segment.AnatomicRegionSequence[0]


def test_a_segment_has_the_side_that_the_bundle_knows() -> None:
    source = radiograph()
    found = replace(finding(PNEUMOTHORAX, 0.9, region=box(1, 1, 9, 9)), laterality=Laterality.LEFT)
    image = ImageResult(sop_instance_uid=str(source.SOPInstanceUID), findings=(found,))
    (segment,) = segmentation(source, image).SegmentSequence
    assert segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeMeaning == "Left"


def test_a_radiograph_lies_nowhere() -> None:
    source = radiograph()
    made = segmentation(source, positive(source))
    assert "FrameOfReferenceUID" not in made
    assert made.PatientOrientation == ["L", "F"]
    (shared,), (frame,) = made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence
    (image,) = frame.DerivationImageSequence[0].SourceImageSequence
    assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert image.SpatialLocationsPreserved == "YES"
    assert not {"PlaneOrientationSequence", "PlanePositionSequence"} & {*shared.dir(), *frame.dir()}


def test_a_slice_lies_where_its_image_does() -> None:
    source = axial()[1]
    made = segmentation(source, positive(source))
    (shared,), (frame,) = made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence
    assert made.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert frame.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == source.ImageOrientationPatient
    assert shared.PixelMeasuresSequence[0].PixelSpacing == source.PixelSpacing
    assert shared.PixelMeasuresSequence[0].SliceThickness == source.SliceThickness
    assert "PatientOrientation" not in made


@pytest.mark.parametrize("profile", [DEFAULT, FRACTIONAL])
def test_where_nothing_is_marked_there_is_none(profile: Profile) -> None:
    source = radiograph()
    with pytest.raises(ResultError, match="not available"):
        segmentation(source, negative(source), profile=profile)


def test_an_image_of_several_frames_gets_none() -> None:
    source = odd_radiograph(NumberOfFrames="3")
    with pytest.raises(ResultError, match="several frames"):
        segmentation(source, positive(source))


def test_a_map_of_another_matrix_is_refused() -> None:
    source = radiograph()
    with pytest.raises(ResultError, match="shape"):
        segmentation(source, positive(source), {"pneumothorax": np.ones((7, 7), np.float32)}, profile=FRACTIONAL)


def test_revisions_have_series_of_their_own_and_versions_do_not() -> None:
    source = radiograph()
    first, second, corrected = (
        segmentation(source, positive(source), **changes) for changes in ({}, {"revision": 2}, {"version": 2})
    )
    assert len({o.SOPInstanceUID for o in (first, second, corrected)}) == 3
    assert first.SeriesInstanceUID == corrected.SeriesInstanceUID != second.SeriesInstanceUID


def test_a_pixel_is_inside_when_its_centre_is() -> None:
    assert filled(((0.6, 0.6), (2.4, 0.6), (2.4, 2.4), (0.6, 2.4), (0.6, 0.6)), 3, 3).tolist() == [
        [0, 0, 0],
        [0, 1, 0],
        [0, 0, 0],
    ]


@given(
    st.tuples(st.integers(0, 30), st.integers(0, 20)),
    st.tuples(st.integers(0, 30), st.integers(0, 20)),
)
def test_a_box_on_the_edges_of_pixels_holds_just_those(first: tuple[int, int], second: tuple[int, int]) -> None:
    (left, right), (top, bottom) = sorted((first[0], second[0])), sorted((first[1], second[1]))
    inside = filled(box(left, top, right, bottom).outline, 20, 30)
    expected = np.zeros((20, 30), np.uint8)
    expected[top:bottom, left:right] = 1
    np.testing.assert_array_equal(inside, expected)


@given(st.lists(st.tuples(st.floats(0, 12), st.floats(0, 9)), min_size=3, max_size=7))
@example([(0.0, 0.0), (0.0, 1.0), (7.115532709299767, 7.115532709299767)])
def test_the_order_in_which_an_outline_is_walked_does_not_matter(points: list[tuple[float, float]]) -> None:
    outline = (*points, points[0])
    np.testing.assert_array_equal(filled(outline, 9, 12), filled(outline[::-1], 9, 12))
