"""What the network tests share: the facts a listener recorded; :mod:`peers.raw_peer` for everything on the wire."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from peers.raw_peer import (
    BIG_ENDIAN,
    CR,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    RawPeer,
    element,
    encoded,
    files_below,
    part10_file,
    pdata,
    radiograph,
)

from dicom_node.acceptor import Service
from dicom_node.archive import Archive
from dicom_node.association import AssociationSummary
from dicom_node.intake import Intake
from dicom_node.listener import Listener, ListenerConfig
from triage.instances import Arrival, InstanceHeader, IntakeOutcome, StoredFile

__all__ = [
    "BIG_ENDIAN",
    "CR",
    "CT",
    "DEFLATED",
    "EXPLICIT",
    "IMPLICIT",
    "RawPeer",
    "RecordingNode",
    "element",
    "encoded",
    "files_below",
    "part10_file",
    "pdata",
    "radiograph",
]


@dataclass
class RecordingNode:
    """A listener whose record callable keeps what it is told, or answers as a test wishes."""

    archive: Archive
    config: ListenerConfig = field(default_factory=lambda: ListenerConfig(ae_title="NODE", port=0))
    outcome: IntakeOutcome | Exception = IntakeOutcome.STORED
    recorded: list[tuple[InstanceHeader, StoredFile, Arrival]] = field(default_factory=list)
    opened: list[AssociationSummary] = field(default_factory=list)
    closed: list[AssociationSummary] = field(default_factory=list)
    gate: threading.Event | None = None
    """When set by a test, recording waits for it."""
    recording: threading.Event = field(default_factory=threading.Event)
    services: Mapping[str, Service] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._condition = threading.Condition()
        self.listener = Listener(
            self.config,
            Intake(self.archive, self._record),
            on_association_open=self.opened.append,
            on_association_closed=self._closed,
            services=self.services,
        )

    def __enter__(self) -> Self:
        self.listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.stop(timeout=10.0)

    @property
    def port(self) -> int:
        return self.listener.port

    def wait_closed(self, count: int = 1, timeout: float = 20.0) -> list[AssociationSummary]:
        """The closed associations once there are ``count`` of them."""
        with self._condition:
            assert self._condition.wait_for(lambda: len(self.closed) >= count, timeout), "association stayed open"
            return list(self.closed)

    def _record(self, header: InstanceHeader, stored: StoredFile, arrival: Arrival) -> IntakeOutcome:
        self.recording.set()
        if self.gate is not None:
            assert self.gate.wait(20)
        self.recorded.append((header, stored, arrival))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def _closed(self, summary: AssociationSummary) -> None:
        with self._condition:
            self.closed.append(summary)
            self._condition.notify_all()
