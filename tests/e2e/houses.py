"""A firstread between a sender and two archives, and what the tests ask of it."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers.dcmtk import StoreScp, send
from peers.node import Node
from peers.orthanc_server import OrthancServer
from peers.processes import eventually
from pydicom import dcmread
from pydicom.dataset import FileDataset

COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
ENHANCED_SR = "1.2.840.10008.5.1.4.1.1.88.22"
REPORTS = (COMPREHENSIVE_SR, ENHANCED_SR, "1.2.840.10008.5.1.4.1.1.88.34")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass
class House:
    """One node with its two destinations."""

    node: Node
    dcmtk: StoreScp
    orthanc: OrthancServer
    cases: dict[str, Path] = field(default_factory=dict)
    """Radiographs sent so far, by Study Instance UID."""

    def send(self, path: Path) -> str:
        """Send a file as it is; returns its Study Instance UID."""
        send(path, self.node.dicom_port)
        return str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)

    def results(self, study_uid: str) -> list[FileDataset]:
        """What DCMTK's archive holds of a study."""
        return [received for received in self.dcmtk.received() if received.StudyInstanceUID == study_uid]

    def kinds(self, study_uid: str) -> tuple[Counter[str], Counter[str]]:
        """How many objects of each kind the two archives hold of a study: DCMTK's, Orthanc's."""
        return (
            Counter(kind(str(received.SOPClassUID)) for received in self.results(study_uid)),
            Counter(map(kind, self.orthanc.sop_classes(study_uid))),
        )

    def await_kinds(self, study_uid: str, within: float = 60, **expected: int) -> None:
        """Wait until both archives hold exactly this of a study."""

        def look() -> bool:
            found = self.kinds(study_uid)
            assert found == (Counter(expected), Counter(expected)), found
            return True

        eventually(look, within=within, what=f"results of {study_uid}")


def kind(sop_class_uid: str) -> str:
    if sop_class_uid in REPORTS:
        return "SR"
    return "SC" if sop_class_uid == SECONDARY_CAPTURE else sop_class_uid


@dataclass(frozen=True)
class Phantoms:
    """Synthetic radiographs with known truth."""

    with_pneumothorax: Path
    normal: tuple[Path, ...]
    all: tuple[Path, ...]


def read_phantoms(table: Path) -> Phantoms:
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    findings = [name for name in rows[0] if name not in ("file", "sop_instance_uid")]
    normal = tuple(table.parent / r["file"] for r in rows if not any(int(r[name]) for name in findings))
    with_pneumothorax = [table.parent / r["file"] for r in rows if int(r["pneumothorax"])]
    assert with_pneumothorax, "these phantoms have no pneumothorax: take another seed"
    assert len(normal) >= 2, "these phantoms have no two normals: take another seed"
    return Phantoms(with_pneumothorax[0], normal, tuple(table.parent / r["file"] for r in rows))


def not_analysed(case: dict[str, Any]) -> list[str | None]:
    """Why, per current instance of a case."""
    return [instance["not_analysed"] for instance in case["instances"]]


def errors(validator_output: str) -> Iterable[str]:
    """Lines of dciodvfy that name an error."""
    return [line for line in validator_output.splitlines() if line.startswith("Error")]
