"""Settings: where they come from, what is refused, and that a child process reads back what the parent had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from triage.errors import SettingsError
from triage.settings import Settings, load_settings

TOKEN = "admin:" + "x" * 24


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("FIRSTREAD_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_are_loopback_sqlite_and_no_broker() -> None:
    settings = load_settings()
    assert (settings.ae_title, settings.dicom_port, settings.http_port, settings.bind) == (
        "FIRSTREAD", 11112, 8080, "127.0.0.1",
    )  # fmt: skip
    assert settings.embedded
    assert settings.on_loopback
    assert settings.database.startswith("sqlite:///")


def test_command_line_beats_environment_beats_file_beats_default(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("firstread.toml").write_text('ae_title = "FILE"\nhttp_port = 1\ndicom_port = 2\n')
    monkeypatch.setenv("FIRSTREAD_HTTP_PORT", "3")
    settings = load_settings({"ae_title": "LINE", "dicom_port": None})
    assert (settings.ae_title, settings.http_port, settings.dicom_port) == ("LINE", 3, 2)


def test_destinations_are_read_from_text_and_from_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("firstread.toml").write_text('[[destinations]]\naddress = "PACS@host:104"\nheat_map = false\n')
    (destination,) = load_settings().destinations
    assert (destination.address, destination.heat_map) == ("PACS@host:104", False)
    monkeypatch.setenv("FIRSTREAD_DESTINATIONS", "A@h:1, B@[::1]:2")
    assert [d.address for d in load_settings().destinations] == ["A@h:1", "B@[::1]:2"]


def test_a_child_process_reads_back_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = load_settings(
        {
            "destinations": ["PACS@host:104", {"address": "VNA@host:2762", "tls": True, "certificate": "CN:vna"}],
            "calling_ae_titles": ["CR1@10.0.0.0/8", "CT1", {"ae_title": "CT2", "certificate": "DNS:ct2.example"}],
            "dicom_plain": True,
            "dicom_tls_port": 2762,
            "dicom_tls_certificate": "/etc/firstread/node.pem",
            "dicom_tls_key": "/etc/firstread/node.key",
            "dicom_tls_trusted": "/etc/firstread/hospital.pem",
            "http_tokens": [TOKEN],
            "bind": "0.0.0.0",
            "quiet_seconds": 12.5,
            "log_json": True,
        }
    )
    for name, value in parent.as_environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == parent


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"dicom_port": "eleven"}, "dicom_port"),
        ({"ae_title": "MUCH TOO LONG A TITLE"}, "AE title"),
        ({"ae_title": " "}, "AE title"),
        ({"destinations": ["PACS"]}, "AET@host:port"),
        ({"destinations": ["FIRSTREAD@127.0.0.1:11112"]}, "this node itself"),
        ({"bind": "0.0.0.0"}, "calling_ae_titles"),
        ({"http_tokens": ["admin:short"]}, "24 characters"),
        ({"quiet_seconds": -1}, "quiet_seconds"),
        ({"ai_stat_share": 1.5}, "ai_stat_share"),
        ({"device": "tpu"}, "device"),
        ({"broker_url": "redis://h/0", "database_url": "sqlite:///x"}, "PostgreSQL"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(values: dict[str, object], names: str) -> None:
    with pytest.raises(SettingsError, match=names):
        load_settings(values)


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRSTREAD_AETITLE", "X")
    with pytest.raises(SettingsError, match="FIRSTREAD_AETITLE"):
        load_settings()


def test_an_unknown_name_in_the_file_is_refused() -> None:
    Path("firstread.toml").write_text('ae_titel = "X"\n')
    with pytest.raises(SettingsError, match="ae_titel"):
        load_settings()


def test_a_secret_is_not_repeated_in_the_error() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"http_tokens": ["admin:geheim"]})
    assert "geheim" not in caught.value.advice()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_is_for(name: str) -> None:
    assert Settings.model_fields[name].description


TLS_FILES = {"dicom_tls_certificate": "node.pem", "dicom_tls_key": "node.key", "dicom_tls_trusted": "ca.pem"}
TLS = {**TLS_FILES, "dicom_tls_port": 2762}
OPEN = {"bind": "10.0.0.20", "http_tokens": [TOKEN]}


@pytest.mark.parametrize(
    ("values", "plain"),
    [
        ({}, 11112),
        (TLS, 11112),
        ({**TLS, "dicom_plain": False}, None),
        ({**OPEN, "calling_ae_titles": ["CR1@10.0.1.0/24", "CT1@10.0.2.3"]}, 11112),
        ({**OPEN, "calling_ae_titles": ["CR1"], "dicom_plain": True}, 11112),
        ({**OPEN, **TLS, "calling_ae_titles": ["CR1"]}, None),
        ({**OPEN, **TLS, "calling_ae_titles": ["CR1@10.0.1.0/24"]}, None),
        ({**OPEN, **TLS, "calling_ae_titles": ["CR1"], "dicom_plain": True}, 11112),
    ],
)
def test_the_port_without_tls_is_open_only_where_that_is_meant(values: dict[str, object], plain: int | None) -> None:
    assert load_settings(values).plain_port == plain


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({**OPEN, "calling_ae_titles": ["CR1@10.0.1.0/24", "CT1"]}, "CT1 may come from anywhere"),
        ({"dicom_plain": False}, "nobody could send"),
        ({"dicom_tls_port": 2762}, "dicom_tls_certificate, dicom_tls_key and dicom_tls_trusted"),
        ({**TLS, "dicom_tls_key": None, "dicom_tls_port": 1}, "dicom_tls_port needs"),
        ({"destinations": [{"address": "PACS@host:104", "tls": True}]}, "PACS@host:104 with tls needs"),
        ({"destinations": [{"address": "PACS@host:104", "certificate": "CN:pacs"}]}, "not tls = true"),
        ({"calling_ae_titles": [{"ae_title": "CT1", "certificate": "CN:ct1"}]}, "dicom_tls_port must be set"),
        ({**TLS, "calling_ae_titles": [{"ae_title": "CT1", "certificate": "ct1"}]}, "names no certificate"),
        ({**TLS, "destinations": ["FIRSTREAD@127.0.0.1:2762"]}, "this node itself"),
        ({"listener_processes": 0}, "listener_processes"),
    ],
)
def test_transport_that_does_not_go_together_is_refused(values: dict[str, object], names: str) -> None:
    with pytest.raises(SettingsError, match=names):
        load_settings(values)
