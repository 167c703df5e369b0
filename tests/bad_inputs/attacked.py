"""A running firstread under attack: what it must still do after each case, and how to see what became of the input."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from peers.certificates import Authority
from peers.node import Node
from peers.processes import eventually
from peers.raw_peer import EXPLICIT, RawPeer, encoded, files_below, radiograph
from prometheus_client.parser import text_string_to_metric_families
from pydicom.dataset import Dataset

from dicom_node import dimse
from dicom_node.contexts import VERIFICATION
from triage.database import Database
from triage.tables import Event, Instance, Quarantined, Study

KNOWN: Final = "KNOWN"
"""A calling AE title that may send from here."""
ELSEWHERE: Final = "ELSEWHERE"
"""One that may send, but from another network."""
PLACES: Final = 24
"""Associations that the node under attack has room for."""
DATA_SET_MEGABYTES: Final = 16
"""The longest data set it takes."""
ROOT: Final = "1.2.826.0.1.3680043.9.7777"
"""Of the UIDs in these tests."""
FAST: Final = 10.0
"""Seconds in which a known peer is served, whatever else goes on: well below the 30 that others may take."""

RAW_DATA: Final = "1.2.840.10008.5.1.4.1.1.66"

_numbers = itertools.count(1)


def new_uid() -> str:
    """A UID that no other test of this run uses."""
    return f"{ROOT}.{next(_numbers)}"


def picture(**attributes: Any) -> Dataset:
    """A radiograph too small for any network, in a study of its own, of an invented patient."""
    own = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    return radiograph(new_uid(), **{**own, **attributes})


class Peer(RawPeer):
    """A raw peer that calls as :data:`KNOWN`."""

    def associate(self, *contexts: tuple[str, str], **arguments: Any) -> tuple[int, bytes]:
        return super().associate(*contexts, **{"calling": KNOWN, "called": "FIRSTREAD", **arguments})

    def admitted(self, *contexts: tuple[str, str]) -> Peer:
        """The same peer, with an association."""
        kind, body = self.associate(*contexts)
        assert kind == 2, (kind, body[:4])
        return self

    def echo(self, *, context_id: int = 1) -> int | None:
        self.command(dimse.echo_request(7), context_id=context_id)
        return self.response().status

    def send_object(self, dataset: Dataset) -> dimse.CommandSet:
        """C-STORE of a data set under its own UID."""
        return self.store(encoded(dataset), sop_instance=str(dataset.SOPInstanceUID))


@dataclass
class Attacked:
    """The node, its database and a peer that must never notice anything."""

    node: Node
    database: Database
    tls_port: int
    authority: Authority
    """Whom the node trusts, and who issued its own certificate."""
    greeting: Dataset = field(default_factory=lambda: picture(Modality="SR", SOPClassUID=RAW_DATA))
    """What the known peer sends: no network reads it, so it costs the house nothing."""

    @property
    def port(self) -> int:
        return self.node.dicom_port

    def peer(self) -> Peer:
        return Peer(self.port)

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """Fails when what happens inside ends a process or another association, slows a known peer or leaves a part."""
        parts, files, long = self.node.parts(), set(self.parts_of_files()), self.peer()
        with long:
            self.greet(long.admitted((RAW_DATA, EXPLICIT), (VERIFICATION, EXPLICIT)))
            yield
            self.greet(long)
            assert long.release() == 6
        start = time.monotonic()
        with self.peer() as short:
            self.greet(short.admitted((RAW_DATA, EXPLICIT), (VERIFICATION, EXPLICIT)))
            assert short.release() == 6
        assert time.monotonic() - start < FAST
        assert self.node.parts() == parts
        eventually(lambda: files.issuperset(self.parts_of_files()), within=5, what="broken transfers leave nothing")

    def greet(self, peer: Peer) -> None:
        """Echo and store over an association with both contexts."""
        start = time.monotonic()
        assert peer.echo(context_id=3) == 0
        greeting = encoded(self.greeting)
        assert peer.store(greeting, sop_class=RAW_DATA, sop_instance=str(self.greeting.SOPInstanceUID)).status == 0
        assert time.monotonic() - start < FAST

    def parts_of_files(self) -> list[Path]:
        return files_below(self.node.data / "archive" / "incoming")

    def memory(self) -> int:
        """Bytes resident in the processes that listen."""
        return sum(map(_resident, _family(self.node.parts()["listen"])))

    def threads_and_descriptors(self) -> tuple[int, int]:
        """Of the processes that listen."""
        listening = _family(self.node.parts()["listen"])
        return tuple(sum(len(os.listdir(f"/proc/{pid}/{what}")) for pid in listening) for what in ("task", "fd"))  # noqa: PTH208

    def log_after(self, position: int) -> str:
        with self.node.log.open("rb") as file:
            file.seek(position)
            return file.read().decode(errors="replace")

    @property
    def log_size(self) -> int:
        return self.node.log.stat().st_size

    def counter(self, name: str) -> float:
        """A metric without labels."""
        families = text_string_to_metric_families(self.node.http.get("/metrics").text)
        return next(s.value for family in families for s in family.samples if s.name == name)

    def rows(self, query: sa.Select[Any]) -> list[Any]:
        with self.database.read() as session:
            return list(session.scalars(query))

    def instances(self, sop_instance_uid: str) -> list[Instance]:
        """All versions, in order of arrival."""
        return self.rows(sa.select(Instance).where(Instance.sop_instance_uid == sop_instance_uid).order_by(Instance.id))

    def study(self, study_instance_uid: str) -> Study:
        (study,) = self.rows(sa.select(Study).where(Study.study_instance_uid == study_instance_uid))
        return study

    def events(self, kind: str) -> list[Event]:
        return self.rows(sa.select(Event).where(Event.kind == kind).order_by(Event.id))

    @contextmanager
    def one_more_in_quarantine(self, body: bytes, status: int, word: str = "") -> Iterator[None]:
        """What happens inside puts these bytes into quarantine: file and note, row, event and counter."""
        counted = self.counter("firstread_quarantined_total")
        told = len(self.events("instance_quarantined"))
        known = set(self.rows(sa.select(Quarantined.id)))
        yield
        assert self.counter("firstread_quarantined_total") == counted + 1
        *_, event = self.events("instance_quarantined")
        assert len(self.events("instance_quarantined")) == told + 1
        (row,) = (row for row in self.rows(sa.select(Quarantined)) if row.id not in known)
        kept = self.node.data / "archive" / row.relative_path
        assert kept.read_bytes().endswith(body)
        assert json.loads(kept.with_suffix(".json").read_text())["reason"] == row.reason == event.detail["reason"]
        assert (row.dicom_status, row.calling_ae_title, row.peer_address) == (status, KNOWN, "127.0.0.1")
        assert word in row.reason


def _family(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
