"""What came: studies, associations, instances, and what could not become one.

The migrations add to :class:`Study` what only one database has. ``studies_search`` finds text: on SQLite an FTS5 table,
on PostgreSQL a copy of the texts with an index of their pieces; triggers keep both. On SQLite ``ix_studies_open_order``
and ``ix_studies_order`` also hold what a walk is filtered by.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from triage.columns import Base
from triage.findings import NotAnalysedReason, Urgency
from triage.searching import search_text
from triage.states import ReadingStatus, StudyStatus

if TYPE_CHECKING:
    from triage.tables.analysed import Analysis
    from triage.tables.assessed import MissedFinding
    from triage.tables.house import Event


def _search_text(context: Any) -> str:
    """For a new row, however it is inserted."""
    said = context.get_current_parameters()
    return search_text(*(said.get(name) or "" for name in SEARCHED))


SEARCHED: Final = (
    "patient_id", "patient_name", "accession_number", "study_description", "ward", "order_ward",
)  # fmt: skip
"""What :attr:`Study.search_text` is made of."""


class Study(Base):
    """A study: the worklist item, its place in the order and why."""

    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(unique=True)
    patient_id: Mapped[str] = mapped_column(default="", index=True)
    issuer_of_patient_id: Mapped[str] = mapped_column(default="")
    patient_name: Mapped[str] = mapped_column(default="")
    patient_birth_date: Mapped[str] = mapped_column(default="")
    patient_sex: Mapped[str] = mapped_column(default="")
    patient_age: Mapped[str] = mapped_column(default="")
    accession_number: Mapped[str] = mapped_column(default="", index=True)
    study_id: Mapped[str] = mapped_column(default="")
    study_date: Mapped[str] = mapped_column(default="")
    study_time: Mapped[str] = mapped_column(default="")
    study_description: Mapped[str] = mapped_column(default="")
    referring_physician_name: Mapped[str] = mapped_column(default="")
    ward: Mapped[str] = mapped_column(default="")
    """What its images say of where the patient is (:attr:`triage.instances.InstanceHeader.ward`)."""
    order_ward: Mapped[str] = mapped_column(default="")
    """What its orders say of that; shown where the images say nothing."""
    modality: Mapped[str] = mapped_column(default="")
    """Distinct modalities of its instances, sorted, separated by a backslash as in (0008,0061)."""
    body_part_examined: Mapped[str] = mapped_column(default="")
    calling_ae_title: Mapped[str] = mapped_column(default="")
    search_text: Mapped[str] = mapped_column(default=_search_text)
    """What it is found by (:func:`triage.searching.search_text`); it follows the texts by itself."""

    status: Mapped[StudyStatus] = mapped_column(default=StudyStatus.RECEIVING)
    status_reason: Mapped[str] = mapped_column(default="")
    revision: Mapped[int] = mapped_column(default=1)
    """Rises when an image arrives after the analysis of the one before was finished."""
    look_at: Mapped[datetime | None]
    """When the completion rule must look again although nothing happens."""
    opened_at: Mapped[datetime]
    received_at: Mapped[datetime]
    """Arrival of the first instance; due times count from here."""
    last_received_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    expected_instances: Mapped[int | None]
    instance_count: Mapped[int] = mapped_column(default=0)
    flags: Mapped[list[Any]] = mapped_column(default=list)
    """Warnings that the list shows: "conflict", "identity_changed", "no_identity", "two_patients",
    "order_mismatch"."""

    header_urgency: Mapped[Urgency | None]
    """What its images carry: Requested Procedure Priority (0040,1003)."""
    order_urgency: Mapped[Urgency | None]
    """The highest of that and of the orders that stand for it."""
    rule_urgency: Mapped[Urgency | None]
    rule_reason: Mapped[str] = mapped_column(default="")
    ai_urgency: Mapped[Urgency | None]
    ai_reason: Mapped[str] = mapped_column(default="")
    positives: Mapped[str] = mapped_column(default="")
    """What is over its threshold in the findings that are shown (:func:`triage.searching.positives_text`)."""
    manual_urgency: Mapped[Urgency | None]
    manual_by: Mapped[str] = mapped_column(default="")
    manual_reason: Mapped[str] = mapped_column(default="")
    urgency: Mapped[Urgency] = mapped_column(default=Urgency.ROUTINE)
    tier: Mapped[int] = mapped_column(default=1)
    due_at: Mapped[datetime]
    explanation: Mapped[str] = mapped_column(default="")

    reading_status: Mapped[ReadingStatus] = mapped_column(default=ReadingStatus.UNREAD)
    reader: Mapped[str] = mapped_column(default="")
    claimed_at: Mapped[datetime | None]
    claim_seen_at: Mapped[datetime | None]
    """When the reader who has claimed it last gave a sign; the claim runs out some time after."""
    read_at: Mapped[datetime | None]

    instances: Mapped[list[Instance]] = relationship(back_populates="study", order_by="Instance.id")
    analyses: Mapped[list[Analysis]] = relationship(back_populates="study", order_by="Analysis.id")
    events: Mapped[list[Event]] = relationship(back_populates="study", order_by="Event.id")
    missed: Mapped[list[MissedFinding]] = relationship(order_by="MissedFinding.id", viewonly=True)

    __table_args__ = (
        Index(
            "ix_studies_open_order",
            "tier",
            "due_at",
            "id",
            sqlite_where=sa.text("reading_status != 'READ'"),
            postgresql_where=sa.text("reading_status != 'READ'"),
        ),
        Index("ix_studies_order", "tier", "due_at", "id"),
        Index(
            "ix_studies_positives",
            "tier",
            "due_at",
            "id",
            "positives",
            sqlite_where=sa.text("positives != ''"),
            postgresql_where=sa.text("positives != ''"),
        ),
        Index(  # all that the statistics ask of a study
            "ix_studies_received_at",
            "received_at",
            "urgency",
            "reading_status",
            "read_at",
            "due_at",
            "claimed_at",
            "modality",
            "calling_ae_title",
        ),
        Index(
            "ix_studies_open_urgency",
            "urgency",
            sqlite_where=sa.text("reading_status != 'READ'"),
            postgresql_where=sa.text("reading_status != 'READ'"),
        ),
        Index(
            "ix_studies_claimed",
            "claim_seen_at",
            sqlite_where=sa.text("reading_status = 'CLAIMED'"),
            postgresql_where=sa.text("reading_status = 'CLAIMED'"),
        ),
        Index(
            "ix_studies_look_at",
            "look_at",
            sqlite_where=sa.text("look_at IS NOT NULL"),
            postgresql_where=sa.text("look_at IS NOT NULL"),
        ),
    )


@sa.event.listens_for(Study, "before_update")
def _follow(_mapper: Any, _connection: Any, study: Study) -> None:
    study.search_text = search_text(*(getattr(study, name) for name in SEARCHED))


class Association(Base):
    """An association that sent something. Open ones hold a study open; a lost listener's are closed by the sweep."""

    __tablename__ = "associations"

    id: Mapped[int] = mapped_column(primary_key=True)
    association_uid: Mapped[str] = mapped_column(unique=True)
    listener: Mapped[str]
    calling_ae_title: Mapped[str]
    called_ae_title: Mapped[str]
    peer_address: Mapped[str]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "ix_associations_open",
            "id",
            sqlite_where=sa.text("closed_at IS NULL"),
            postgresql_where=sa.text("closed_at IS NULL"),
        ),
    )


class Instance(Base):
    """One received version of an SOP instance. Only ``is_current`` and what concerns its file change later."""

    __tablename__ = "instances"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    association_id: Mapped[int | None] = mapped_column(ForeignKey("associations.id"))
    sop_instance_uid: Mapped[str]
    version: Mapped[int] = mapped_column(default=1)
    is_current: Mapped[bool] = mapped_column(default=True)
    series_instance_uid: Mapped[str]
    sop_class_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    modality: Mapped[str] = mapped_column(default="")
    series_number: Mapped[str] = mapped_column(default="")
    series_description: Mapped[str] = mapped_column(default="")
    instance_number: Mapped[str] = mapped_column(default="")
    view_position: Mapped[str] = mapped_column(default="")
    manufacturer: Mapped[str] = mapped_column(default="")
    patient_id: Mapped[str] = mapped_column(default="")
    relative_path: Mapped[str]
    digest: Mapped[str]
    size: Mapped[int]
    calling_ae_title: Mapped[str] = mapped_column(default="")
    received_at: Mapped[datetime]
    not_analysed: Mapped[NotAnalysedReason | None]
    """Set at intake when no network will ever look at it: a report, or a result of ours that came back."""
    checked_at: Mapped[datetime | None]
    """When the file was last read and compared with its digest."""
    damage: Mapped[str] = mapped_column(default="")
    """"missing" or "altered" when that comparison failed; empty while the file is sound."""
    removed_at: Mapped[datetime | None]
    """When retention removed the file; the row stays."""

    study: Mapped[Study] = relationship(back_populates="instances")

    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "version"),
        Index("ix_instances_checked_at", "checked_at"),
        Index("ix_instances_series", "series_instance_uid", "study_id"),
        Index("ix_instances_association_study", "association_id", "study_id"),
    )


class Quarantined(Base):
    """Bytes that came and could not become an instance: kept in the archive's quarantine, with the reason."""

    __tablename__ = "quarantined"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    reason: Mapped[str]
    """What is wrong with them, naming attributes and never values."""
    dicom_status: Mapped[int]
    """What the sender was told."""
    relative_path: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str]
    size: Mapped[int]
    transfer_syntax_uid: Mapped[str] = mapped_column(default="")
    calling_ae_title: Mapped[str] = mapped_column(default="")
    peer_address: Mapped[str] = mapped_column(default="")
    association_uid: Mapped[str] = mapped_column(default="")
    dismissed_at: Mapped[datetime | None]
    """When a person has dealt with it."""
    dismissed_by: Mapped[str] = mapped_column(default="")
