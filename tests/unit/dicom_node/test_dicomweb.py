"""STOW-RS and QIDO-RS against a small honest server, and against one that is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from network_samples import CR, part10_file, radiograph
from peers.dicomweb_server import DICOM_JSON, DicomWebStore, dicomweb_server, response
from peers.web_server import Fault, WebServer, answers, half_closes, hangs_up, is_silent

from dicom_node.dicomweb import DicomWebPeer
from dicom_node.http_peer import HttpPeer, Patience
from triage.errors import DeliveryError, DicomError
from triage.outbox import Verdict

IMPATIENT = Patience(connect=2.0, silence=0.3, exchange=1.0)
pytestmark = pytest.mark.timeout(60)
UID = "1.2.3.4"


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[WebServer, DicomWebStore]]:
    with dicomweb_server() as both:
        yield both


@pytest.fixture
def server(running: tuple[WebServer, DicomWebStore]) -> WebServer:
    server, store = running
    server.faults.clear()
    server.requests.clear()
    store.instances, store.refusing, store.warning = {}, {}, 0
    return server


@pytest.fixture
def store(running: tuple[WebServer, DicomWebStore], server: WebServer) -> DicomWebStore:
    return running[1]


@pytest.fixture
def peer(server: WebServer) -> Iterator[DicomWebPeer]:
    with HttpPeer(f"http://127.0.0.1:{server.port}/dicom-web", patience=IMPATIENT) as http:
        yield DicomWebPeer(http)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "object.dcm"
    path.write_bytes(part10_file(radiograph(UID)))
    return path


def failed(reason: object, uid: str = UID) -> bytes:
    item = {"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [reason]}}
    return json.dumps(response([], [item])).encode()


def test_the_very_file_is_stored_and_listed(peer: DicomWebPeer, store: DicomWebStore, file: Path) -> None:
    answer = peer.store(file)
    assert (answer.verdict, answer.reason, answer.error, answer.note) == (Verdict.DELIVERED, None, "", "")
    held = store.instances[UID]
    assert peer.holds(study_uid=held.StudyInstanceUID, series_uid=held.SeriesInstanceUID, sop_instance_uid=UID)
    assert not peer.holds(study_uid=held.StudyInstanceUID, series_uid=held.SeriesInstanceUID, sop_instance_uid="1.9")


def test_the_bytes_on_the_wire_are_the_file(server: WebServer, peer: DicomWebPeer, file: Path) -> None:
    peer.store(file)
    assert file.read_bytes() in server.requests[0].body
    assert server.requests[0].headers["accept"] == DICOM_JSON


def test_a_file_that_looks_like_the_boundary_of_a_part_arrives_whole(
    peer: DicomWebPeer, store: DicomWebStore, tmp_path: Path
) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(part10_file(radiograph(UID, PixelData=(b"\r\n--boundary--\r\n\r\n" * 30)[:512])))
    assert peer.store(path).verdict is Verdict.DELIVERED
    assert store.instances[UID].PixelData.startswith(b"\r\n--boundary--")


def test_a_warning_is_a_note(peer: DicomWebPeer, store: DicomWebStore, file: Path) -> None:
    store.warning = 0xB000
    answer = peer.store(file)
    assert (answer.verdict, answer.reason) == (Verdict.DELIVERED, 0xB000)
    assert "0xb000" in answer.note
    assert "oercion" in answer.note


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        (0xA700, Verdict.TRANSIENT),
        (0x0110, Verdict.TRANSIENT),
        (0xA900, Verdict.REFUSED),
        (0xC000, Verdict.REFUSED),
        (0xC122, Verdict.REFUSED),
        (0x0124, Verdict.REFUSED),
        (0x0122, Verdict.UNWELCOME),
        ("272", Verdict.TRANSIENT),  # a number as text, as some servers write it
    ],
)
def test_a_failed_object_is_judged_as_a_c_store_status_is(
    server: WebServer, peer: DicomWebPeer, file: Path, reason: object, verdict: Verdict
) -> None:
    for status in (409, 202, 200):
        server.faults.append(answers(status, failed(reason), DICOM_JSON))
        answer = peer.store(file)
        assert (answer.verdict, answer.reason, answer.unreachable) == (verdict, int(str(reason)), False)
        assert answer.error


def test_the_honest_server_refuses_by_sop_class(peer: DicomWebPeer, store: DicomWebStore, file: Path) -> None:
    store.refusing[CR] = 0xA900
    answer = peer.store(file)
    assert (answer.verdict, answer.reason) == (Verdict.REFUSED, 0xA900)
    assert store.instances == {}


def test_a_failure_that_names_no_object_is_about_ours(server: WebServer, peer: DicomWebPeer, file: Path) -> None:
    other = {"0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]}}
    server.faults.append(answers(409, json.dumps(other).encode(), DICOM_JSON))
    assert peer.store(file).reason == 0xC000


@pytest.mark.parametrize("reason", [0x0111, 45070])
def test_a_duplicate_is_delivered_when_it_is_listed(
    server: WebServer, peer: DicomWebPeer, file: Path, reason: int
) -> None:
    peer.store(file)
    server.faults.append(answers(409, failed(reason), DICOM_JSON))
    answer = peer.store(file)
    assert (answer.verdict, answer.reason) == (Verdict.DELIVERED, reason)


def test_a_duplicate_that_is_not_listed_is_refused(server: WebServer, peer: DicomWebPeer, file: Path) -> None:
    server.faults.append(answers(409, failed(0x0111), DICOM_JSON))
    assert peer.store(file).verdict is Verdict.REFUSED


@pytest.mark.parametrize(
    ("status", "verdict", "unreachable"),
    [
        (400, Verdict.REFUSED, False),
        (413, Verdict.REFUSED, False),
        (415, Verdict.REFUSED, False),
        (401, Verdict.UNWELCOME, True),
        (403, Verdict.UNWELCOME, True),
        (404, Verdict.UNWELCOME, True),
        (307, Verdict.UNWELCOME, True),
        (501, Verdict.UNWELCOME, True),
        (429, Verdict.TRANSIENT, True),
        (500, Verdict.TRANSIENT, True),
        (503, Verdict.TRANSIENT, True),
        (507, Verdict.TRANSIENT, True),
    ],
)
def test_a_status_without_word_of_the_object(
    server: WebServer, peer: DicomWebPeer, file: Path, status: int, verdict: Verdict, unreachable: bool
) -> None:
    server.faults.append(answers(status, b"<h1>DOE^JANE</h1>", "text/html"))
    answer = peer.store(file)
    assert (answer.verdict, answer.unreachable) == (verdict, unreachable)
    assert f"HTTP {status}" in answer.error
    assert "DOE" not in answer.error


@pytest.mark.parametrize("fault", [is_silent, hangs_up, half_closes])
def test_no_answer_is_transient_and_the_same_file_arrives_later(
    server: WebServer, peer: DicomWebPeer, store: DicomWebStore, file: Path, fault: Fault
) -> None:
    server.faults.append(fault)
    answer = peer.store(file)
    assert (answer.verdict, answer.unreachable) == (Verdict.TRANSIENT, True)
    assert peer.store(file).verdict is Verdict.DELIVERED
    assert list(store.instances) == [UID]


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"", ""),
        (b"<html>Sign in</html>", "text/html"),
        (b"<NativeDicomModel/>", "application/dicom+xml"),
        (b"[{", DICOM_JSON),
        (b'{"00081199": {"vr": "SQ", "Value": [17]}}', DICOM_JSON),
        (b"[" * 100_000, DICOM_JSON),
        (b"{}", DICOM_JSON),
        (failed(0xA700, uid="1.2.99"), DICOM_JSON),
    ],
)
def test_success_is_believed_only_with_the_object_named_or_listed(
    server: WebServer, peer: DicomWebPeer, file: Path, body: bytes, media_type: str
) -> None:
    server.faults.append(answers(200, body, media_type))
    answer = peer.store(file)
    assert answer.verdict is Verdict.UNWELCOME
    assert answer.error
    peer.store(file)
    server.faults.append(answers(200, body, media_type))
    answer = peer.store(file)
    assert (answer.verdict, answer.note) == (Verdict.DELIVERED, "its answer does not name the object, but it lists it")


def test_a_sign_in_page_for_everything_delivers_nothing(server: WebServer, peer: DicomWebPeer, file: Path) -> None:
    server.faults += [answers(200, b"<html>Sign in</html>", "text/html")] * 2
    answer = peer.store(file)
    assert answer.verdict is Verdict.UNWELCOME
    assert "text/html" in answer.error


def test_what_is_no_object_is_not_sent(server: WebServer, peer: DicomWebPeer, tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DicomError):
        peer.store(path)
    assert server.requests == []


@pytest.mark.parametrize(
    ("faults", "retryable"),
    [
        ([answers(503)], True),
        ([hangs_up], True),
        ([answers(401)], False),
        ([answers(404), answers(404)], False),  # no such study, and no such service either
        ([answers(501)], False),
        ([answers(200, b"[1]", DICOM_JSON)], False),
    ],
)
def test_a_question_without_an_answer_is_an_error(
    server: WebServer, peer: DicomWebPeer, faults: list[Fault], retryable: bool
) -> None:
    server.faults += faults
    with pytest.raises(DeliveryError) as error:
        peer.holds(study_uid="1.1", series_uid="1.2", sop_instance_uid="1.3")
    assert error.value.retryable is retryable


def test_a_study_that_is_not_there_is_no_error_where_others_are_listed(server: WebServer, peer: DicomWebPeer) -> None:
    server.faults.append(answers(404))
    assert not peer.holds(study_uid="1.1", series_uid="1.2", sop_instance_uid="1.3")
