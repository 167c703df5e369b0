"""Addresses of destinations: one spelling each, and a clear answer to every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from triage.addresses import DestinationAddress, DestinationKind
from triage.errors import IdentifierError, SettingsError
from triage.peers import Destination
from triage.profiles import MessageKind, ResultKind
from triage.secret_files import read_secret
from triage.settings import load_settings


@pytest.mark.parametrize(
    ("text", "kind", "spelling", "url"),
    [
        (" PACS@10.0.0.5:104", "c-store", "PACS@10.0.0.5:104", ""),
        ("MLLP://Engine:2575", "mllp", "mllp://engine:2575", ""),
        ("mllps://[::1]:2576/", "mllp", "mllps://[::1]:2576", ""),
        ("dicomweb+https://VNA:443/dicom-web/", "dicomweb", "dicomweb+https://vna/dicom-web", "https://vna/dicom-web"),
        ("fhir+http://fhir:8080/R4", "fhir", "fhir+http://fhir:8080/R4", "http://fhir:8080/R4"),
        ("ups+http://[fe::1]:80", "ups", "ups+http://[fe::1]", "http://[fe::1]"),
        ("orthanc+http://orthanc:8042", "orthanc", "orthanc+http://orthanc:8042", "http://orthanc:8042"),
        ("webhook+https://h/hook", "webhook", "webhook+https://h/hook", "https://h/hook"),
    ],
)
def test_each_kind_has_one_spelling(text: str, kind: str, spelling: str, url: str) -> None:
    address = DestinationAddress.parse(text)
    assert (address.kind, str(address), address.url) == (kind, spelling, url)
    assert DestinationAddress.parse(spelling) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("PACS", "AET@host:port"),
        ("ftp://host/x", "no kind of destination"),
        ("dicomweb://host/x", "no kind of destination"),
        ("http://host/x", "no kind of destination"),
        ("mllp://host", "mllp://host:port"),
        ("mllp://host:2575/path", "mllp://host:port"),
        ("mllp://host:70000", "cannot be read"),
        ("mllp://host:0", "port 0"),
        ("fhir+http:///R4", "no host"),
        ("fhir+http://user:secret@host/R4", "user or password"),
        ("fhir+http://host/R4?x=1", "no query"),
        ("webhook+http://host/#x", "no query"),
        ("webhook+http://host/a,b", "characters"),
        ("webhook+http://host/ä", "characters"),
    ],
)
def test_what_is_no_address_is_refused_without_being_repeated(text: str, says: str) -> None:
    with pytest.raises(IdentifierError, match=says) as raised:
        DestinationAddress.parse(text)
    assert "secret" not in raised.value.advice()


def test_a_message_kind_wants_its_message() -> None:
    assert Destination(address="mllp://engine:2575").wanted == {(MessageKind.HL7, "")}
    assert Destination(address="PACS@h:104").wanted == {(ResultKind.REPORT, ""), (ResultKind.HEAT_MAP, "")}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"address": "mllp://h:1", "objects": ["SR"]}, "objects means nothing"),
        ({"address": "mllp://h:1", "tls": True}, "tls means nothing"),
        ({"address": "fhir+https://h/R4", "compression": "jpeg"}, "compression means nothing"),
        ({"address": "PACS@h:104", "token_file": "t"}, "token_file means nothing"),
        ({"address": "dicomweb+https://h/x", "commitment": "required"}, "storage commitment"),
        ({"address": "dicomweb+https://h/x", "user": "me"}, "go together"),
        ({"address": "dicomweb+https://h/x", "user": "me", "password_file": "p", "token_file": "t"}, "one of them"),
        ({"address": "webhook+https://h/x"}, "secret_file"),
        ({"address": "mllp://h:1", "certificate": "DNS:h"}, "certificate but not tls"),
        ({"address": "fhir+http://169.254.169.254/R4"}, "metadata"),
        ({"address": "fhir+http://0.0.0.0/R4"}, "no address of one machine"),
        ({"address": "dicomweb+http://127.0.0.1:8080/dicom-web"}, "this node itself"),
        ({"address": "PACS@h:104", "series_description": "{x}"}, "series_description"),
        ({"address": "gopher://h"}, "no kind of destination"),
    ],
)
def test_a_table_with_a_mistake_says_which(
    table: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=says):
        load_settings({"destinations": [table]})


def test_an_address_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="more than once"):
        load_settings({"destinations": ["mllp://H:2575", "MLLP://h:2575/"]})


def test_every_kind_survives_the_way_to_a_child(tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parent = load_settings(
        {
            "destinations": [
                {"address": "PACS@h:104", "objects": ["SR", "SEG"], "series_number": 7, "compression": "rle"},
                {"address": "dicomweb+https://h/x", "user": "me", "password_file": str(secret)},
                {"address": "webhook+https://h/x", "secret_file": str(secret)},
                "mllp://h:2575",
            ]
        }
    )
    for name, value in parent.as_environment().items():
        monkeypatch.setenv(name, value)
    child = load_settings()
    assert child == parent
    assert [d.kind for d in child.destinations] == [
        DestinationKind.C_STORE, DestinationKind.DICOMWEB, DestinationKind.WEBHOOK, DestinationKind.MLLP,
    ]  # fmt: skip


def test_a_secret_is_read_from_a_file_of_its_own(secret: Path) -> None:
    assert read_secret(secret) == "s3cret"


@pytest.mark.parametrize(("content", "mode", "says"), [("x", 0o644, "chmod 600"), ("\n", 0o600, "no secret")])
def test_a_secret_that_is_open_or_empty_is_refused(secret: Path, content: str, mode: int, says: str) -> None:
    secret.write_text(content)
    secret.chmod(mode)
    with pytest.raises(SettingsError) as raised:
        read_secret(secret)
    assert says in raised.value.advice()
    with pytest.raises(SettingsError, match="cannot be read"):
        read_secret(secret / "none")
