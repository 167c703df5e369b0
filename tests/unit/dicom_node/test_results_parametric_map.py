"""The parametric map: the activation as it is, in a geometry that somebody measured, or none at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from odd_sources import Raw, axial
from pydicom import dcmread
from pydicom.dataset import Dataset
from result_cases import ALGORITHM, CREATED_AT, NODE, negative, positive, radiograph

from dicom_node.results import build_parametric_map
from dicom_node.results.files import write
from dicom_node.results.geometry import plane_of
from dicom_node.results.identity import SourceHeader
from triage.errors import ResultError
from triage.findings import ImageResult


def parametric_map(source: Dataset, image: ImageResult | None = None, **changes: object) -> Dataset:
    maps = {"pneumothorax": slope(source)}
    arguments: dict[str, object] = {"node": NODE, "revision": 1, "created_at": CREATED_AT, "number": 1}
    return build_parametric_map(source, maps, image or positive(source), ALGORITHM, **(arguments | changes))  # type: ignore[arg-type]


def slope(source: Dataset) -> np.ndarray:
    return np.linspace(0, 1, source.Rows * source.Columns, dtype=np.float32).reshape(source.Rows, source.Columns)


def test_the_numbers_come_back_bit_by_bit(tmp_path: Path) -> None:
    source = axial()[1]
    write(parametric_map(source), tmp_path / "pm.dcm")
    read = dcmread(tmp_path / "pm.dcm")
    assert read.pixel_array.dtype == np.float32
    np.testing.assert_array_equal(read.pixel_array, slope(source))
    (frame,) = read.PerFrameFunctionalGroupsSequence
    (mapping,) = frame.RealWorldValueMappingSequence
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    quantity, about = mapping.QuantityDefinitionSequence
    assert quantity.ConceptCodeSequence[0].CodeMeaning == "Visual explanation"
    assert about.ConceptCodeSequence[0].CodeMeaning == "Pneumothorax"
    assert len(mapping.LUTLabel) <= 16


def test_it_lies_where_its_slice_does() -> None:
    source = axial()[2]
    made = parametric_map(source)
    (shared,), (frame,) = made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence
    assert made.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert frame.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == source.ImageOrientationPatient
    assert shared.PixelMeasuresSequence[0].PixelSpacing == source.PixelSpacing


def test_a_radiograph_has_none_and_the_reason_is_said() -> None:
    with pytest.raises(ResultError, match="no frame of reference") as caught:
        parametric_map(radiograph())
    assert "SEG or SC" in caught.value.next_step


@pytest.mark.parametrize(
    "changes",
    [
        {"FrameOfReferenceUID": None},
        {"ImagePositionPatient": ["1", "2"]},
        {"ImagePositionPatient": Raw("DS", b"0\\0\\NaN ")},
        {"ImageOrientationPatient": None},
        {"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]},
        {"ImageOrientationPatient": ["0", "0", "0", "0", "0", "0"]},
        {"PixelSpacing": ["0", "0.5"]},
        {"PixelSpacing": None},
        {"SliceThickness": ""},
    ],
)
def test_a_slice_whose_geometry_is_not_whole_has_none(changes: dict[str, object]) -> None:
    with pytest.raises(ResultError, match="not available"):
        parametric_map(axial(**changes)[1])


def test_where_nothing_is_positive_there_is_none() -> None:
    source = axial()[1]
    with pytest.raises(ResultError, match="not available"):
        parametric_map(source, negative(source))


def test_geometry_longer_than_a_decimal_string_is_shortened() -> None:
    source = axial(ImagePositionPatient=Raw("DS", b"-120.12345678901234567\\-110\\30.0 "))[1]
    position = parametric_map(source).PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    assert [float(value) for value in position] == pytest.approx([-120.123456789, -110, 30])
    assert all(len(value.original_string) <= 16 for value in position)


def test_an_oblique_plane_is_a_plane() -> None:
    half = "0.707107"
    plane = plane_of(SourceHeader(axial(ImageOrientationPatient=[half, half, "0", "0", "0", "-1"])[0]))
    assert plane is not None
    assert plane.spacing == (0.5, 0.6)
