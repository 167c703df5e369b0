"""What the doctor looks at where orders come from: worklists that answer, an open HL7 port, refused messages."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from dicom_node.contexts import MODALITY_WORKLIST_FIND, VERIFICATION
from dicom_node.conversation import Conversation
from dicom_node.requestor import Timeouts
from dicom_node.scu import UNCOMPRESSED
from firstread.finding import Finding, Grade
from triage.errors import FirstreadError
from triage.order_feeds import Hl7Orders, OrderFeed, feed_names
from triage.repositories import order_listing
from triage.settings import Settings
from workers.orders.feed_log import next_step_of
from workers.transport import tls_towards_feed

_PATIENCE: Final = Timeouts(connect=3.0, association=5.0, send=3.0, response=5.0)


def feeds(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Each feed that is set, asked from here."""
    for feed in settings.order_feeds:
        yield _worklist(settings, feed, now)
    if settings.hl7_orders is not None:
        yield _port(settings, settings.hl7_orders)


def rows(settings: Settings, session: Session, now: datetime) -> Iterator[Finding]:
    """What the process that takes orders says of them, and what was refused."""
    states = order_listing.feeds(session, now)
    for name in feed_names(settings.order_feeds, settings.hl7_orders):
        state = states.get(name)
        if state is None:
            message = "no process takes orders: cases stay where images, rules and AI put them"
            yield Finding(f"orders of {name}", Grade.WARNING, message, "`firstread up`, or `firstread orders`")
        elif state.problem:
            yield Finding(f"orders of {name}", Grade.BAD, state.problem, "See /admin/orders.")
        else:
            heard = "nothing heard yet" if state.last_at is None else f"last heard {state.last_at:%Y-%m-%d %H:%M} UTC"
            yield Finding(f"orders of {name}", Grade.GOOD, f"{heard}, {state.orders} orders since its start")
    for line in order_listing.refused(session)[:3]:
        message = f"refused {line.times} times, last {line.last_at:%Y-%m-%d %H:%M} UTC: {line.reason}"
        yield Finding(
            f"orders of {line.ae_title or 'a system without a name'}", Grade.WARNING, message, "/admin/orders"
        )


def _worklist(settings: Settings, feed: OrderFeed, now: datetime) -> Finding:
    subject = f"order feed {feed.address}" + (" (TLS)" if feed.tls else "")
    try:
        association = Conversation.open(
            feed.peer,
            calling_ae_title=settings.ae_title,
            contexts=[(MODALITY_WORKLIST_FIND, UNCOMPRESSED), (VERIFICATION, UNCOMPRESSED)],
            timeouts=_PATIENCE,
            tls=tls_towards_feed(settings, feed, now),
        )
    except FirstreadError as error:
        return Finding(subject, Grade.BAD, str(error).removeprefix(f"{feed.address}: "), next_step_of(error))
    offered = association.context_of(MODALITY_WORKLIST_FIND) is not None
    association.release()
    if not offered:
        advice = "Name the worklist provider of the RIS, not its archive."
        return Finding(subject, Grade.BAD, "answers, but serves no Modality Worklist", advice)
    return Finding(subject, Grade.GOOD, "serves a Modality Worklist")


def _port(settings: Settings, orders: Hl7Orders) -> Finding:
    subject = f"HL7 port {orders.port}"
    if orders.port == 0:
        return Finding(subject, Grade.WARNING, "any free one is taken", "Set a number for senders to find us.")
    with socket.socket(socket.AF_INET6 if ":" in settings.bind else socket.AF_INET) as probe:
        probe.settimeout(2)
        if probe.connect_ex((settings.bind, orders.port)) == 0:
            return Finding(subject, Grade.GOOD, "answers")
    return Finding(subject, Grade.WARNING, "nothing listens there", "`firstread up`, or `firstread orders`")
