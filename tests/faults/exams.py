"""Endless small studies of invented patients: encoded once, then only their UIDs and Patient ID are replaced."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Final

import numpy as np
from peers.replay_sender import Instance
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite

from models.phantom import generate, to_dataset

EXPLICIT: Final = "1.2.840.10008.1.2.1"
CT: Final = "1.2.840.10008.5.1.4.1.1.2"
PATIENT: Final = "RIG-00000000"
TAKEN_AT: Final = datetime(2026, 1, 5, 8, tzinfo=UTC)
_STUDY, _SERIES, _INSTANCE = (f"2.25.{digit * 39}" for digit in "345")
"""Placeholders; as long as every UID that replaces them."""


@dataclass(frozen=True)
class Exam:
    """A study as a modality sends it."""

    study_uid: str
    instances: Sequence[Instance]


@dataclass
class Exams:
    """A source of studies, the same ones for the same seed.

    Parameters
    ----------
    size : int
        Longer side of the radiographs in pixels.
    """

    seed: int
    size: int = 320
    _random: random.Random = field(init=False)
    _radiographs: list[tuple[str, bytes]] = field(init=False)
    _slice: bytes = field(init=False)
    _number: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        phantoms = (to_dataset(generate(11, n, size=self.size), 11, n, taken_at=TAKEN_AT) for n in range(4))
        self._radiographs = [(str(ds.SOPClassUID), _template(ds)) for ds in phantoms]
        self._slice = _template(_ct_slice())

    def radiograph(self, images: int = 1) -> Exam:
        """A study that the shipped bundle for phantoms reads."""
        sop_class, template = self._random.choice(self._radiographs)
        return self._exam([(sop_class, template)] * images)

    def ct(self, slices: int = 3) -> Exam:
        """A study that no bundle reads."""
        return self._exam([(CT, self._slice)] * slices)

    def any(self) -> Exam:
        """Mostly radiographs of one image, sometimes of two, sometimes CT."""
        drawn = self._random.random()
        if drawn < 0.6:
            return self.radiograph()
        return self.radiograph(2) if drawn < 0.75 else self.ct(self._random.randint(1, 4))

    def more(self, exam: Exam, images: int = 1) -> Exam:
        """Further instances of the same study, as they arrive late."""
        patient = exam.instances[0].data_set
        at = patient.index(b"RIG-")
        parts = []
        for _ in range(images):
            sop_class, template = self._random.choice(self._radiographs)
            parts.append(
                self._instance(sop_class, template, exam.study_uid, self._uid(), patient[at : at + len(PATIENT)])
            )
        return Exam(exam.study_uid, parts)

    def _exam(self, parts: Sequence[tuple[str, bytes]]) -> Exam:
        self._number += 1
        study, series = self._uid(), self._uid()
        patient = f"RIG-{self._number:08d}".encode()
        return Exam(study, [self._instance(c, template, study, series, patient) for c, template in parts])

    def _instance(self, sop_class: str, template: bytes, study: str, series: str, patient: bytes) -> Instance:
        uid = self._uid()
        data = template.replace(_STUDY.encode(), study.encode()).replace(_SERIES.encode(), series.encode())
        data = data.replace(_INSTANCE.encode(), uid.encode()).replace(PATIENT.encode(), patient)
        return Instance.made(sop_class, uid, EXPLICIT, data)

    def _uid(self) -> str:
        return f"2.25.{self._random.randrange(10**38, 2**128)}"


def altered_pixels(instance: Instance) -> Instance:
    """The same SOP Instance UID with another last pixel."""
    data = bytearray(instance.data_set)
    data[-1] ^= 1
    return Instance.made(instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid, bytes(data))


def _template(dataset: Dataset) -> bytes:
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = _STUDY, _SERIES, _INSTANCE
    dataset.PatientID, dataset.PatientName, dataset.PatientSex = PATIENT, "Rig^Invented", "O"
    dataset.PatientBirthDate, dataset.PatientAge, dataset.AccessionNumber = "19700101", "056Y", "RIG"
    dataset.file_meta.MediaStorageSOPInstanceUID = _INSTANCE
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    whole = buffer.getvalue()
    return whole[144 + int.from_bytes(whole[140:144], "little") :]


def _ct_slice() -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CT
    ds.file_meta.TransferSyntaxUID = EXPLICIT
    ds.Modality, ds.SpecificCharacterSet, ds.Manufacturer = "CT", "ISO_IR 192", "Rig"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "20260105", "080000", ""
    ds.Rows = ds.Columns = 64
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.PixelData = np.arange(64 * 64, dtype=np.uint16).tobytes()
    return ds
