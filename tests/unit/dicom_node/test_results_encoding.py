"""Our writer and pydicom's agree, files are whole or absent, and what is written is what was built."""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from result_cases import heat_map, objects, positive, radiograph

from dicom_node.part10 import IMPLEMENTATION_CLASS_UID
from dicom_node.results.encoding import encode
from dicom_node.results.files import seal, write


def by_pydicom(dataset: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def everything() -> Dataset:
    """One element of every kind of VR that results use."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", "odd"
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientName = ""
    dataset.StudyDate, dataset.StudyTime = "20261121", "080000.123456"
    dataset.PatientWeight, dataset.SeriesNumber = 70.5, 9001
    dataset.Rows = 7
    dataset.GraphicData = [1.5, -2.25, 3.0]
    dataset.FloatingPointValue = [0.94]
    dataset.ReferencedFrameNumber = [1, 2]
    dataset.TextValue = "odd"
    dataset.PurposeOfReferenceCodeSequence = [item]
    dataset.PerformedProcedureCodeSequence = []
    dataset.add_new("PixelData", "OB", b"\x01\x02\x03\x04")
    return dataset


def test_every_vr_is_encoded_as_pydicom_encodes_it() -> None:
    assert encode(everything()) == by_pydicom(everything())


def test_results_are_encoded_as_pydicom_encodes_them() -> None:
    for made in objects(radiograph()).values():
        fully_decoded = dcmread(BytesIO(b"\x00" * 128 + b"DICM" + _meta() + encode(made)))
        fully_decoded.remove_private_tags()
        assert encode(made) == by_pydicom(fully_decoded)


def _meta() -> bytes:
    from dicom_node.part10 import encode_head  # noqa: PLC0415

    return encode_head(sop_class_uid="1.2", sop_instance_uid="1.2", transfer_syntax_uid="1.2.840.10008.1.2.1")[132:]


def test_text_that_is_not_ascii_is_refused() -> None:
    dataset = everything()
    dataset.StudyDescription = "Thorax für Übersicht"
    with pytest.raises(UnicodeEncodeError):
        encode(dataset)


@pytest.mark.filterwarnings("ignore:The value length")
def test_a_value_too_long_for_its_vr_is_refused() -> None:
    dataset = everything()
    dataset.add_new("DerivationDescription", "ST", "x" * 70_000)
    with pytest.raises(ValueError, match="too long"):
        encode(dataset)


def test_a_sealed_data_set_is_what_it_was() -> None:
    assert seal(everything()) == everything()


@pytest.mark.parametrize("kind", ["SC", "SR", "SR negative"])
def test_written_read_and_compared(kind: str, tmp_path: Path) -> None:
    made = objects(radiograph())[kind]
    path = tmp_path / "result.dcm"
    sha256, size = write(made, path)
    content = path.read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (sha256, size)
    read = dcmread(path)
    assert read == made
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID
    assert read.file_meta.MediaStorageSOPClassUID == read.SOPClassUID


def test_writing_again_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    source = radiograph()
    made = heat_map(source, positive(source))
    first = write(made, tmp_path / "result.dcm")
    assert write(dcmread(tmp_path / "result.dcm"), tmp_path / "result.dcm") == first
    assert [path.name for path in tmp_path.iterdir()] == ["result.dcm"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    source = radiograph()
    target = tmp_path / "result.dcm"
    target.mkdir()  # a file cannot take the name of a folder
    with pytest.raises(OSError, match=r"result\.dcm"):
        write(heat_map(source, positive(source)), target)
    assert os.listdir(tmp_path) == ["result.dcm"]  # noqa: PTH208
