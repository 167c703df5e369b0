"""The bounded HTTP connection, against servers that do what servers do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers.certificates import Authority
from peers.processes import free_port
from peers.web_server import (
    Answer,
    Request,
    WebServer,
    answers,
    drips,
    half_closes,
    hangs_up,
    is_silent,
    says,
    web_server,
)

from dicom_node.http_peer import MAXIMUM_ANSWER, Credentials, HttpPeer, HttpSilentError, HttpTlsError, Patience
from triage.errors import SettingsError

IMPATIENT = Patience(connect=2.0, silence=0.3, exchange=1.0)
pytestmark = [pytest.mark.timeout(30), pytest.mark.usefixtures("nothing_left_open")]


def echo(request: Request) -> Answer:
    return Answer(200, request.body, "text/plain")


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server(echo) as running:
        yield running


@pytest.fixture
def peer(server: WebServer) -> Iterator[HttpPeer]:
    with HttpPeer(f"http://127.0.0.1:{server.port}/base/", patience=IMPATIENT) as opened:
        yield opened


def test_a_body_arrives_below_the_base_and_comes_back(server: WebServer, peer: HttpPeer) -> None:
    answer = peer.exchange("POST", "/there?a=b", headers={"Content-Type": "x/y"}, body=b"content")
    assert (answer.status, answer.media_type, answer.content) == (200, "text/plain", b"content")
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/base/there?a=b", b"content")
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (Credentials(token="abc.def"), "Bearer abc.def"),  # noqa: S106
        (Credentials(user="reader", password="pass word"), "Basic cmVhZGVyOnBhc3Mgd29yZA=="),  # noqa: S106
    ],
)
def test_credentials_are_shown_to_the_server_and_to_nobody_else(
    server: WebServer, credentials: Credentials, header: str
) -> None:
    with HttpPeer(f"http://127.0.0.1:{server.port}", credentials=credentials) as peer:
        peer.exchange("GET", "/")
    assert server.requests[0].headers["authorization"] == header
    assert "abc.def" not in repr(credentials)
    assert "pass word" not in repr(credentials)


def test_a_redirect_is_an_answer_and_is_not_followed(server: WebServer, peer: HttpPeer) -> None:
    server.faults.append(answers(307, Location="http://127.0.0.1:1/elsewhere"))
    assert peer.exchange("GET", "/").status == 307
    assert server.requests == []


def test_a_connection_that_was_kept_and_closed_meanwhile_costs_nothing(server: WebServer, peer: HttpPeer) -> None:
    peer.exchange("GET", "/")
    server.faults.append(hangs_up)
    assert peer.exchange("POST", "/", body=b"again").content == b"again"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (hangs_up, "closed the connection without an answer"),
        (is_silent, "did not answer in time"),
        (drips, "did not answer in time"),
        (half_closes, "broke off in the middle"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "not HTTP"),
        (says(b"HTTP/1.1 999999999999999999999 A\r\n\r\n"), "not HTTP"),
        (says(b"\x00" * 70_000), "not HTTP"),
        (answers(200, b"x" * (MAXIMUM_ANSWER + 1)), "more than 4 MiB"),
    ],
)
def test_what_is_no_answer_is_a_delivery_error_in_bounded_time(
    server: WebServer, peer: HttpPeer, fault: object, words: str
) -> None:
    server.faults.append(fault)  # type: ignore[arg-type]
    with pytest.raises(HttpSilentError, match=words):
        peer.exchange("POST", "/", body=b"content")
    assert peer.exchange("GET", "/").status == 200  # and the next one fares better


def test_a_server_that_drips_is_left_at_the_deadline(server: WebServer, peer: HttpPeer) -> None:
    server.faults.append(drips)
    began = time.monotonic()
    with pytest.raises(HttpSilentError):
        peer.exchange("GET", "/")
    assert time.monotonic() - began >= IMPATIENT.exchange  # each single piece came in time


def test_an_answer_that_comes_before_the_end_of_the_body_is_heard() -> None:
    """A proxy that takes no more than a megabyte says so and closes while the rest is still being sent."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    while connection.recv(1 << 20):
                        pass

        thread = threading.Thread(target=refuse)
        thread.start()
        with HttpPeer(f"http://127.0.0.1:{listening.getsockname()[1]}", patience=IMPATIENT) as peer:
            assert peer.exchange("POST", "/", body=b"x" * (8 << 20)).status == 413
        thread.join()


def test_nobody_there_is_said_with_its_reason() -> None:
    port = free_port()
    with (
        HttpPeer(f"http://127.0.0.1:{port}") as peer,
        pytest.raises(HttpSilentError, match=rf"127\.0\.0\.1:{port} cannot be reached \(Connection refused\)"),
    ):
        peer.exchange("GET", "/")


def test_a_body_that_cannot_be_read_is_no_fault_of_the_server(peer: HttpPeer) -> None:
    class Broken:
        def __len__(self) -> int:
            return 10

        def __iter__(self) -> Iterator[bytes]:
            yield b"12345"
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        peer.exchange("POST", "/", body=Broken())


def test_tls_trusts_the_named_authority_and_no_other(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "a"), Authority(tmp_path / "b", "stranger")
    with web_server(echo, identity=authority.issue("localhost")) as server:
        url = f"https://127.0.0.1:{server.port}"
        with HttpPeer(url, trusted=authority.file, patience=IMPATIENT) as peer:
            assert peer.exchange("GET", "/").status == 200
        for trusted in (stranger.file, None):
            with HttpPeer(url, trusted=trusted, patience=IMPATIENT) as peer, pytest.raises(HttpTlsError, match="trust"):
                peer.exchange("GET", "/")


def test_a_certificate_of_another_host_is_not_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with (
        web_server(echo, identity=authority.issue("pacs.example", local=False)) as server,
        HttpPeer(f"https://127.0.0.1:{server.port}", trusted=authority.file, patience=IMPATIENT) as peer,
        pytest.raises(HttpTlsError, match="not trusted"),
    ):
        peer.exchange("GET", "/")


def test_a_plain_server_under_https_is_said(server: WebServer) -> None:
    with (
        HttpPeer(f"https://127.0.0.1:{server.port}", patience=IMPATIENT) as peer,
        pytest.raises((HttpTlsError, HttpSilentError)),
    ):
        peer.exchange("GET", "/")


@pytest.mark.parametrize(
    "url", ["ftp://host/", "http://", "http://user:pass@host/", "http://host/?a=b", "http://host:port/", "host:80"]
)
def test_other_urls_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        HttpPeer(url)
    assert "pass@" not in str(refused.value)


def test_an_authority_file_that_is_none_is_a_setting_to_correct(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    for name in ("ca.pem", "absent.pem"):
        with pytest.raises(SettingsError, match=name):
            HttpPeer("https://host/", trusted=tmp_path / name)
