"""TLS on the DICOM port and towards destinations: who gets in, who does not, what it says, and that nobody waits."""

from __future__ import annotations

import hashlib
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from network_samples import RecordingNode
from peers.certificates import DAY, Authority, Identity
from peers.processes import eventually
from peers.raw_peer import CR, EXPLICIT, RawPeer, encoded, part10_file, pdata, radiograph
from structlog.testing import capture_logs

from dicom_node import dimse
from dicom_node.admission import AllowedPeer
from dicom_node.archive import Archive
from dicom_node.listener import ListenerConfig
from dicom_node.negotiation import ProposedContext, encode_request
from dicom_node.scu import echo, send
from dicom_node.tls import TlsFiles, acceptor_context, expiring, requestor_tls
from triage.errors import SettingsError
from triage.identifiers import PeerAddress

ACCEPT, RELEASE_REQUEST, RELEASE_RESPONSE = 2, 5, 6


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "somebody else")


@pytest.fixture(scope="module")
def own(authority: Authority) -> TlsFiles:
    return files(authority.issue("node"), authority)


@pytest.fixture(scope="module")
def ct1(authority: Authority) -> TlsFiles:
    return files(authority.issue("ct1.example", uris=("urn:oid:1.2.3",)), authority)


@pytest.fixture
def node(archive: Archive, own: TlsFiles) -> Iterator[RecordingNode]:
    """Listens with and without TLS."""
    with RecordingNode(archive, config(own)) as running:
        yield running


def config(own: TlsFiles, **other: object) -> ListenerConfig:
    return replace(ListenerConfig(ae_title="NODE", port=0, tls_port=0, tls=own), **other)


def files(identity: Identity, trusted: Authority) -> TlsFiles:
    return TlsFiles(certificate=identity.certificate, key=identity.key, trusted=trusted.file)


def at(port: int) -> PeerAddress:
    return PeerAddress("NODE", "127.0.0.1", port)


def client(
    identity: Identity | None, trusted: Authority | TlsFiles, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    authority = trusted.trusted if isinstance(trusted, TlsFiles) else trusted.file
    context = ssl.create_default_context(cafile=str(authority))
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    if version is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return context


class TlsPeer(RawPeer):
    """A raw peer behind any TLS that a test wants."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(port)
        self.sock = context.wrap_socket(self.sock, server_hostname="127.0.0.1")


def why_refused(port: int, context: ssl.SSLContext) -> str:
    """The alert that a client gets; of TLS 1.3 only with the first answer."""
    with pytest.raises(ssl.SSLError) as refusal, TlsPeer(port, context) as peer:
        peer.associate()
    return str(refusal.value.reason)


# --- files ----------------------------------------------------------------------------------------------------------


def test_only_tls_1_2_and_later_with_ephemeral_keys_and_authenticated_encryption(own: TlsFiles) -> None:
    for context in (acceptor_context(own, now()), requestor_tls(own, now()).context):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.verify_mode is ssl.CERT_REQUIRED
        old = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"]
        assert old
        assert all(name.startswith("ECDHE-") and "-GCM-" in name for name in old)


def test_a_key_of_another_certificate_is_refused(own: TlsFiles, ct1: TlsFiles) -> None:
    with pytest.raises(SettingsError, match="does not belong to the certificate"):
        acceptor_context(replace(own, key=ct1.key), now())


def test_a_key_that_others_can_read_is_refused(own: TlsFiles, tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    key.write_bytes(own.key.read_bytes())
    key.chmod(0o644)
    with pytest.raises(SettingsError, match="Every user of this machine") as refusal:
        acceptor_context(replace(own, key=key), now())
    assert "chmod 600" in refusal.value.next_step
    key.chmod(0o640)
    acceptor_context(replace(own, key=key), now())


def test_an_encrypted_key_is_refused_and_nobody_is_asked(own: TlsFiles, tmp_path: Path) -> None:
    loaded = serialization.load_pem_private_key(own.key.read_bytes(), None)
    key = tmp_path / "encrypted.key"
    key.touch(mode=0o600)
    key.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(SettingsError, match="is encrypted"):
        acceptor_context(replace(own, key=key), now())


@pytest.mark.parametrize("role", ["certificate", "key", "trusted"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate\n"])
def test_a_file_that_is_missing_or_something_else_is_named(
    own: TlsFiles, tmp_path: Path, role: str, content: bytes | None
) -> None:
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    with pytest.raises(SettingsError, match=r"file\.pem"):
        acceptor_context(replace(own, **{role: file}), now())


def test_a_certificate_is_refused_before_and_after_its_time(authority: Authority) -> None:
    with pytest.raises(SettingsError, match="has ended on"):
        acceptor_context(files(authority.issue("late", begins=-3 * DAY, ends=-DAY), authority), now())
    with pytest.raises(SettingsError, match=r"begins on .*") as refusal:
        acceptor_context(files(authority.issue("early", begins=DAY), authority), now())
    assert "clock" in refusal.value.next_step


def test_a_certificate_for_one_side_is_refused_on_the_other(authority: Authority) -> None:
    server = files(authority.issue("server", uses=(ExtendedKeyUsageOID.SERVER_AUTH,)), authority)
    acceptor_context(server, now())
    with pytest.raises(SettingsError, match="clientAuth"):
        requestor_tls(server, now())


def test_certificates_that_end_soon_are_told_with_their_day(authority: Authority) -> None:
    soon = files(authority.issue("soon", ends=7 * DAY + timedelta(minutes=1)), authority)
    (expiry,) = expiring(soon, now())
    assert "CN=soon" in expiry.describe(now())
    assert "ends in 7 days" in expiry.describe(now())
    assert expiring(soon, now() - 30 * DAY) == []
    assert "has ended" in expiring(soon, now() + 8 * DAY)[0].describe(now() + 8 * DAY)
    assert len(expiring(soon, now() + 1000 * DAY)) == 2  # the authority too


# --- who gets in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_object_arrives_over_tls_as_it_was_sent(
    node: RecordingNode, authority: Authority, version: ssl.TLSVersion, nothing_left_open: None
) -> None:
    data = encoded(radiograph(Rows=1024, Columns=1024, PixelData=bytes(range(256)) * 8192))
    with TlsPeer(node.listener.tls_port, client(authority.issue("cr1"), authority, version)) as peer:
        assert peer.associate(maximum=0)[0] == ACCEPT
        for _ in range(2):
            peer.command(dimse.store_request(1, CR, "1.2.3.4"))
            for start in range(0, len(data), 50_000):
                peer.data_set(data[start : start + 50_000], last=start + 50_000 >= len(data))
            assert peer.response().status == 0
        assert peer.release() == 6
    node.wait_closed()
    _, stored, arrival = node.recorded[0]
    assert arrival.calling_ae_title == "RAW"
    kept = node.archive.path(stored.relative_path).read_bytes()
    assert hashlib.sha256(kept[-len(data) :]).digest() == hashlib.sha256(data).digest()


def test_the_requestor_sends_over_tls_and_checks_who_answers(
    node: RecordingNode, other_authority: Authority, ct1: TlsFiles, tmp_path: Path
) -> None:
    path = tmp_path / "big.dcm"
    path.write_bytes(part10_file(radiograph(Rows=1024, Columns=1024, PixelData=bytes(range(256)) * 8192)))
    port, fingerprint = node.listener.tls_port, fingerprint_of(node)
    for certificate in ("", "DNS:node", "CN:node", "IP:127.0.0.1", f"SHA256:{fingerprint}"):
        tls = requestor_tls(ct1, now(), certificate=certificate)
        (outcome,) = send(at(port), [path], calling_ae_title="CT1", tls=tls)
        assert outcome.stored, outcome
        assert echo(at(port), calling_ae_title="CT1", tls=tls).ok
    other = echo(at(port), calling_ae_title="CT1", tls=requestor_tls(ct1, now(), certificate="DNS:pacs"))
    assert not other.ok
    assert "another certificate than DNS:pacs" in other.message
    assert "correct `certificate` of the destination" in other.advice
    strange = files(other_authority.issue("ct1"), other_authority)
    stranger = echo(at(port), calling_ae_title="CT1", tls=requestor_tls(strange, now()))
    assert "trust the authority of the other's" in stranger.advice
    rejected = echo(replace(at(port), ae_title="OTHER"), calling_ae_title="CT1", tls=requestor_tls(ct1, now()))
    assert "its own is OTHER" in rejected.advice


@pytest.mark.parametrize(
    ("binding", "admitted"),
    [
        ("DNS:ct1.example", True),
        ("CN:ct1.example", True),
        ("URI:urn:oid:1.2.3", True),
        ("IP:127.0.0.1", True),
        ("DNS:cr1.example", False),
        ("SHA256:" + "0" * 64, False),
    ],
)
def test_a_title_is_bound_to_its_certificate(
    archive: Archive, own: TlsFiles, ct1: TlsFiles, binding: str, admitted: bool
) -> None:
    peers = (AllowedPeer("CT1", certificate=binding), AllowedPeer("OLD"))
    with RecordingNode(archive, config(own, peers=peers)) as node:
        over_tls = echo(at(node.listener.tls_port), calling_ae_title="CT1", tls=requestor_tls(ct1, now()))
        assert over_tls.ok is admitted, over_tls
        plain = echo(at(node.port), calling_ae_title="CT1")
        assert not plain.ok
        for refused in (plain, *([] if admitted else [over_tls])):
            assert "calling AE title not recognised" in refused.message
        assert echo(at(node.port), calling_ae_title="OLD").ok


# --- who does not ---------------------------------------------------------------------------------------------------


@contextmanager
def one_refusal(node: RecordingNode) -> Iterator[list[str]]:
    """The reason in the one line that the log has afterwards; somebody else still gets in."""
    said: list[str] = []
    with capture_logs() as lines:
        yield said
        refusals = eventually(
            lambda: [line for line in lines if line["event"] == "tls_refused"], within=10, what="a line"
        )
    said += [line["reason"] for line in refusals]
    assert len(said) == 1
    assert {line["log_level"] for line in refusals} == {"warning"}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("who", "alert", "reason"),
    [
        ("nobody", "CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE", "peer did not return a certificate"),
        ("expired", "CERTIFICATE_EXPIRED", "certificate has expired"),
        ("stranger", "UNKNOWN_CA", "unable to get local issuer certificate"),
        ("server only", "UNSUPPORTED_CERTIFICATE", "purpose"),
    ],
)
def test_a_peer_without_a_right_certificate_is_refused_with_an_alert(
    node: RecordingNode,
    authority: Authority,
    other_authority: Authority,
    who: str,
    alert: str,
    reason: str,
    version: ssl.TLSVersion,
) -> None:
    identity = {
        "nobody": lambda: None,
        "expired": lambda: authority.issue("expired", begins=-3 * DAY, ends=-DAY),
        "stranger": lambda: other_authority.issue("ct1.example"),
        "server only": lambda: authority.issue("server", uses=(ExtendedKeyUsageOID.SERVER_AUTH,)),
    }[who]()
    with one_refusal(node) as said:
        told = why_refused(node.listener.tls_port, client(identity, authority, version))
    assert any(part in told for part in alert.split("|")), told
    assert reason in said[0]
    assert node.recorded == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_older_than_1_2_is_refused(node: RecordingNode, authority: Authority, version: ssl.TLSVersion) -> None:
    with pytest.warns(DeprecationWarning):
        old = client(authority.issue("old"), authority, version)
    with one_refusal(node) as said:
        assert "PROTOCOL_VERSION" in why_refused(node.listener.tls_port, old)
    assert said == ["unsupported protocol"]


def test_ciphers_without_authentication_of_data_are_refused(node: RecordingNode, authority: Authority) -> None:
    weak = client(authority.issue("weak"), authority)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("ECDHE+AES128+SHA256:!AESGCM:!AESCCM")
    with one_refusal(node) as said:
        assert "HANDSHAKE_FAILURE" in why_refused(node.listener.tls_port, weak)
    assert said == ["no shared cipher"]


def test_plain_dicom_on_the_tls_port_is_refused(node: RecordingNode) -> None:
    with one_refusal(node) as said, RawPeer(node.listener.tls_port) as peer:
        peer.send(encode_request("RAW", "NODE", [ProposedContext(1, CR, (EXPLICIT,))], 0))
        assert peer.receive()[0] != ACCEPT
    assert said == ["wrong version number"]


def test_a_silent_client_is_dropped_and_delays_nobody(archive: Archive, own: TlsFiles, ct1: TlsFiles) -> None:
    with RecordingNode(archive, config(own, artim_seconds=8)) as node:
        port = node.listener.tls_port
        hello = client_hello()
        silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(3)]
        silent[1].sendall(hello[:20])
        silent[2].sendall(hello)  # and never an answer to the server's flight
        begin = time.monotonic()
        assert echo(at(port), calling_ae_title="CT1", tls=requestor_tls(ct1, now())).ok
        assert time.monotonic() - begin < 7.5, "it waited for the silent ones"
        for sock in silent:
            with sock:
                while sock.recv(65536):
                    pass
        assert time.monotonic() - begin > 7.5
        with RawPeer(port) as drip, suppress(ConnectionError):
            for i in range(len(hello) - 1):
                drip.send(hello[i : i + 1])
                if select.select([drip.sock], [], [], 0.2)[0]:
                    break
            else:
                pytest.fail("a byte now and then bought time")
            while drip.sock.recv(65536):
                pass


def test_a_silent_client_does_not_hold_the_end(archive: Archive, own: TlsFiles) -> None:
    node = RecordingNode(archive, config(own))
    node.listener.start()
    with RawPeer(node.listener.tls_port) as silent:
        silent.send(client_hello()[:50])
        begin = time.monotonic()
        node.listener.stop(timeout=8)
        assert time.monotonic() - begin < 7
        assert silent.is_closed()


def test_an_idle_association_is_released_at_the_end(archive: Archive, own: TlsFiles, ct1: TlsFiles) -> None:
    node = RecordingNode(archive, config(own))
    node.listener.start()
    context = client(Identity(ct1.certificate, ct1.key, ""), ct1)
    with TlsPeer(node.listener.tls_port, context) as peer:
        assert peer.associate()[0] == ACCEPT
        ending = threading.Thread(target=node.listener.stop)
        begin = time.monotonic()
        ending.start()
        assert peer.receive()[0] == RELEASE_REQUEST
        assert time.monotonic() - begin < 10
        peer.send(struct.pack(">BxLxxxx", RELEASE_RESPONSE, 4))
        ending.join(10)
        assert not ending.is_alive()


def test_what_came_in_one_record_is_not_waited_for(node: RecordingNode, ct1: TlsFiles) -> None:
    """Decrypted data lie in TLS, not in the socket: nothing there becomes readable any more."""
    context = client(Identity(ct1.certificate, ct1.key, ""), ct1)
    with TlsPeer(node.listener.tls_port, context) as peer:
        request = encode_request("CT1", "NODE", [ProposedContext(1, CR, (EXPLICIT,))], 0)
        data = encoded(radiograph())
        command = dimse.store_request(1, CR, "1.2.3.4")
        begin = time.monotonic()
        peer.send(request + pdata(1, 3, command) + pdata(1, 2, data) + struct.pack(">BxLxxxx", RELEASE_REQUEST, 4))
        assert peer.receive()[0] == ACCEPT
        assert peer.response().status == 0
        assert peer.receive()[0] == RELEASE_RESPONSE
        assert time.monotonic() - begin < 5
        assert peer.is_closed()


def test_two_hundred_silent_clients_lock_nobody_out(
    archive: Archive, own: TlsFiles, ct1: TlsFiles, nothing_left_open: None
) -> None:
    with RecordingNode(archive, config(own)) as node:
        port = node.listener.tls_port
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        try:
            assert echo(at(port), calling_ae_title="CT1", tls=requestor_tls(ct1, now())).ok
        finally:
            for sock in silent:
                sock.close()


# --- the requestor --------------------------------------------------------------------------------------------------


def test_the_requestor_refuses_who_is_not_who_it_should_be(
    node: RecordingNode, ct1: TlsFiles, other_authority: Authority, radiograph_file: Path
) -> None:
    port = node.listener.tls_port
    stranger = requestor_tls(replace(ct1, trusted=other_authority.file), now())
    (outcome,) = send(at(port), [radiograph_file], calling_ae_title="CT1", tls=stranger)
    assert (outcome.stored, outcome.retryable, outcome.needs_attention) == (False, True, True)
    assert "certificate not accepted: self-signed certificate in certificate chain" in outcome.error
    assert node.recorded == []


def test_the_requestor_checks_the_name_it_connects_to(archive: Archive, authority: Authority, ct1: TlsFiles) -> None:
    elsewhere = files(authority.issue("pacs.example", local=False), authority)
    with RecordingNode(archive, config(elsewhere)) as node:
        port = node.listener.tls_port
        answer = echo(at(port), calling_ae_title="CT1", tls=requestor_tls(ct1, now()))
        assert "certificate is not valid for '127.0.0.1'" in answer.message
        bound = requestor_tls(ct1, now(), certificate="DNS:pacs.example")
        assert echo(at(port), calling_ae_title="CT1", tls=bound).ok


def test_the_requestor_hears_why_its_certificate_is_refused(
    node: RecordingNode, authority: Authority, other_authority: Authority, radiograph_file: Path
) -> None:
    unknown = files(other_authority.issue("unknown"), authority)
    (outcome,) = send(
        at(node.listener.tls_port), [radiograph_file], calling_ae_title="CT1", tls=requestor_tls(unknown, now())
    )
    assert "unknown ca" in outcome.error
    assert outcome.needs_attention


def test_the_requestor_never_falls_back_to_plain(node: RecordingNode, ct1: TlsFiles, radiograph_file: Path) -> None:
    (outcome,) = send(at(node.port), [radiograph_file], calling_ae_title="CT1", tls=requestor_tls(ct1, now()))
    assert not outcome.stored
    assert node.recorded == []


# --- helpers --------------------------------------------------------------------------------------------------------


def fingerprint_of(node: RecordingNode) -> str:
    assert node.config.tls is not None
    pem = node.config.tls.certificate.read_text()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def client_hello() -> bytes:
    """The first flight of a client, as OpenSSL writes it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="node").do_handshake()
    return outgoing.read()
