"""What came and could not become an instance: kept aside, listed, until a person has dealt with it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.instances import QuarantinedObject
from triage.repositories import events
from triage.repositories.upsert import insert_or_ignore
from triage.tables import Quarantined


def record(session: Session, kept: QuarantinedObject) -> Quarantined:
    """Record bytes that lie in quarantine. The same ones again stand on the list once, and come back to it."""
    path = kept.relative_path.as_posix()
    insert_or_ignore(
        session, Quarantined, at=kept.arrival.received_at, reason=kept.reason, dicom_status=kept.dicom_status,
        relative_path=path, sha256=kept.sha256, size=kept.size, transfer_syntax_uid=kept.transfer_syntax_uid,
        calling_ae_title=kept.arrival.calling_ae_title, peer_address=kept.arrival.peer_address,
        association_uid=kept.arrival.association_uid,
    )  # fmt: skip
    row = session.scalars(sa.select(Quarantined).where(Quarantined.relative_path == path).with_for_update()).one()
    row.dismissed_at, row.dismissed_by = None, ""
    events.record(
        session, "instance_quarantined", at=kept.arrival.received_at, who=kept.arrival.calling_ae_title,
        reason=kept.reason, dicom_status=f"{kept.dicom_status:#06x}", relative_path=path,
    )  # fmt: skip
    return row
