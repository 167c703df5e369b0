"""MLLP against a real receiver on loopback: acknowledged or not, in time or not, and never believed too easily."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from peers import mllp_server as peer
from peers.certificates import Authority
from peers.mllp_server import Fault, MllpServer, mllp_server

from dicom_node.tls import TlsFiles, requestor_tls
from triage.errors import DeliveryError
from workers.carriers.mllp_link import (
    AckCode,
    Acknowledgement,
    MllpConfusedError,
    MllpLink,
    MllpSilentError,
    MllpTlsError,
    Patience,
)

MESSAGE = b"MSH|^~\\&|FIRSTREAD||||20261128||ORU^R01^ORU_R01|ID1|P|2.5.1\rPID|1||P-1\r"
SHORT = Patience(connect=0.5, exchange=0.5)


def link(server: MllpServer, patience: Patience = SHORT) -> MllpLink:
    return MllpLink("127.0.0.1", server.port, patience=patience)


@pytest.mark.parametrize("code", [each.value for each in AckCode])
def test_the_receivers_word_is_told(code: str) -> None:
    with mllp_server() as server, link(server) as mllp:
        server.faults = [peer.answers(code.encode(), text=b"why|not really")]
        assert mllp.exchange(MESSAGE, "ID1") == Acknowledgement(code=AckCode(code), text="why")
        assert server.received == [MESSAGE]


@pytest.mark.parametrize(
    ("errors", "text", "reason"),
    [
        (b"ERR||PID^1^3|101^Required field missing^HL70357|E||||no identifier", "no identifier", "101"),
        (b"ERR||PV1^1|0^accepted^HL70357|W||||odd\rERR|||207^down^HL70357|E", "down", "207"),
        (b"ERR|PID^1^3^101&Required field missing&HL70357", "", "101"),
        (b"ERR", "", ""),
    ],
)
def test_why_is_told_in_the_way_of_each_version(errors: bytes, text: str, reason: str) -> None:
    head = b"MSH|^~\\&|RIS||||2026||ACK|1|P|2.5.1\rMSA|AE|ID1\r"
    with mllp_server() as server, link(server) as mllp:
        server.faults = [peer.says(peer.START + head + errors + b"\r" + peer.END)]
        assert mllp.exchange(MESSAGE, "ID1") == Acknowledgement(code=AckCode.ERROR, text=text, reason=reason)


def test_a_connection_is_kept_and_opened_anew_when_the_receiver_closed_it() -> None:
    with mllp_server() as server, link(server) as mllp:
        for _ in range(3):
            mllp.exchange(MESSAGE, "ID1")
        assert server.connections == 1
        server.faults = [peer.hangs_up]
        mllp.exchange(MESSAGE, "ID1")
        assert (server.connections, len(server.received)) == (2, 5)


def test_a_receiver_that_acknowledges_twice_confuses_nobody() -> None:
    with mllp_server() as server, link(server) as mllp:
        server.faults = [peer.acknowledges_twice]
        assert mllp.exchange(MESSAGE, "ID1").code is AckCode.COMMIT_ACCEPTED
        assert mllp.exchange(MESSAGE.replace(b"ID1", b"ID2"), "ID2").code is AckCode.ACCEPTED
        assert server.connections == 1


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (peer.hangs_up, MllpSilentError, "closed the connection"),
        (peer.half_closes, MllpSilentError, "broke off"),
        (peer.is_silent, MllpSilentError, "in time"),
        (peer.drips, MllpSilentError, "in time"),
        (peer.floods, MllpConfusedError, "more than 64 KiB"),
        (peer.says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), MllpConfusedError, "not MLLP"),
        (peer.says(b"\x0bhello\x1c\r"), MllpConfusedError, "no HL7 message"),
        (peer.says(b"\x0bMSH|^~\\&|R||||1||ORU^R01|1|P|2.5\r\x1c\r"), MllpConfusedError, "acknowledges nothing"),
        (peer.answers(control_id=b"ID9"), MllpConfusedError, "another message"),
        (peer.answers(control_id=b""), MllpConfusedError, "another message"),
        (peer.answers(b"OK"), MllpConfusedError, "table 0008"),
        (peer.says(b"\x0b", then_closes=True), MllpSilentError, "broke off"),
    ],
)
def test_what_is_no_acknowledgement_is_none(fault: Fault, error: type[DeliveryError], says: str) -> None:
    with mllp_server() as server, link(server) as mllp:
        server.faults = [fault]
        with pytest.raises(error, match=says):
            mllp.exchange(MESSAGE, "ID1")
        assert mllp.exchange(MESSAGE, "ID1").code is AckCode.ACCEPTED  # the next try is on a connection of its own


def test_an_end_without_its_carriage_return_is_an_end() -> None:
    with mllp_server() as server, link(server) as mllp:
        server.faults = [peer.says(peer.ack(MESSAGE)[:-1])]
        assert mllp.exchange(MESSAGE, "ID1").code is AckCode.ACCEPTED


def test_nobody_there_is_said() -> None:
    with mllp_server() as server:
        gone = link(server)
    with pytest.raises(MllpSilentError, match="cannot be reached"):
        gone.exchange(MESSAGE, "ID1")


def test_over_tls_the_receiver_must_be_who_it_is_said_to_be(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others", name="others")
    own, server_identity = ours.issue("node"), ours.issue("ris")
    now = datetime.now(UTC)

    def files(trusted: Path) -> TlsFiles:
        return TlsFiles(certificate=own.certificate, key=own.key, trusted=trusted)

    with mllp_server(identity=server_identity) as server:
        for certificate in ("", "DNS:ris", f"SHA256:{server_identity.fingerprint}"):
            tls = requestor_tls(files(ours.file), now, certificate=certificate)
            with MllpLink("127.0.0.1", server.port, tls=tls, patience=SHORT) as mllp:
                assert mllp.exchange(MESSAGE, "ID1").code is AckCode.ACCEPTED
        received = len(server.received)
        for tls, says in (
            (requestor_tls(files(others.file), now), "not trusted"),
            (requestor_tls(files(ours.file), now, certificate="DNS:elsewhere"), "another certificate"),
        ):
            mllp = MllpLink("127.0.0.1", server.port, tls=tls, patience=SHORT)
            with mllp, pytest.raises(MllpTlsError, match=says):
                mllp.exchange(MESSAGE, "ID1")
        assert len(server.received) == received
    with mllp_server() as plain:
        tls = requestor_tls(files(ours.file), now)
        mllp = MllpLink("127.0.0.1", plain.port, tls=tls, patience=SHORT)
        with mllp, pytest.raises((MllpTlsError, MllpSilentError)):
            mllp.exchange(MESSAGE, "ID1")
        assert MESSAGE not in plain.received
