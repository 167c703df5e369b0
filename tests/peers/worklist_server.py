"""DCMTK's wlmscpfs: a Modality Worklist provider that answers from files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from peers.dcmtk import PROMPT
from peers.processes import await_port, free_port, program, running


@dataclass(frozen=True)
class WorklistServer:
    """A running wlmscpfs whose entries are files of a folder."""

    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"RIS@127.0.0.1:{self.port}"

    def schedule(self, accession: str, priority: str, *, patient_id: str, procedure: str = "RP1", **more: str) -> Path:
        """An examination that is scheduled; the same accession number and procedure again replaces it."""
        entry = Dataset()
        entry.SpecificCharacterSet = "ISO_IR 100"
        entry.AccessionNumber = accession
        entry.PatientName = "Keller^Anna"
        entry.PatientID = patient_id
        entry.PatientBirthDate, entry.PatientSex = "19610314", "F"
        entry.StudyInstanceUID = "1.2.3"
        entry.RequestedProcedureDescription = "Chest"
        entry.RequestedProcedureID = procedure
        entry.RequestedProcedurePriority = priority
        for keyword, value in more.items():
            setattr(entry, keyword, value)
        step = Dataset()
        step.Modality = "DX"
        step.ScheduledStationAETitle = "DX1"
        step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20260301", "1200"
        step.ScheduledPerformingPhysicianName = ""
        step.ScheduledProcedureStepDescription = "Chest PA"
        step.ScheduledProcedureStepID = procedure
        entry.ScheduledProcedureStepSequence = [step]
        entry.file_meta = FileMetaDataset()
        entry.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        entry.file_meta.MediaStorageSOPClassUID = "1.2.276.0.7230010.3.1.0.1"
        entry.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        path = self.folder / f"{accession}-{procedure}.wl"
        entry.save_as(path, enforce_file_format=True)
        return path


@contextmanager
def worklist_server(folder: Path) -> Iterator[WorklistServer]:
    """wlmscpfs with the AE title RIS and no entries."""
    entries = folder / "worklists" / "RIS"
    entries.mkdir(parents=True)
    (entries / "lockfile").touch()
    port = free_port()
    log = folder / "wlmscpfs.log"
    command = [program("wlmscpfs"), "-dfr", "-dfp", entries.parent, str(port)]
    with running(*command, log=log, env=PROMPT) as process:
        await_port(process, port, log)
        yield WorklistServer(port, entries)
