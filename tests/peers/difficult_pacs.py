"""A PACS that can be difficult in every way of its service: at the door, at the store, with its word.

A thin front takes the connections. It misbehaves by itself below DICOM's messages, and passes everything else to
pynetdicom behind it, which keeps what it is sent, commits to it and lists it.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from peers.pynetdicom_server import serving
from triage.identifiers import PeerAddress

WELL_KNOWN: Final = "1.2.840.10008.1.20.1.1"
UNCOMPRESSED: Final = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
SLOW_BYTES_PER_SECOND: Final = 1000


class Door(Enum):
    """What the front does with a connection."""

    OPEN = auto()
    CLOSED = auto()
    """Takes the connection and ends it."""
    REJECTS_FOR_NOW = auto()
    """A-ASSOCIATE-RJ, transient: local limit exceeded."""
    REJECTS_FOR_GOOD = auto()
    """A-ASSOCIATE-RJ, permanent: calling AE title not recognised."""
    KNOWS_NO_CLASS = auto()
    """Accepts the association and none of its storage classes."""
    SILENT = auto()
    """Takes the connection and says nothing."""
    SLOW = auto()
    """Reads :data:`SLOW_BYTES_PER_SECOND`."""
    ABORTS = auto()
    """A-ABORT in the middle of the first data set."""
    CUTS = auto()
    """Ends the connection when the object is stored, before its answer comes out."""


class Word(Enum):
    """What it says when asked for commitment."""

    OTHER_ASSOCIATION = auto()
    SAME_ASSOCIATION = auto()
    TWICE = auto()
    NEVER = auto()
    DENIES = auto()
    """Reports failure for everything, whatever it has."""
    LEAVES_OUT = auto()
    """Reports success without naming the objects."""
    OTHER_TRANSACTION = auto()
    """Reports success for a transaction that nobody asked for."""
    REFUSES = auto()
    """Answers the request with 0x0110."""


@dataclass
class DifficultPacs:
    """What it does, changeable at any time, and what came to it.

    Attributes
    ----------
    status : int
        Of every C-STORE. What it refuses it does not keep.
    forgets : set of str
        SOP Instance UIDs that it took and has no more.
    contents : dict
        SOP Instance UID to the SHA-256 of each data set that came under it and was answered with success, in order.
    """

    ae_title: str = "DIFFICULT"
    port: int = 0
    door: Door = Door.OPEN
    status: int = 0x0000
    word: Word = Word.OTHER_ASSOCIATION
    reports_to: PeerAddress | None = None
    forgets: set[str] = field(default_factory=set)
    contents: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    connections: int = 0
    requests: list[str] = field(default_factory=list)
    """Transaction UIDs it was asked for."""
    answers: list[int] = field(default_factory=list)
    """Statuses that its reports were answered with."""
    queries: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    sockets: list[socket.socket] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.ae_title}@127.0.0.1:{self.port}"

    @property
    def held(self) -> set[str]:
        with self.lock:
            return set(self.contents) - self.forgets

    def hang_up(self) -> None:
        """End all connections, and every further one."""
        self.door = Door.CLOSED
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    # --- behind the front, in pynetdicom's threads

    def stored(self, event: Any) -> int:
        if self.status == 0 or self.status >> 12 == 0xB:
            digest = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
            with self.lock:
                self.contents[str(event.request.AffectedSOPInstanceUID)].append(digest)
        return self.status

    def found(self, event: Any) -> Iterator[tuple[int, Dataset]]:
        self.queries += 1
        if str(event.identifier.SOPInstanceUID) in self.held:
            yield 0xFF00, event.identifier

    def asked(self, event: Any) -> tuple[int, None]:
        self.requests.append(str(event.action_information.TransactionUID))
        if self.word is Word.REFUSES:
            return 0x0110, None
        if self.word is not Word.NEVER:
            report, kind = self._report(event.action_information)
            times = 2 if self.word is Word.TWICE else 1
            target = self._report_here if self.word is Word.SAME_ASSOCIATION else self._report_elsewhere
            threading.Thread(target=target, args=(event.assoc, report, kind, times), daemon=True).start()
        return 0x0000, None

    def _report(self, request: Dataset) -> tuple[Dataset, int]:
        items = list(request.ReferencedSOPSequence)
        deny_all = self.word is Word.DENIES
        held = [i for i in items if not deny_all and i.ReferencedSOPInstanceUID in self.held]
        failed = [i for i in items if i not in held]
        for item in failed:
            item.FailureReason = 0x0112
        report = Dataset()
        wrong = self.word is Word.OTHER_TRANSACTION
        report.TransactionUID = "2.25.999" if wrong else request.TransactionUID
        if held and self.word is not Word.LEAVES_OUT:
            report.ReferencedSOPSequence = Sequence(held)
        if failed:
            report.FailedSOPSequence = Sequence(failed)
        return report, 2 if failed else 1

    def _report_here(self, association: Any, report: Dataset, kind: int, _times: int) -> None:
        time.sleep(0.05)  # the answer to the request first
        answer, _ = association.send_n_event_report(report, kind, StorageCommitmentPushModel, WELL_KNOWN)
        self.answers.append(answer.Status)

    def _report_elsewhere(self, _association: Any, report: Dataset, kind: int, times: int) -> None:
        assert self.reports_to is not None
        ae = AE(self.ae_title)
        ae.add_requested_context(StorageCommitmentPushModel)
        association = ae.associate(
            self.reports_to.host,
            self.reports_to.port,
            ae_title=self.reports_to.ae_title,
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
        )
        for _ in range(times if association.is_established else 0):
            answer, _ = association.send_n_event_report(report, kind, StorageCommitmentPushModel, WELL_KNOWN)
            self.answers.append(answer.Status)
        association.release()


@contextmanager
def difficult_pacs(*, commits: bool = True, lists: bool = True, **manners: Any) -> Iterator[DifficultPacs]:
    """A difficult PACS on a free port, or on ``port``.

    Parameters
    ----------
    commits, lists : bool
        It offers storage commitment; it answers queries at image level.
    """
    pacs = DifficultPacs(**manners)
    handlers = [(evt.EVT_C_STORE, pacs.stored), (evt.EVT_C_FIND, pacs.found), (evt.EVT_N_ACTION, pacs.asked)]
    whole, bare = AE(pacs.ae_title), AE(pacs.ae_title)
    for context in AllStoragePresentationContexts:
        whole.add_supported_context(context.abstract_syntax, UNCOMPRESSED)
    for ae in (whole, bare):
        ae.add_supported_context(Verification)
        ae.maximum_associations = 50
        if commits:
            ae.add_supported_context(StorageCommitmentPushModel)
        if lists:
            ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    with ExitStack() as stack:
        behind: dict[Door, int] = {}
        for ae, door in ((whole, Door.OPEN), (bare, Door.KNOWS_NO_CLASS)):
            behind[door] = stack.enter_context(serving(ae, handlers))
        front = socket.create_server(("127.0.0.1", pacs.port))
        pacs.port = front.getsockname()[1]
        stack.callback(front.close)
        stack.callback(front.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=_take, args=(front, pacs, behind), daemon=True).start()
        yield pacs


def _take(front: socket.socket, pacs: DifficultPacs, behind: dict[Door, int]) -> None:
    while True:
        try:
            sock, _ = front.accept()
        except OSError:
            return
        pacs.connections += 1
        pacs.sockets.append(sock)
        threading.Thread(target=_serve, args=(sock, pacs, pacs.door, behind), daemon=True).start()


def _serve(sock: socket.socket, pacs: DifficultPacs, door: Door, behind: dict[Door, int]) -> None:
    with sock, contextlib.suppress(OSError):
        match door:
            case Door.CLOSED:
                return
            case Door.REJECTS_FOR_NOW | Door.REJECTS_FOR_GOOD:
                sock.recv(65536)
                verdict = (2, 3, 2) if door is Door.REJECTS_FOR_NOW else (1, 1, 3)
                sock.sendall(struct.pack(">BxLxBBB", 3, 4, *verdict))
                sock.recv(65536)
            case Door.SILENT:
                while sock.recv(65536):
                    pass
            case _:
                port = behind[Door.KNOWS_NO_CLASS if door is Door.KNOWS_NO_CLASS else Door.OPEN]
                with socket.create_connection(("127.0.0.1", port)) as inner:
                    back = threading.Thread(target=_pump_back, args=(inner, sock, pacs, door), daemon=True)
                    back.start()
                    _pump(sock, inner, door)
                    back.join(5)


def _pump(source: socket.socket, target: socket.socket, door: Door) -> None:
    """From the sender to the PACS."""
    passed = 0
    if door is Door.SLOW:
        source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while data := source.recv(100 if door is Door.SLOW else 65536):
        passed += len(data)
        if door is Door.ABORTS and passed > 6000:  # behind the association request
            source.sendall(struct.pack(">BxLxxBB", 7, 4, 0, 0))
            return
        target.sendall(data)
        if door is Door.SLOW and passed > 6000:
            time.sleep(len(data) / SLOW_BYTES_PER_SECOND)
    target.shutdown(socket.SHUT_WR)


def _pump_back(source: socket.socket, target: socket.socket, pacs: DifficultPacs, door: Door) -> None:
    """From the PACS to the sender."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if door is Door.CUTS and pacs.contents:
                target.shutdown(socket.SHUT_RDWR)
                return
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
