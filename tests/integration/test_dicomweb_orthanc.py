"""STOW-RS and QIDO-RS with a real archive: Orthanc with its DICOMweb plug-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from peers.orthanc_server import OrthancServer, dicomweb_plugin, orthanc
from peers.raw_peer import part10_file, radiograph

from dicom_node.dicomweb import DicomWebPeer
from dicom_node.http_peer import Credentials, HttpPeer
from triage.errors import DeliveryError
from triage.outbox import Verdict

pytestmark = pytest.mark.peer

UID = "1.2.3.4"
READER = Credentials(user="reader", password="only for this test")  # noqa: S106


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    """An Orthanc that asks who comes."""
    configuration = {
        "Plugins": [dicomweb_plugin()],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "AuthenticationEnabled": True,
        "RegisteredUsers": {READER.user: READER.password},
    }
    with orthanc(tmp_path_factory.mktemp("archive"), configuration=configuration) as server:
        server.http.auth = (READER.user, READER.password)
        yield server


@pytest.fixture
def peer(archive: OrthancServer) -> Iterator[DicomWebPeer]:
    with HttpPeer(f"{archive.url}/dicom-web", credentials=READER) as http:
        yield DicomWebPeer(http)


def stored(path: Path, uid: str = UID) -> Path:
    path.write_bytes(part10_file(radiograph(uid)))
    return path


def test_orthanc_stores_lists_and_gives_back_the_same_object(
    archive: OrthancServer, peer: DicomWebPeer, tmp_path: Path
) -> None:
    path = stored(tmp_path / "a.dcm")
    ds = pydicom.dcmread(path)
    place = {"study_uid": ds.StudyInstanceUID, "series_uid": ds.SeriesInstanceUID, "sop_instance_uid": UID}
    assert not peer.holds(**place)
    answer = peer.store(path)
    assert (answer.verdict, answer.error) == (Verdict.DELIVERED, "")
    assert peer.holds(**place)
    assert not peer.holds(**{**place, "sop_instance_uid": "1.9.9"})
    (held,) = archive.get("/instances")
    assert archive.http.get(f"/instances/{held}/file").content == path.read_bytes()
    assert peer.store(path).verdict is Verdict.DELIVERED  # and once more changes nothing
    assert archive.get("/instances") == [held]


def test_orthanc_does_not_know_us(archive: OrthancServer, tmp_path: Path) -> None:
    with HttpPeer(f"{archive.url}/dicom-web") as http:
        peer = DicomWebPeer(http)
        answer = peer.store(stored(tmp_path / "a.dcm"))
        assert (answer.verdict, answer.unreachable) == (Verdict.UNWELCOME, True)
        assert "password_file" in answer.error
        with pytest.raises(DeliveryError, match="HTTP 401"):
            peer.check()


def test_a_path_that_is_not_orthancs(archive: OrthancServer, tmp_path: Path) -> None:
    with HttpPeer(f"{archive.url}/wado", credentials=READER) as http:
        answer = DicomWebPeer(http).store(stored(tmp_path / "a.dcm"))
    assert answer.verdict is Verdict.UNWELCOME
    assert "path in its address" in answer.error
