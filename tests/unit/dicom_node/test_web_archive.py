"""The archive over DICOMweb: files and frames as they lie, searches from rows, and a word for what is not served."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import compress
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless
from result_cases import radiograph
from starlette.testclient import TestClient

from dicom_node.web_archive import web_archive
from triage.catalogue import Accept, InstanceFacts, Narrowing, SeriesFacts, StudyFacts
from triage.findings import Urgency
from triage.repositories.archived import ArchivedFile
from triage.states import ReadingStatus, StudyStatus

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Shelf:
    """One study of some instances, known to the catalogue and on the disk."""

    def __init__(self, root: Path, *datasets: Dataset) -> None:
        self.root, self.datasets = root, datasets
        for number, dataset in enumerate(datasets):
            dataset.save_as(root / f"{number}", enforce_file_format=True)

    def studies(self, narrowing: Narrowing, accept: Accept, limit: int) -> Sequence[StudyFacts]:
        first = self.datasets[0]
        study = StudyFacts(
            id=1, study_instance_uid=first.StudyInstanceUID, patient_id=first.PatientID, issuer_of_patient_id="",
            patient_name=str(first.PatientName), patient_birth_date="", patient_sex="F", patient_age="",
            accession_number="A1", study_id="", study_date="20260301", study_time="", study_description="Chest",
            referring_physician_name="", body_part_examined="CHEST", modality="CR\\DX", instances=len(self.datasets),
            status=StudyStatus.COMPLETE, reading_status=ReadingStatus.UNREAD, reader="", urgency=Urgency.ROUTINE,
            explanation="", received_at=NOON, due_at=NOON,
        )  # fmt: skip
        assert narrowing.unread is False
        return [study][:limit] if accept(study) else []

    def series(self, study_uid: str) -> Sequence[SeriesFacts]:
        first = self.datasets[0]
        if study_uid != first.StudyInstanceUID:
            return []
        return [
            SeriesFacts(study_instance_uid=study_uid, series_instance_uid=first.SeriesInstanceUID, modality="DX",
                        series_number="1", series_description="PA", instances=len(self.datasets)),
        ]  # fmt: skip

    def instances(self, study_uid: str, series_uid: str) -> Sequence[InstanceFacts]:
        return [
            InstanceFacts(study_instance_uid=study_uid, series_instance_uid=series_uid,
                          sop_instance_uid=ds.SOPInstanceUID, sop_class_uid=ds.SOPClassUID, instance_number="1")
            for ds in self.datasets
        ]  # fmt: skip

    def files(self, study_uid: str, series_uid: str, sop_uid: str) -> Sequence[ArchivedFile]:
        return [
            ArchivedFile(series_instance_uid=ds.SeriesInstanceUID, sop_instance_uid=ds.SOPInstanceUID,
                         transfer_syntax_uid=ds.file_meta.TransferSyntaxUID, relative_path=str(number), size=1)
            for number, ds in enumerate(self.datasets)
            if study_uid == ds.StudyInstanceUID and series_uid in ("", ds.SeriesInstanceUID)
            and sop_uid in ("", ds.SOPInstanceUID)
        ]  # fmt: skip

    def client(self) -> TestClient:
        return TestClient(web_archive(self.root, self, self.files))


def parts(answer: object) -> list[tuple[str, bytes]]:
    """The parts of a multipart/related answer, as the standard's parser reads them."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()  # type: ignore[attr-defined]
    message = message_from_bytes(head + answer.content, policy=HTTP)  # type: ignore[attr-defined]
    assert message.get_content_type() == "multipart/related"
    return [(part["content-type"].replace(chr(34), ""), part.get_payload(decode=True)) for part in message.iter_parts()]


def image(uid: str = "1.2.3.9") -> Dataset:
    """A radiograph of 8 by 6 pixels of 12 bits."""
    dataset = radiograph(SOPInstanceUID=uid, Rows=8, Columns=6, BitsAllocated=16, BitsStored=12, HighBit=11,
                         PixelRepresentation=0, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2")  # fmt: skip
    dataset.PixelData = np.arange(48, dtype="<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    return dataset


def base(dataset: Dataset) -> str:
    return f"/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"


def test_a_study_is_retrieved_as_its_files_lie(tmp_path: Path) -> None:
    first, second = image("1.2.3.1"), image("1.2.3.2")
    answer = Shelf(tmp_path, first, second).client().get(f"/studies/{first.StudyInstanceUID}")
    assert answer.status_code == 200
    found = parts(answer)
    assert [kind.partition(";")[0] for kind, _ in found] == ["application/dicom"] * 2
    assert [content for _, content in found] == [(tmp_path / name).read_bytes() for name in "01"]
    assert pydicom.dcmread(io.BytesIO(found[1][1])).SOPInstanceUID == "1.2.3.2"


def test_frames_are_the_stored_values(tmp_path: Path) -> None:
    dataset = image()
    ((kind, content),) = parts(Shelf(tmp_path, dataset).client().get(base(dataset) + "/frames/1"))
    assert kind == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    stored = np.frombuffer(content, dataset.pixel_array.dtype).reshape(dataset.Rows, dataset.Columns)
    assert (stored == dataset.pixel_array).all()


def test_compressed_frames_come_as_their_codestream(tmp_path: Path) -> None:
    dataset = image()
    compress(dataset, RLELossless, generate_instance_uid=False)
    ((kind, content),) = parts(Shelf(tmp_path, dataset).client().get(base(dataset) + "/frames/1"))
    assert kind == "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"
    assert content in dataset.PixelData


def test_metadata_have_everything_but_the_pixels(tmp_path: Path) -> None:
    dataset = image()
    (told,) = Shelf(tmp_path, dataset).client().get(base(dataset) + "/metadata").json()
    assert "7FE00010" not in told
    assert told["00083002"]["Value"] == [dataset.file_meta.TransferSyntaxUID]
    again = Dataset.from_json(told)
    assert (again.Rows, again.PatientName) == (dataset.Rows, dataset.PatientName)


@pytest.mark.parametrize(
    ("query", "count"),
    [("", 1), ("?PatientID=nobody", 0), ("?00080050=A1", 1), ("?AccessionNumber=A2", 0), ("?limit=0", 0),
     ("?StudyInstanceUID={uid}&includefield=00081030", 1), ("?0020000D=1.9", 0)],
)  # fmt: skip
def test_studies_are_searched_by_whole_values(tmp_path: Path, query: str, count: int) -> None:
    dataset = image()
    found = Shelf(tmp_path, dataset).client().get("/studies" + query.format(uid=dataset.StudyInstanceUID)).json()
    assert len(found) == count
    if found:
        assert found[0]["00080061"]["Value"] == ["CR", "DX"]
        assert found[0]["00201206"]["Value"] == [1]


def test_series_and_instances_are_listed(tmp_path: Path) -> None:
    dataset = image()
    client = Shelf(tmp_path, dataset).client()
    (series,) = client.get(f"/studies/{dataset.StudyInstanceUID}/series").json()
    assert series["0020000E"]["Value"] == [dataset.SeriesInstanceUID]
    (instance,) = client.get(base(dataset).rpartition("/")[0]).json()
    assert instance["00080018"]["Value"] == [dataset.SOPInstanceUID]


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/studies/1.2.3.4.5.6", "*/*", 404), ("/studies/no-uid", "*/*", 400), ("/studies?limit=x", "*/*", 400),
        ("{base}/frames/2", "*/*", 404), ("{base}/frames/x", "*/*", 400), ("{base}/frames/1", "image/png", 406),
        ("{base}/frames/1", 'multipart/related; type="application/octet-stream"', 200),
        ("{base}/frames/1", "multipart/related; type=image/jls; transfer-syntax=1.2.840.10008.1.2.4.80", 406),
        ("{base}/frames/1", "multipart/related; type=application/octet-stream; transfer-syntax=*", 200),
        ("{base}", "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50", 406),
        ("{base}", "multipart/related; type=application/dicom", 200), ("{base}", "application/json", 406),
    ],
)  # fmt: skip
def test_what_is_not_served_is_said(tmp_path: Path, path: str, accept: str, status: int) -> None:
    dataset = image()
    client = Shelf(tmp_path, dataset).client()
    assert client.get(path.format(base=base(dataset)), headers={"Accept": accept}).status_code == status


def test_nothing_outside_the_archive_and_no_big_endian_frame_is_served(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    dataset = image()
    shelf = Shelf(tmp_path / "archive", dataset)
    client = shelf.client()
    (tmp_path / "archive" / "0").rename(tmp_path / "0")
    (tmp_path / "archive" / "0").symlink_to(tmp_path / "0")
    assert client.get(base(dataset) + "/metadata").status_code == 404
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert client.get(base(dataset) + "/frames/1").status_code == 406


def test_who_asks_by_what_is_not_looked_at_is_warned(tmp_path: Path) -> None:
    client = Shelf(tmp_path, image()).client()
    assert client.get("/studies?PatientName=DOE*").headers["warning"].startswith("299 firstread")
    assert "warning" not in client.get("/studies?PatientID=1&limit=5").headers
