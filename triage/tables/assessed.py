"""What people think of findings: verdicts, and the assessments that tell them to the destinations."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from triage.assessment import Opinion, OpinionReason
from triage.columns import Base
from triage.findings import Laterality

if TYPE_CHECKING:
    from triage.tables.analysed import Analysis, Finding


class FindingVerdict(Base):
    """A person's verdict on a finding, never changed: a later one of the same finding supersedes it."""

    __tablename__ = "verdicts"

    id: Mapped[int] = mapped_column(primary_key=True)
    finding_id: Mapped[int] = mapped_column(ForeignKey("findings.id"), index=True)
    at: Mapped[datetime]
    who: Mapped[str]
    opinion: Mapped[Opinion]
    reason: Mapped[OpinionReason | None]
    comment: Mapped[str] = mapped_column(default="")
    """Free text: it may name a patient, and stands in no event and no log."""

    finding: Mapped[Finding] = relationship(back_populates="verdicts")


class MissedFinding(Base):
    """What a person sees and the AI's report does not say. Never changed; it may be withdrawn."""

    __tablename__ = "missed_findings"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)
    """Whose report does not say it."""
    at: Mapped[datetime]
    who: Mapped[str]
    key: Mapped[str] = mapped_column(default="")
    """Of the bundle's finding; empty where the bundle looks for nothing of the kind."""
    code_value: Mapped[str] = mapped_column(default="")
    code_scheme: Mapped[str] = mapped_column(default="")
    code_meaning: Mapped[str] = mapped_column(default="")
    laterality: Mapped[Laterality | None]
    text: Mapped[str] = mapped_column(default="")
    """Free text: it may name a patient, and stands in no event and no log."""
    withdrawn_at: Mapped[datetime | None]
    withdrawn_by: Mapped[str] = mapped_column(default="")

    analysis: Mapped[Analysis] = relationship()


class Assessment(Base):
    """What one person says about the findings of one analysis, and whether a document of it is due."""

    __tablename__ = "assessments"

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)
    who: Mapped[str]
    due_at: Mapped[datetime | None]
    """When the document is to be built; none: the latest one says all verdicts."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Builds of the document that failed in a row."""
    documents: Mapped[int] = mapped_column(default=0)
    """How many were issued; each supersedes the one before."""

    analysis: Mapped[Analysis] = relationship()

    __table_args__ = (
        UniqueConstraint("analysis_id", "who"),
        Index(
            "ix_assessments_due",
            "due_at",
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        ),
    )
