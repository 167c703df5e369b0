"""What the doctor hears of message destinations, and how HL7 over TLS is set up."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from owing import to
from peers import fhir_server as fhir_peer
from peers import web_server as web
from peers.certificates import Authority
from peers.fhir_server import fhir_server
from peers.mllp_server import mllp_server
from peers.web_server import Answer, web_server

from triage.errors import SettingsError
from triage.settings import Settings
from workers.carriers.kinds import carrier_kind
from workers.carriers.protocol import Checked

NOW = datetime.now(UTC)


def checked(settings: Settings, address: str, **options: object) -> Checked:
    (destination,) = to(address, **options)
    return carrier_kind(destination.kind).check(settings, destination, NOW)


def test_a_receiver_of_hl7_takes_a_connection_or_not(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    with mllp_server() as server:
        assert checked(settings, server.address).ok
        assert server.received == []
    gone = checked(settings, server.address)
    assert not gone.ok and "cannot be reached" in gone.message and gone.next_step


@pytest.mark.parametrize("own", [True, False])
def test_over_tls_a_receiver_is_believed_by_its_authority(tmp_path: Path, own: bool) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others", name="others")
    node, ris = ours.issue("node"), ours.issue("ris")
    files = {
        "dicom_tls_certificate": node.certificate, "dicom_tls_key": node.key, "dicom_tls_trusted": others.file,
    }  # fmt: skip
    settings = Settings(data=tmp_path, **(files if own else {}))
    with mllp_server(identity=ris) as server:
        address = server.address.replace("mllp://", "mllps://")
        assert checked(settings, address, trusted_file=ours.file).ok
        assert checked(settings, address, trusted_file=ours.file, certificate="DNS:ris").ok
        for options, says in (
            ({}, "not trusted"),
            ({"trusted_file": ours.file, "certificate": "DNS:other"}, "another certificate"),
        ):
            answer = checked(settings, address, **options)
            assert not answer.ok and says in answer.message
    with pytest.raises(SettingsError):
        checked(settings, "mllps://127.0.0.1:1", trusted_file=tmp_path / "nothing.pem")


def test_a_fhir_server_says_which_version_it_speaks(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    with fhir_server() as server:
        assert "4.0.1" in checked(settings, server.address).message
        server.web.faults = [
            web.answers(200, b'{"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"}', fhir_peer.FHIR_JSON),
            web.answers(200, b"<html>", "text/html"),
            fhir_peer.refuses(401, "login", "who?"),
        ]
        for says in ("speaks FHIR 5.0.0", "no FHIR server", "HTTP 401"):
            answer = checked(settings, server.address)
            assert not answer.ok and says in answer.message and answer.next_step
    assert not checked(settings, server.address).ok


def test_an_endpoint_of_a_webhook_is_asked_without_telling_it_a_result(tmp_path: Path) -> None:
    settings, key = Settings(data=tmp_path), tmp_path / "key"
    key.write_text("k" * 32)
    key.chmod(0o600)
    with web_server(lambda _: Answer(405)) as server:
        address = f"webhook+http://127.0.0.1:{server.port}"
        assert checked(settings, address, secret_file=key).ok
        assert [(request.method, request.path) for request in server.requests] == [("GET", "/")]
        server.faults = [web.answers(502)]
        assert not checked(settings, address, secret_file=key).ok
    assert not checked(settings, address, secret_file=key).ok
