"""``/api/v1/admin/deliveries``: what is owed, what was tried, what is proven, and sending again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from triage.repositories import deliveries, queues
from triage.repositories.deliveries import IDENTITY_DIFFERS
from triage.states import DeliveryStatus
from triage.tables import Delivery
from worklist.api.admin import PLAIN, Before, Limit, RowId
from worklist.context import Context, Here, Who
from worklist.describe import delivery_fields
from worklist.schemas.operations import (
    AttemptOut,
    DeliveryPage,
    GivenUp,
    GivenUpOut,
    QueuedDelivery,
    ResendAll,
    ResendWish,
    Resent,
)

router = APIRouter(prefix="/admin/deliveries", tags=["admin"])

NO_WISH = ResendWish()


@router.get("", summary="Deliveries, newest first")
def list_deliveries(
    here: Here,
    status: DeliveryStatus | None = None,
    destination: Annotated[str, Query(max_length=300, pattern=PLAIN)] = "",
    reason: Annotated[str, Query(max_length=2000, pattern=PLAIN, description="The whole reason.")] = "",
    before: Before = None,
    limit: Limit = 50,
) -> DeliveryPage:
    """What every destination was offered, what it answered, attempt by attempt, and what proof there is."""
    with here.database.look() as session:
        rows = queues.list_deliveries(
            session, status=status, destination=destination, reason=reason, before=before, limit=limit
        )
        full = len(rows) == limit
        return DeliveryPage(items=[describe_delivery(row) for row in rows], next_before=rows[-1].id if full else None)


@router.get("/given-up", summary="What was given up, by destination and reason")
def list_given_up(here: Here) -> GivenUp:
    """How many deliveries are DEAD for which reason: each line can be sent again in one go."""
    return read_given_up(here)


@router.post("/resend", summary="Send everything again that was given up for a destination")
def resend_all(here: Here, who: Who, wish: ResendAll) -> Resent:
    """All DEAD deliveries of the destination, or those of one reason; those held because of their identity stay.

    What waits for its next try there is tried at once.
    """
    with here.database.write() as session:
        count = deliveries.resend_dead(session, wish.destination, at=here.clock(), who=who, reason=wish.reason)
    return Resent(destination=wish.destination, resent=count)


@router.post("/{delivery_id}/resend", summary="Send a delivery again")
def resend(here: Here, who: Who, delivery_id: RowId, wish: ResendWish = NO_WISH) -> QueuedDelivery:
    """The same object with the same SOP Instance UID, also where the destination has lost what it took.

    One that waits for its next try is tried at once. 409 while the delivery is due or being sent, and for one that is
    held because of its identity without confirmation.
    """
    with here.database.write() as session:
        row = queues.delivery_by_id(session, delivery_id)
        deliveries.resend(session, row, at=here.clock(), who=who, confirmed=wish.confirm_identity)
        session.flush()
        return describe_delivery(row)


def read_given_up(here: Context) -> GivenUp:
    """The most frequent first."""
    with here.database.look() as session:
        rows = queues.given_up(session)
    return GivenUp(items=[GivenUpOut(destination=to, reason=reason, count=count) for to, reason, count in rows])


def describe_delivery(row: Delivery) -> QueuedDelivery:
    """A delivery with its object and every attempt."""
    result = row.result_object
    return QueuedDelivery(
        **delivery_fields(row),
        study_instance_uid=result.analysis.study.study_instance_uid,
        sop_instance_uid=result.sop_instance_uid,
        kind=result.kind,
        variant=result.variant,
        created_at=row.created_at,
        identity_held=row.status is DeliveryStatus.DEAD and row.reason.startswith(IDENTITY_DIFFERS),
        tried=[
            AttemptOut(
                started_at=attempt.started_at,
                finished_at=attempt.finished_at,
                dicom_status=None if attempt.dicom_status is None else f"0x{attempt.dicom_status:04X}",
                error=attempt.error,
            )
            for attempt in row.attempts
        ],
    )
