"""DICOM over TLS with DCMTK at the other end, both ways, and the doctor's view of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from peers import dcmtk
from peers.certificates import DAY, Authority, Identity
from peers.node import FIRSTREAD
from peers.processes import await_port, eventually, free_port, run, running
from peers.raw_peer import part10_file, radiograph
from pydicom import dcmread

from dicom_node.scu import EchoOutcome, echo
from firstread.destination_checks import destinations
from firstread.dicom_checks import certificates, ports
from triage.database import Database
from triage.identifiers import PeerAddress
from triage.peers import Destination
from triage.settings import Settings, load_settings
from triage.tables import Instance
from workers.transport import tls_for_address

pytestmark = pytest.mark.peer

SIDE = 3872  # pixels: 30 MB at 16 bits


@dataclass
class TlsNode:
    """A running ``firstread listen`` with a plain and a TLS port.

    AE title MODALITY is bound to the certificate of modality.example; OLD is not bound.
    """

    port: int
    tls_port: int
    environment: Mapping[str, str]
    log: Path
    authority: Authority
    own: Identity
    modality: Identity

    def refusals(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if "tls_refused" in line]

    def stored(self, sop_instance_uid: str) -> Path:
        """The file of an instance that was acknowledged."""
        data = Path(self.environment["FIRSTREAD_DATA"])
        database = Database(f"sqlite:///{data / 'firstread.sqlite'}")
        with database.read() as session:
            path = session.scalar(
                sa.select(Instance.relative_path).where(Instance.sop_instance_uid == sop_instance_uid)
            )
        database.dispose()
        assert path is not None
        return data / "archive" / path

    def settings(self, **changed: object) -> Settings:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            return load_settings().model_copy(update=changed)

    def cli(self, *words: str | Path) -> str:
        return run(FIRSTREAD, *words, env=self.environment)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsNode]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder / "hospital")
    own, modality = authority.issue("firstread.example"), authority.issue("modality.example")
    port, tls_port, log = free_port(), free_port(), folder / "log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    environment = {
        **kept,
        "COLUMNS": "300",
        "FIRSTREAD_DATA": str(folder / "data"),
        "FIRSTREAD_DICOM_PORT": str(port),
        "FIRSTREAD_DICOM_TLS_PORT": str(tls_port),
        "FIRSTREAD_DICOM_TLS_CERTIFICATE": str(own.certificate),
        "FIRSTREAD_DICOM_TLS_KEY": str(own.key),
        "FIRSTREAD_DICOM_TLS_TRUSTED": str(authority.file),
        "FIRSTREAD_CALLING_AE_TITLES": '[{"ae_title": "MODALITY", "certificate": "DNS:modality.example"}, "OLD"]',
    }
    run(FIRSTREAD, "db", "upgrade", env=environment)
    with running(FIRSTREAD, "listen", log=log, env=environment) as process:
        await_port(process, tls_port, log)
        yield TlsNode(port, tls_port, environment, log, authority, own, modality)
    assert "Traceback" not in log.read_text()


def image(folder: Path, uid: str, side: int = 16) -> Path:
    path = folder / f"{uid}.dcm"
    pixels = os.urandom(side * side * 2)
    path.write_bytes(
        part10_file(radiograph(uid, SeriesInstanceUID=f"{uid}.2", Rows=side, Columns=side, PixelData=pixels))
    )
    return path


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"], ids=["non-downgrading", "BCP 195", "extended"])
def test_each_profile_of_dcmtk_gets_in(node: TlsNode, profile: str, tmp_path: Path) -> None:
    uid = f"1.2.9.{ord(profile[2])}"
    options = [*dcmtk.tls(node.modality, node.authority.file), profile]
    dcmtk.send(image(tmp_path, uid), node.tls_port, options=options)
    assert node.stored(uid).is_file()


def test_thirty_megabytes_arrive_as_they_were_sent(node: TlsNode, tmp_path: Path) -> None:
    path = image(tmp_path, "1.2.9.30", SIDE)
    dcmtk.send(path, node.tls_port, options=[*dcmtk.tls(node.modality, node.authority.file), "-pdu", "131072"])
    assert node.stored("1.2.9.30").stat().st_size > 29_000_000
    assert dcmread(node.stored("1.2.9.30")).PixelData == dcmread(path).PixelData


@pytest.mark.parametrize("who", ["nobody", "other authority", "expired", "not encrypted"])
def test_who_has_no_right_certificate_stays_out(node: TlsNode, who: str, tmp_path: Path) -> None:
    before = len(node.refusals())
    other = Authority(tmp_path / "other", "another authority")
    options = {
        "nobody": lambda: ["+tla", "-ic"],
        "other authority": lambda: dcmtk.tls(other.issue("modality.example"), node.authority.file),
        "expired": lambda: dcmtk.tls(
            node.authority.issue("late.example", begins=-9 * DAY, ends=-DAY), node.authority.file
        ),
        "not encrypted": lambda: [*dcmtk.tls(node.modality, node.authority.file), "+pn"],
    }[who]()
    with pytest.raises(AssertionError, match="storescu ended with"):
        dcmtk.send(image(tmp_path, "1.2.9.40"), node.tls_port, options=options)
    eventually(lambda: len(node.refusals()) == before + 1, within=10, what="one line in the log")
    later = image(tmp_path, f"1.2.9.41.{before + 1}")
    dcmtk.send(later, node.tls_port, options=dcmtk.tls(node.modality, node.authority.file))


def test_a_title_is_admitted_with_its_certificate_only(node: TlsNode, tmp_path: Path) -> None:
    path = image(tmp_path, "1.2.9.50")
    right, other = node.modality, node.authority.issue("other.example")
    for identity, calling in ((other, "MODALITY"), (right, "STRANGER")):
        with pytest.raises(AssertionError, match="Calling AE Title Not Recognized"):
            dcmtk.send(path, node.tls_port, calling=calling, options=dcmtk.tls(identity, node.authority.file))
    with pytest.raises(AssertionError, match="Calling AE Title Not Recognized"):
        dcmtk.send(path, node.port)
    dcmtk.send(path, node.port, calling="OLD")
    dcmtk.send(path, node.tls_port, calling="OLD", options=dcmtk.tls(other, node.authority.file))


def test_the_doctor_sees_both_ports_and_the_day_the_certificate_ends(node: TlsNode) -> None:
    said = findings(node)
    assert f"DICOM port {node.port}: answers; our own AE title is not among those" in said
    assert f"DICOM port {node.tls_port} (TLS): answers; our own AE title is not among those" in said
    assert "go together, nothing ends within 30 days" in said
    soon = node.authority.issue("soon.example", ends=5 * DAY)
    said = findings(node, dicom_tls_certificate=soon.certificate, dicom_tls_key=soon.key)
    assert "CN=soon.example" in said
    assert "ends in 4 days" in said
    assert "has another certificate than" in said  # the running listener still has the old one
    assert "does not belong to the certificate" in findings(node, dicom_tls_key=soon.key)
    late = node.authority.issue("late.example", begins=-9 * DAY, ends=-DAY)
    said = findings(node, dicom_tls_certificate=late.certificate, dicom_tls_key=late.key)
    assert "has ended on" in said


def test_objects_go_to_a_peer_over_tls_and_only_to_the_right_one(node: TlsNode, tmp_path: Path) -> None:
    pacs = node.authority.issue("pacs.example")
    path = image(tmp_path, "1.2.9.60", SIDE)
    with dcmtk.storescp(tmp_path / "pacs", options=dcmtk.tls(pacs, node.authority.file)) as receiver:
        assert "over TLS" in node.cli("echo", receiver.address, "--tls")
        fingerprint = f"SHA256:{pacs.fingerprint}"
        assert "1 of 1 stored" in node.cli("send", path, "--to", receiver.address, "--certificate", fingerprint)
        (received,) = receiver.received()
        assert received.PixelData == dcmread(path).PixelData

        peer = PeerAddress.parse(receiver.address)
        answer = ask(node, peer, certificate="DNS:vna.example")
        assert "has another certificate than DNS:vna.example" in answer.message
        assert not ask(node, peer, tls=False).ok
        known = Destination(address=receiver.address, tls=True, certificate="CN:pacs.example")
        assert ask(node, peer, destinations=(known,)).ok
        assert f"{receiver.address} (TLS): answers C-ECHO" in findings(node, destinations=(known,))
    with dcmtk.storescp(tmp_path / "plain") as plain:
        assert "it is one with TLS" in ask(node, PeerAddress.parse(plain.address), tls=True).advice


def findings(node: TlsNode, **changed: object) -> str:
    """What the doctor says of DICOM."""
    settings, now = node.settings(**changed), datetime.now(UTC)
    found = [*ports(settings, now), *certificates(settings, now), *destinations(settings, now)]
    return "\n".join(f"{item.subject}: {item.message} {item.next_step}" for item in found)


def ask(
    node: TlsNode, peer: PeerAddress, *, tls: bool | None = None, certificate: str | None = None, **changed: object
) -> EchoOutcome:
    secured = tls_for_address(node.settings(**changed), peer, datetime.now(UTC), tls=tls, certificate=certificate)
    return echo(peer, calling_ae_title="FIRSTREAD", timeout=5, tls=secured)
