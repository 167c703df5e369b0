"""The seam to Orthanc, against a real private one; and against servers that are none."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from network_samples import CR, part10_file, radiograph

from dicom_node.orthanc import OrthancPeer
from dicom_node.stand_in_pacs import StandInPacs
from triage.errors import DeliveryError, DicomError, IdentifierError, NotFoundError, SettingsError

pytestmark = pytest.mark.timeout(120)

CREDENTIALS = {"user": "reader", "password": "only for this test"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def orthanc_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A private Orthanc on free ports of loopback."""
    program = shutil.which("Orthanc")
    if program is None:
        pytest.skip("Orthanc is not installed")
    folder = tmp_path_factory.mktemp("orthanc")
    port = free_port()
    configuration = {
        "Name": "PRIVATE",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "DicomPort": free_port(),
        "DicomAet": "PRIVATE",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {CREDENTIALS["user"]: CREDENTIALS["password"]},
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        pause = threading.Event()
        for _ in range(200):
            with OrthancPeer(url, **CREDENTIALS, timeout=2) as peer:
                if peer.is_alive():
                    break
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            pause.wait(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def orthanc(orthanc_url: str) -> Iterator[OrthancPeer]:
    with OrthancPeer(orthanc_url, **CREDENTIALS) as peer:
        yield peer


@pytest.fixture
def study(orthanc: OrthancPeer, tmp_path: Path) -> str:
    """Orthanc's identifier of a study with two instances."""
    for uid in ("1.2.3.4", "1.2.3.5"):
        path = tmp_path / f"{uid}.dcm"
        path.write_bytes(part10_file(radiograph(uid)))
        orthanc.upload(path)
    found = orthanc.find_study("1.2.3.1")
    assert found is not None
    return found


@pytest.mark.peer
def test_who_it_is(orthanc):
    system = orthanc.system()
    assert (system.name, system.dicom_ae_title) == ("PRIVATE", "PRIVATE")
    assert system.version
    assert orthanc.is_alive()


@pytest.mark.peer
def test_instances_of_a_study(orthanc, study):
    found = orthanc.instances(study)
    assert [(i.series_instance_uid, i.sop_instance_uid, i.sop_class_uid) for i in found] == [
        ("1.2.3.2", "1.2.3.4", CR),
        ("1.2.3.2", "1.2.3.5", CR),
    ]


@pytest.mark.peer
def test_uploading_again_changes_nothing(orthanc, study, tmp_path):
    path = tmp_path / "again.dcm"
    path.write_bytes(part10_file(radiograph("1.2.3.4")))
    assert orthanc.upload(path) in [i.orthanc_id for i in orthanc.instances(study)]
    assert len(orthanc.instances(study)) == 2


@pytest.mark.peer
def test_it_sends_a_study_to_us(orthanc, study, tmp_path):
    with StandInPacs(tmp_path / "pacs") as pacs:
        orthanc.register_modality("us", pacs.address)
        orthanc.send_study(study, "us", timeout=30)
        received = pacs.wait_for(2, timeout=10)
    assert sorted(item.header.sop_instance_uid for item in received) == ["1.2.3.4", "1.2.3.5"]
    assert received[0].calling_ae_title == "PRIVATE"
    with pytest.raises(DeliveryError):  # nobody is there any more
        orthanc.send_study(study, "us", timeout=5)


@pytest.mark.peer
def test_what_it_does_not_have(orthanc, study):
    assert orthanc.find_study("1.2.3.99") is None
    with pytest.raises(NotFoundError):
        orthanc.instances("no-such-study")
    with pytest.raises(NotFoundError):
        orthanc.send_study(study, "no-such-modality")
    with pytest.raises(IdentifierError):
        orthanc.find_study("../../etc/passwd")


@pytest.mark.peer
def test_labels_where_it_knows_them(orthanc, study):
    if tuple(int(part) for part in orthanc.system().version.split(".")[:2]) >= (1, 12):
        orthanc.add_label(study, "urgent")
    else:
        with pytest.raises(NotFoundError):
            orthanc.add_label(study, "urgent")


@pytest.mark.peer
def test_what_is_no_dicom_file(orthanc, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(DicomError):
        orthanc.upload(path)
    with pytest.raises(DicomError):
        orthanc.upload(tmp_path / "missing")


@pytest.mark.peer
def test_a_wrong_password_is_not_retried(orthanc_url):
    with OrthancPeer(orthanc_url, **(CREDENTIALS | {"password": "wrong"})) as peer:
        assert not peer.is_alive()
        with pytest.raises(DeliveryError) as caught:
            peer.system()
    assert not caught.value.retryable
    assert "wrong" not in caught.value.advice()


@contextmanager
def web_server(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """A server that gives one answer to everything; yields its URL and the paths it was asked for."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", paths
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "retryable"),
    [
        (500, b'{"Message": "ZZCANARY^PATIENT"}', True),
        (400, b"<html>ZZCANARY</html>", False),
        (200, b"<html>a proxy's sign-in page</html>", False),
        (200, b"[]", False),
        (302, b"", False),
    ],
)
def test_a_server_that_is_none(status, body, retryable):
    with web_server(status, body, Location="http://127.0.0.1:1/elsewhere") as (url, paths):
        with OrthancPeer(url + "/orthanc") as peer, pytest.raises(DeliveryError) as caught:
            peer.system()
        assert paths == ["/orthanc/system"]  # the path of the URL is kept, a redirect is not followed
    assert caught.value.retryable is retryable
    assert "ZZCANARY" not in caught.value.advice()


@pytest.mark.parametrize(
    "ask", [OrthancPeer.system, lambda peer: peer.send_study("study", "alias", timeout=0.2)], ids=["GET", "POST"]
)
def test_a_silent_server_is_given_up(ask):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with OrthancPeer(url, timeout=0.2) as peer, pytest.raises(DeliveryError, match="in time") as caught:
            ask(peer)
        server.accept()[0].close()
        server.settimeout(0)
        with pytest.raises(BlockingIOError):  # asked once only: the study may be on its way already
            server.accept()
    assert caught.value.retryable


def test_nobody_listens():
    with OrthancPeer(f"http://127.0.0.1:{free_port()}", timeout=1) as peer:
        assert not peer.is_alive()


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://u:p@host:8042", "127.0.0.1:8042"])
def test_urls_that_are_none(url):
    with pytest.raises(SettingsError):
        OrthancPeer(url)
