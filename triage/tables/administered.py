"""What administrators do while the house runs: peers added, errands for the workers, bundles as they stand."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from triage.columns import Base
from triage.services import PeerService
from triage.states import ErrandKind, ErrandStatus


class Peer(Base):
    """An application entity that may send, besides those of the settings."""

    __tablename__ = "peers"

    id: Mapped[int] = mapped_column(primary_key=True)
    ae_title: Mapped[str] = mapped_column(unique=True)
    network: Mapped[str | None]
    """Address or CIDR that it comes from; none for any."""
    certificate: Mapped[str | None]
    """What its certificate must say (:func:`triage.identifiers.certificate_name`); none for any."""
    services: Mapped[list[Any]] = mapped_column(default=lambda: [str(service) for service in PeerService])
    """What it may ask for (:class:`triage.services.PeerService`)."""
    note: Mapped[str] = mapped_column(default="")
    version: Mapped[int] = mapped_column(default=1)
    """Rises with each change."""
    changed_at: Mapped[datetime]
    changed_by: Mapped[str]


class Errand(Base):
    """Something that a person asks for on the page and a worker does: a test, a change of files."""

    __tablename__ = "errands"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[ErrandKind]
    subject: Mapped[str]
    """Kind and name of what it is about, as in the audit."""
    wish: Mapped[dict[str, Any]] = mapped_column(default=dict)
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    status: Mapped[ErrandStatus] = mapped_column(default=ErrandStatus.ASKED)
    holder: Mapped[str] = mapped_column(default="")
    token: Mapped[str] = mapped_column(default="")
    lease_until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    message: Mapped[str] = mapped_column(default="")
    next_step: Mapped[str] = mapped_column(default="")

    __table_args__ = (
        Index("ix_errands_subject_id", "subject", "id"),
        Index(
            "ix_errands_open",
            "id",
            sqlite_where=sa.text("status IN ('ASKED', 'RUNNING')"),
            postgresql_where=sa.text("status IN ('ASKED', 'RUNNING')"),
        ),
    )


class BundleListing(Base):
    """One row: the bundles of this installation as a worker last found them. The page has no models of its own."""

    __tablename__ = "bundle_listing"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    revision: Mapped[int]
    """Of the site's decisions (:class:`models.site.SiteState`)."""
    bundles: Mapped[list[Any]] = mapped_column(default=list)
