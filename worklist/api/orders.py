"""``/api/v1/admin/orders``: what other systems ordered, what came of it, and how the feeds stand."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query

from triage.order_feeds import FeedState, feed_names
from triage.repositories import order_listing
from triage.repositories.order_listing import ListedOrder
from worklist.api.admin import Before, Limit
from worklist.context import Context, Here
from worklist.schemas.orders import FeedOut, OrderedStudyOut, OrderFeeds, OrderOut, OrderPage, RefusedOut, SenderOut

router = APIRouter(prefix="/admin/orders", tags=["admin"])

WAITING_SINCE: Final = timedelta(days=1)


def read_orders(here: Context, *, waiting: bool, before: int | None, limit: int) -> OrderPage:
    """One page, newest first."""
    with here.database.look() as session:
        rows = order_listing.listed(session, waiting=waiting, before=before, limit=limit)
        items = [_order(row) for row in rows]
    return OrderPage(items=items, next_before=items[-1].id if len(items) == limit else None)


def read_feeds(here: Context) -> OrderFeeds:
    """How each feed of the settings stands, who ordered, what was refused."""
    now = here.clock()
    with here.database.look() as session:
        states = order_listing.feeds(session, now)
        return OrderFeeds(
            feeds=[
                _feed(name, states.get(name))
                for name in feed_names(here.settings.order_feeds, here.settings.hl7_orders)
            ],
            senders=[SenderOut.model_validate(row, from_attributes=True) for row in order_listing.senders(session)],
            refused=[
                RefusedOut(sender=row.ae_title, reason=row.reason, times=row.times, last_at=row.last_at)
                for row in order_listing.refused(session)
            ],
            waiting=order_listing.waiting_count(session, now - WAITING_SINCE),
        )


@router.get("", summary="Orders, newest first")
def list_orders(
    here: Here,
    waiting: Annotated[bool, Query(description="Only standing orders that no study has come for.")] = False,
    before: Before = None,
    limit: Limit = 50,
) -> OrderPage:
    """What each asks for, and the studies that it is of with the class that they have now."""
    return read_orders(here, waiting=waiting, before=before, limit=limit)


@router.get("/feeds", summary="Where orders come from")
def list_feeds(here: Here) -> OrderFeeds:
    """State of every feed, what was ordered lately by whom, and messages that were refused with the reason."""
    return read_feeds(here)


def _feed(name: str, state: FeedState | None) -> FeedOut:
    if state is None:
        problem = "No process that takes orders shows life: start it with `firstread up`, or `firstread orders`."
        return FeedOut(
            feed=name, state="silent", problem=problem, since=None, last_at=None, messages=0, refused=0, orders=0
        )
    return FeedOut(
        feed=name,
        state="failing" if state.problem else "working",
        problem=state.problem,
        since=state.since,
        last_at=state.last_at,
        messages=state.messages,
        refused=state.refused,
        orders=state.orders,
    )


def _order(listed: ListedOrder) -> OrderOut:
    order = listed.order
    return OrderOut(
        id=order.id,
        source=order.source,
        sender=order.sender,
        accession_number=order.accession_number,
        priority=order.priority,
        urgency=order.urgency,
        cancelled_at=order.cancelled_at,
        received_at=order.received_at,
        changed_at=order.changed_at,
        studies=[OrderedStudyOut.model_validate(study, from_attributes=True) for study in listed.studies],
    )
