"""What was found: analyses, their images, findings and result objects."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from triage.columns import Base
from triage.findings import Laterality, NotAnalysedReason, ScoreKind, Urgency
from triage.states import AnalysisStatus

if TYPE_CHECKING:
    from triage.tables.assessed import FindingVerdict
    from triage.tables.delivered import Delivery
    from triage.tables.received import Instance, Study


class Analysis(Base):
    """One study × one bundle version × one revision. Bundle columns are empty until an image has been routed."""

    __tablename__ = "analyses"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    revision: Mapped[int]
    bundle_name: Mapped[str] = mapped_column(default="")
    bundle_version: Mapped[str] = mapped_column(default="")
    weights_sha256: Mapped[str] = mapped_column(default="")
    research: Mapped[bool] = mapped_column(default=False)
    """The bundle is for research only; said wherever its findings are shown."""
    disclaimer: Mapped[str] = mapped_column(default="")
    limits: Mapped[list[Any]] = mapped_column(default=list)
    """What the bundle says that it cannot do, one sentence each."""
    calibration: Mapped[str] = mapped_column(default="")
    """How its scores were calibrated, in words."""
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
        Index("ix_analyses_study_id", "study_id", "scored_at"),
        Index("ix_analyses_scored_at", "scored_at"),
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
    """More about the reason, for people; of a scored slice its place in the series."""
    preview_path: Mapped[str] = mapped_column(default="")
    """JPEG of the image as displayed, below the results root; empty when there is none."""
    overlay_path: Mapped[str] = mapped_column(default="")
    """The same with the heat map."""
    routing: Mapped[list[Any]] = mapped_column(default=list)
    """What every bundle said to the image, in the order of asking: bundle, version, refusal (null: it reads the image),
    remarks. Empty where none was asked, and in rows of before this column."""

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
    laterality: Mapped[Laterality | None]
    """Side of the site, where the bundle claims one."""
    value: Mapped[float]
    threshold: Mapped[float]
    kind: Mapped[ScoreKind]
    urgency: Mapped[Urgency]
    positive: Mapped[bool]
    outline: Mapped[list[Any]] = mapped_column(default=list)
    """Closed polygon of (column, row) in source pixels; empty without region."""
    peak: Mapped[list[Any]] = mapped_column(default=list)
    heat_path: Mapped[str] = mapped_column(default="")
    """PNG of its activation over the whole image, 8-bit grey, below the results root; empty when there is none."""

    image: Mapped[AnalysisImage] = relationship(back_populates="findings")
    verdicts: Mapped[list[FindingVerdict]] = relationship(back_populates="finding", order_by="FindingVerdict.id")


class ResultObject(Base):
    """A built object or message: frozen bytes below the results root."""

    __tablename__ = "result_objects"

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)
    kind: Mapped[str]
    """A :class:`triage.profiles.ResultKind` or ``MessageKind``, or :data:`triage.assessment.KIND`."""
    variant: Mapped[str] = mapped_column(default="")
    """What distinguishes it from the object that a destination without options gets: see :mod:`triage.profiles`."""
    source_instance_id: Mapped[int | None] = mapped_column(ForeignKey("instances.id"), index=True)
    """The one image it shows; none for a report, which is about the study."""
    sop_instance_uid: Mapped[str] = mapped_column(unique=True)
    """Of a message its identifier, which every resend carries; it has no class, series or transfer syntax."""
    sop_class_uid: Mapped[str]
    series_instance_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    relative_path: Mapped[str]
    sha256: Mapped[str]
    size: Mapped[int]
    identity: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Of a message: whose study it says it is; a DICOM object is asked itself."""
    created_at: Mapped[datetime]
    checked_at: Mapped[datetime | None] = mapped_column(index=True)
    """As for :class:`Instance`, and so are the next two."""
    damage: Mapped[str] = mapped_column(default="")
    removed_at: Mapped[datetime | None]

    analysis: Mapped[Analysis] = relationship(back_populates="result_objects")
    deliveries: Mapped[list[Delivery]] = relationship(back_populates="result_object", order_by="Delivery.id")
