"""The tables: what is known, what is owed, what happened.

Times are UTC. Enumerations are stored as their text. A study's urgency columns and its place ``(tier, due_at)`` are
written together by :mod:`triage.repositories.placing`; nobody else touches them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from triage.columns import Base
from triage.findings import NotAnalysedReason, ScoreKind, Urgency
from triage.states import AnalysisStatus, DeliveryStatus, ReadingStatus, StudyStatus


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
    modality: Mapped[str] = mapped_column(default="")
    """Distinct modalities of its instances, sorted, separated by a backslash as in (0008,0061)."""
    body_part_examined: Mapped[str] = mapped_column(default="")
    calling_ae_title: Mapped[str] = mapped_column(default="")

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
    """Warnings that the list shows: "conflict", "identity_changed", "no_identity", "two_patients"."""

    order_urgency: Mapped[Urgency | None]
    rule_urgency: Mapped[Urgency | None]
    ai_urgency: Mapped[Urgency | None]
    ai_reason: Mapped[str] = mapped_column(default="")
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
    read_at: Mapped[datetime | None]

    instances: Mapped[list[Instance]] = relationship(back_populates="study", order_by="Instance.id")
    analyses: Mapped[list[Analysis]] = relationship(back_populates="study", order_by="Analysis.id")
    events: Mapped[list[Event]] = relationship(back_populates="study", order_by="Event.id")

    __table_args__ = (
        Index(
            "ix_studies_open_order",
            "tier",
            "due_at",
            "id",
            sqlite_where=sa.text("reading_status != 'READ'"),
            postgresql_where=sa.text("reading_status != 'READ'"),
        ),
        Index(
            "ix_studies_look_at",
            "look_at",
            sqlite_where=sa.text("look_at IS NOT NULL"),
            postgresql_where=sa.text("look_at IS NOT NULL"),
        ),
    )


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


class Instance(Base):
    """One received version of an SOP instance. Rows are never changed but for ``is_current``."""

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
    sha256: Mapped[str]
    size: Mapped[int]
    calling_ae_title: Mapped[str] = mapped_column(default="")
    received_at: Mapped[datetime]
    not_analysed: Mapped[NotAnalysedReason | None]
    """Set at intake when no network will ever look at it: a report, or a result of ours that came back."""

    study: Mapped[Study] = relationship(back_populates="instances")

    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "version"),
        Index("ix_instances_association_study", "association_id", "study_id"),
    )


class Analysis(Base):
    """One study × one bundle version × one revision. Bundle columns are empty until an image has been routed."""

    __tablename__ = "analyses"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    revision: Mapped[int]
    bundle_name: Mapped[str] = mapped_column(default="")
    bundle_version: Mapped[str] = mapped_column(default="")
    weights_sha256: Mapped[str] = mapped_column(default="")
    research: Mapped[bool] = mapped_column(default=False)
    """The bundle is for research only; said wherever its findings are shown."""
    disclaimer: Mapped[str] = mapped_column(default="")
    status: Mapped[AnalysisStatus] = mapped_column(default=AnalysisStatus.QUEUED)
    reason: Mapped[str] = mapped_column(default="")
    due: Mapped[bool] = mapped_column(default=True)
    """False while it waits for the rest of the study."""
    not_before: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    token: Mapped[str] = mapped_column(default="")
    lease_until: Mapped[datetime | None]
    holder: Mapped[str] = mapped_column(default="")
    """Name of the process that holds the lease, as in its heartbeat."""
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    scored_at: Mapped[datetime | None]
    """When findings were committed and the order changed; results follow when the study is complete."""
    finished_at: Mapped[datetime | None]

    study: Mapped[Study] = relationship(back_populates="analyses")
    images: Mapped[list[AnalysisImage]] = relationship(
        back_populates="analysis", order_by="AnalysisImage.id", cascade="all, delete-orphan"
    )
    result_objects: Mapped[list[ResultObject]] = relationship(back_populates="analysis", order_by="ResultObject.id")

    __table_args__ = (
        UniqueConstraint("study_id", "revision", "bundle_name"),
        Index(
            "ix_analyses_open",
            "status",
            "due",
            sqlite_where=sa.text("status IN ('QUEUED', 'RUNNING')"),
            postgresql_where=sa.text("status IN ('QUEUED', 'RUNNING')"),
        ),
    )


class AnalysisImage(Base):
    """What an analysis did with one image: scored it (no reason), or left it out with a reason."""

    __tablename__ = "analysis_images"

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)
    instance_id: Mapped[int] = mapped_column(ForeignKey("instances.id"), index=True)
    reason: Mapped[NotAnalysedReason | None]
    detail: Mapped[str] = mapped_column(default="")
    preview_path: Mapped[str] = mapped_column(default="")
    """JPEG of the image as displayed, below the results root; empty when there is none."""
    overlay_path: Mapped[str] = mapped_column(default="")
    """The same with the heat map."""

    analysis: Mapped[Analysis] = relationship(back_populates="images")
    instance: Mapped[Instance] = relationship()
    findings: Mapped[list[Finding]] = relationship(
        back_populates="image", order_by="Finding.id", cascade="all, delete-orphan"
    )

    __table_args__ = (UniqueConstraint("analysis_id", "instance_id"),)


class Finding(Base):
    """A :class:`triage.findings.Finding` at rest."""

    __tablename__ = "findings"

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("analysis_images.id"), index=True)
    key: Mapped[str]
    code_value: Mapped[str]
    code_scheme: Mapped[str]
    code_meaning: Mapped[str]
    site_value: Mapped[str] = mapped_column(default="")
    site_scheme: Mapped[str] = mapped_column(default="")
    site_meaning: Mapped[str] = mapped_column(default="")
    value: Mapped[float]
    threshold: Mapped[float]
    kind: Mapped[ScoreKind]
    urgency: Mapped[Urgency]
    positive: Mapped[bool]
    outline: Mapped[list[Any]] = mapped_column(default=list)
    """Closed polygon of (column, row) in source pixels; empty without region."""
    peak: Mapped[list[Any]] = mapped_column(default=list)

    image: Mapped[AnalysisImage] = relationship(back_populates="findings")


class ResultObject(Base):
    """A built SR or SC: frozen bytes below the results root."""

    __tablename__ = "result_objects"

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)
    kind: Mapped[str]
    """"SR" or "SC"."""
    source_instance_id: Mapped[int | None] = mapped_column(ForeignKey("instances.id"), index=True)
    """The one image it shows; none for a report, which is about the study."""
    sop_instance_uid: Mapped[str] = mapped_column(unique=True)
    sop_class_uid: Mapped[str]
    series_instance_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    relative_path: Mapped[str]
    sha256: Mapped[str]
    size: Mapped[int]
    created_at: Mapped[datetime]

    analysis: Mapped[Analysis] = relationship(back_populates="result_objects")
    deliveries: Mapped[list[Delivery]] = relationship(back_populates="result_object", order_by="Delivery.id")


class Delivery(Base):
    """One result object owed to one destination."""

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    result_object_id: Mapped[int] = mapped_column(ForeignKey("result_objects.id"), index=True)
    destination: Mapped[str]
    status: Mapped[DeliveryStatus] = mapped_column(default=DeliveryStatus.PENDING)
    reason: Mapped[str] = mapped_column(default="")
    """Why it is not there yet, or why it was given up."""
    attempt_count: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime | None]
    token: Mapped[str] = mapped_column(default="")
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]

    result_object: Mapped[ResultObject] = relationship(back_populates="deliveries")
    attempts: Mapped[list[DeliveryAttempt]] = relationship(back_populates="delivery", order_by="DeliveryAttempt.id")

    __table_args__ = (
        UniqueConstraint("result_object_id", "destination"),
        Index(
            "ix_deliveries_open",
            "destination",
            "not_before",
            sqlite_where=sa.text("status IN ('PENDING', 'SENDING')"),
            postgresql_where=sa.text("status IN ('PENDING', 'SENDING')"),
        ),
    )


class DeliveryAttempt(Base):
    """One try, kept for ever: what the destination said."""

    __tablename__ = "delivery_attempts"

    id: Mapped[int] = mapped_column(primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("deliveries.id"), index=True)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    dicom_status: Mapped[int | None]
    error: Mapped[str] = mapped_column(default="")

    delivery: Mapped[Delivery] = relationship(back_populates="attempts")


class Event(Base):
    """Append-only: who did what to which study, when and why. Its id orders the life of the house."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id"), index=True)
    at: Mapped[datetime]
    kind: Mapped[str]
    """Constant snake-case name, such as "study_complete"."""
    who: Mapped[str] = mapped_column(default="")
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)

    study: Mapped[Study | None] = relationship(back_populates="events")

    __table_args__ = ({"sqlite_autoincrement": True},)


class Installation(Base):
    """One row: who this installation is, for its whole life."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(primary_key=True)
    device_uid: Mapped[str]
    created_at: Mapped[datetime]


class Heartbeat(Base):
    """A living process says so every few seconds; `/healthz` and the doctor read it."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    """part@host:pid"""
    part: Mapped[str]
    started_at: Mapped[datetime]
    at: Mapped[datetime]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
