"""A stand-in PACS for the demo and for tests: it takes objects into a folder and tells of each. Not an archive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dicom_node.archive import Archive
from dicom_node.commitment_provider import CommitmentProvider
from dicom_node.contexts import STORAGE_COMMITMENT
from dicom_node.intake import Intake
from dicom_node.listener import Listener, ListenerConfig
from triage.identifiers import PeerAddress
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, StoredFile


@dataclass(frozen=True, slots=True)
class ReceivedObject:
    """An object that the stand-in took: its header and where its file lies."""

    header: InstanceHeader
    path: Path
    calling_ae_title: str


class StandInPacs:
    """A Storage provider on loopback.

    Parameters
    ----------
    folder : Path
        Where received objects are kept.
    on_received : callable, optional
        Called with each object before its sender hears Success. What it raises decides the status the sender gets,
        as in :mod:`dicom_node.store_scp`: a StorageFullError makes it 0xA700, a DicomError 0xC000.
    reports_to : mapping, optional
        AE titles that may ask for storage commitment, and where the report goes. It commits to what lies in its folder
        at that moment. Without any the service is not offered.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "STANDIN",
        port: int = 0,
        on_received: Callable[[ReceivedObject], None] | None = None,
        reports_to: Mapping[str, PeerAddress] | None = None,
    ) -> None:
        self._archive = Archive(folder)
        self._on_received = on_received
        self._ae_title = ae_title
        self._condition = threading.Condition()
        self._received: list[ReceivedObject] = []
        config = ListenerConfig(ae_title=ae_title, port=port, any_called_ae_title=True)
        self._commitment = CommitmentProvider(ae_title, self._holds, reports_to or {})
        services = {STORAGE_COMMITMENT: self._commitment} if reports_to else {}
        self._listener = Listener(config, Intake(self._archive, self._record), services=services)

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.stop(timeout=5.0)
        self._commitment.wait(timeout=5.0)

    @property
    def address(self) -> PeerAddress:
        """Where to send to, known once it listens."""
        return PeerAddress(self._ae_title, "127.0.0.1", self._listener.port)

    @property
    def received(self) -> list[ReceivedObject]:
        """All objects so far, in order of arrival; a re-sent one again."""
        with self._condition:
            return list(self._received)

    def wait_for(self, count: int, timeout: float) -> list[ReceivedObject]:
        """The objects once there are ``count`` of them, or what is there after ``timeout`` seconds."""
        with self._condition:
            self._condition.wait_for(lambda: len(self._received) >= count, timeout)
            return list(self._received)

    def _holds(self, sop_instance_uid: str) -> bool:
        with self._condition:
            kept = [item.path for item in self._received if item.header.sop_instance_uid == sop_instance_uid]
        return any(path.is_file() for path in kept)

    def _record(self, header: InstanceHeader, stored: StoredFile, arrival: Arrival) -> IntakeOutcome:
        item = ReceivedObject(header, self._archive.path(stored.relative_path), arrival.calling_ae_title)
        if self._on_received is not None:
            self._on_received(item)
        with self._condition:
            self._received.append(item)
            self._condition.notify_all()
        return IntakeOutcome.STORED
