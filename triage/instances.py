"""What the node knows of an instance from its header and its file: the facts that intake hands to the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path


class IntakeOutcome(StrEnum):
    """What recording a received instance meant."""

    STORED = "STORED"
    """New SOP Instance UID."""
    DUPLICATE = "DUPLICATE"
    """Known UID, same bytes: answered Success, no new work."""
    VERSIONED = "VERSIONED"
    """Known UID, other header, same pixels: kept as the next version (a PACS re-sends after a name correction)."""
    CONFLICT = "CONFLICT"
    """Known UID, other pixels, study, series or class: both files kept, the first stays current, answered 0xA900."""
    MISPLACED = "MISPLACED"
    """New UID in a series that belongs to another study: no row; bytes in quarantine, answered 0xA900."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceHeader:
    """Index attributes of one SOP instance, decoded to text and stripped of padding.

    Only the first four are required; every other one is "" (or None) where the source has none or an unreadable value.
    Dates and times stay as the source wrote them (DA, TM): they are local to the sender.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    patient_age: str = ""
    accession_number: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    study_description: str = ""
    referring_physician_name: str = ""
    ward: str = ""
    """Where the patient is, else who asked for the images: Current Patient Location (0038,0300), else Requesting
    Service (0032,1033)."""
    series_number: str = ""
    series_description: str = ""
    instance_number: str = ""
    body_part_examined: str = ""
    view_position: str = ""
    manufacturer: str = ""
    manufacturer_model_name: str = ""
    station_name: str = ""
    requested_procedure_priority: str = ""
    """(0040,1003), STAT | HIGH | MEDIUM | ROUTINE | LOW; modalities copy it from the worklist entry."""
    number_of_study_related_instances: int | None = None
    """(0020,1208), when the sender says how many there will be."""
    rows: int | None = None
    columns: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """A Part 10 file that is durable: its bytes and its name are fsynced.

    Attributes
    ----------
    relative_path : str
        Below the archive root, with slashes; made of hashes only, never of text from the network.
    digest : str
        Of the data set as received, without preamble and file meta information: BLAKE3, or SHA-256 of an older file.
    size : int
        Bytes of the whole file.
    """

    relative_path: str
    digest: str
    size: int
    transfer_syntax_uid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """How and when an instance came.

    Attributes
    ----------
    received_at : datetime
        UTC, the node's clock, when the last byte was there.
    association_uid : str
        Identifier that the listener gave the association; the same for all its instances.
    """

    received_at: datetime
    association_uid: str
    calling_ae_title: str
    called_ae_title: str
    peer_address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantinedObject:
    """Bytes that came and could not become an instance: durable in the archive's quarantine.

    Attributes
    ----------
    reason : str
        What is wrong with them, naming attributes and never values.
    dicom_status : int
        What the sender is told (PS3.4 B.2.3).
    relative_path : Path
        Below the archive root. The same bytes from the same sender have the same path.
    digest : str
        Hex digest of the data set as received.
    size : int
        Bytes of the whole file.
    arrival : Arrival
        How and when they came.
    """

    reason: str
    dicom_status: int
    relative_path: Path
    digest: str
    size: int
    transfer_syntax_uid: str
    arrival: Arrival


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """An instance that is durable on disk and waits for its row."""

    header: InstanceHeader
    stored: StoredFile
    arrival: Arrival
