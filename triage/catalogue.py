"""What the node says about its studies when another system asks: plain facts, and what a question narrows them to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from triage.findings import Urgency
from triage.states import ReadingStatus, StudyStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFacts:
    """A study as its row says it: index attributes as received, and its place in the reading order.

    Attributes
    ----------
    id : int
        Of its row; the number under which it is named where a short identifier is asked for.
    modality : str
        Modalities in Study (0008,0061), separated by backslashes.
    instances : int
        That are here.
    ward : str
        Where the patient is, as the list shows it.
    due_at, received_at : datetime
        Aware, UTC.
    """

    id: int
    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    patient_age: str
    accession_number: str
    study_id: str
    study_date: str
    study_time: str
    study_description: str
    referring_physician_name: str
    body_part_examined: str
    modality: str
    instances: int
    status: StudyStatus
    reading_status: ReadingStatus
    reader: str
    urgency: Urgency
    explanation: str
    received_at: datetime
    due_at: datetime
    ward: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesFacts:
    """A series of a study, from its current instances."""

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    series_number: str
    series_description: str
    instances: int


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceFacts:
    """A current instance of a series."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    instance_number: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Narrowing:
    """What a database can do for a question: it may leave out only what cannot match, and need not leave out all of it.

    Attributes
    ----------
    unread : bool
        Only cases of the open reading list.
    study_uids : tuple of str
        Any of these; empty for any at all. So for the next two.
    patterns : tuple of (attribute of StudyFacts, pattern of DICOM wildcard matching)
        Texts in which ``*`` and ``?`` stand for others; compared without regard to case.
    study_dates : tuple of (str, str)
        DA, first and last day; "" for open ends.
    """

    unread: bool = False
    study_uids: tuple[str, ...] = ()
    patient_ids: tuple[str, ...] = ()
    accession_numbers: tuple[str, ...] = ()
    patterns: tuple[tuple[str, str], ...] = ()
    study_dates: tuple[str, str] = ("", "")


Accept = Callable[[StudyFacts], bool]


class Catalogue(Protocol):
    """Who knows the studies; each answer is as of one moment and holds no connection afterwards."""

    def studies(self, narrowing: Narrowing, accept: Accept, limit: int) -> Sequence[StudyFacts]:
        """Up to ``limit`` studies that are accepted: open cases in reading order, then read ones, latest first."""
        ...

    def series(self, study_uid: str) -> Sequence[SeriesFacts]:
        """The series of a study, by number."""
        ...

    def instances(self, study_uid: str, series_uid: str) -> Sequence[InstanceFacts]:
        """The current instances of a series, by number."""
        ...
