"""What is owed to destinations: rows with leases, one more row per attempt, never dropped in silence."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from triage.errors import StateError
from triage.outbox import BUDGET, FIRST_PAUSE, LONGEST_PAUSE, Next, Verdict, next_step, pause_after, spread_of
from triage.repositories import commitments, events
from triage.states import DeliveryStatus, Proof, advance
from triage.tables import Analysis, Delivery, DeliveryAttempt, Event, ResultObject, Study

LEASE: Final = timedelta(seconds=240)
"""Renewed with each object of a batch, and while a slow destination takes one: longer than any single wait of these."""
BATCH: Final = 50
"""Objects sent over one association."""
IDENTITY_DIFFERS: Final = "The study has another identity now than the result"
"""Beginning of the reason of a delivery that is held because of it."""
SUPERSEDED: Final = "A newer result of this study has gone there"
"""Beginning of the reason of a message that is not sent any more: it would undo the newer one."""

_OPEN: Final = sa.text("deliveries.status IN ('PENDING', 'SENDING')")
"""Literal, because SQLite takes a partial index only for the very text it was made with."""
_BETWEEN_HOLDER_AND_NUMBER: Final = "#"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """How one try ended. ``dicom_status`` is None when no response came; ``note`` is what a Warning said;
    ``retry_after`` is how long the destination asked to be left alone."""

    verdict: Verdict
    dicom_status: int | None = None
    error: str = ""
    note: str = ""
    retry_after: timedelta | None = None


def claimable(now: datetime) -> sa.ColumnElement[bool]:
    """That somebody may send it now."""
    waiting = sa.and_(
        Delivery.status == DeliveryStatus.PENDING,
        sa.or_(Delivery.not_before.is_(None), Delivery.not_before <= now),
    )
    abandoned = sa.and_(Delivery.status == DeliveryStatus.SENDING, Delivery.lease_until < now)
    return sa.and_(_OPEN, sa.or_(waiting, abandoned))


def held(now: datetime) -> sa.ColumnElement[bool]:
    """That somebody is sending it."""
    return sa.and_(_OPEN, Delivery.status == DeliveryStatus.SENDING, Delivery.lease_until >= now)


def any_claimable(session: Session, now: datetime) -> bool:
    """True when a sender would find something to claim."""
    return bool(due_destinations(session, now))


def due_destinations(session: Session, now: datetime) -> list[str]:
    """Destinations that are owed something now and that nobody is sending to."""
    busy = sa.select(Delivery.destination).where(held(now))
    query = sa.select(Delivery.destination).where(claimable(now), Delivery.destination.not_in(busy)).distinct()
    return sorted(session.scalars(query))


def claim_batch(session: Session, destination: str, now: datetime, *, holder: str = "") -> Sequence[Delivery]:
    """Take what is due for one destination, most urgent studies first, pictures before the report that shows them.

    Empty while somebody else sends to it: a destination that blocks its sender never holds up a second one, and with
    it the senders of other destinations.

    Parameters
    ----------
    holder : str
        Name of the process, as in its heartbeat; when it is gone its lease is ended.
    """
    if session.get_bind().dialect.name == "postgresql":  # two senders at the same moment; SQLite has one writer
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(destination))))
    if session.scalar(sa.select(sa.exists().where(Delivery.destination == destination, held(now)))):
        return []
    query = (
        sa.select(Delivery)
        .join(Delivery.result_object)
        .join(ResultObject.analysis)
        .join(Analysis.study)
        .where(Delivery.destination == destination, claimable(now))
        .order_by(Study.tier, Study.due_at, Analysis.id, ResultObject.id)
        .limit(BATCH)
        .options(selectinload(Delivery.result_object).selectinload(ResultObject.analysis).selectinload(Analysis.study))
        .with_for_update(skip_locked=True, of=Delivery)
    )
    batch = list(session.scalars(query))
    token = f"{holder}{_BETWEEN_HOLDER_AND_NUMBER}{uuid.uuid4().hex}"
    for delivery in batch:
        if delivery.status is DeliveryStatus.SENDING:  # its sender died; whether it arrived is unknown: same UID, again
            delivery.status = advance(delivery.status, DeliveryStatus.PENDING)
        delivery.status = advance(delivery.status, DeliveryStatus.SENDING)
        delivery.token, delivery.lease_until = token, now + LEASE
    return batch


def holders(session: Session) -> list[str]:
    """Names of all processes that hold a lease."""
    tokens = session.scalars(
        sa.select(Delivery.token).where(_OPEN, Delivery.status == DeliveryStatus.SENDING).distinct()
    )
    return sorted({token.rpartition(_BETWEEN_HOLDER_AND_NUMBER)[0] for token in tokens})


def expire_leases_of(session: Session, gone: Collection[str], now: datetime) -> int:
    """End the leases of processes that are known to be gone, instead of waiting them out; returns how many."""
    lost = sa.select(Delivery).where(_OPEN, Delivery.status == DeliveryStatus.SENDING, Delivery.lease_until >= now)
    ended = 0
    for delivery in session.scalars(lost.with_for_update(skip_locked=True)):
        if delivery.token.rpartition(_BETWEEN_HOLDER_AND_NUMBER)[0] in gone:
            delivery.lease_until = now - timedelta(microseconds=1)
            ended += 1
    return ended


def renew(session: Session, token: str, now: datetime) -> None:
    """The sender gets on: what it holds stays its own."""
    held = sa.and_(_OPEN, Delivery.status == DeliveryStatus.SENDING, Delivery.token == token)
    longer = sa.update(Delivery).where(held).values(lease_until=now + LEASE)
    session.execute(longer.execution_options(synchronize_session=False))


def conclude(
    session: Session,
    delivery_id: int,
    token: str,
    attempt: Attempt,
    *,
    started_at: datetime,
    finished_at: datetime,
    give_up_after: timedelta,
    provable: bool = False,
) -> Delivery | None:
    """Record one attempt and what follows from it; None when the lease was lost (the other sender's word counts).

    Parameters
    ----------
    provable : bool
        The destination can be asked whether it holds the object: that is owed from now on.
    """
    delivery = _under_lease(session, delivery_id, token, finished_at)
    if delivery is None:
        return None
    overcome = delivery.reason
    delivery.token, delivery.lease_until, delivery.reason = "", None, attempt.error
    if attempt.verdict is Verdict.HELD:
        delivery.status = advance(delivery.status, DeliveryStatus.DEAD)
        _event(session, delivery, "delivery_held", finished_at)
        return delivery
    in_a_row = _in_a_row(session, delivery, attempt)
    delivery.attempt_count += 1
    session.add(
        DeliveryAttempt(
            delivery_id=delivery.id, started_at=started_at, finished_at=finished_at,
            dicom_status=attempt.dicom_status, error=attempt.error,
        )
    )  # fmt: skip
    if delivery.proof is Proof.COMMITTED and attempt.verdict is not Verdict.DELIVERED:
        # Its earlier sending was reported as held meanwhile: whatever became of this one, it is there.
        delivery.status = advance(advance(delivery.status, DeliveryStatus.PENDING), DeliveryStatus.COMMITTED)
        delivery.not_before, delivery.reason = None, ""
        return delivery
    age = finished_at - delivery.created_at
    match next_step(attempt.verdict, in_a_row=in_a_row, age=age, give_up_after=give_up_after):
        case Next.DONE:
            _sent(session, delivery, attempt.note, finished_at)
            if overcome:  # what failed for the same reason need not wait out its pause, which may be an hour
                hurry(session, delivery.destination, before=finished_at + FIRST_PAUSE, reason=overcome)
            if provable and delivery.status is DeliveryStatus.SENT:
                commitments.owe(session, delivery, at=finished_at)
        case Next.DEAD:
            delivery.status = advance(delivery.status, DeliveryStatus.DEAD)
            _event(session, delivery, "delivery_dead", finished_at)
        case Next.AGAIN:
            delivery.status = advance(delivery.status, DeliveryStatus.PENDING)
            asked = min(attempt.retry_after or timedelta(0), LONGEST_PAUSE)
            delivery.not_before = finished_at + max(next_pause(delivery), asked)
            _event(session, delivery, "delivery_retried", finished_at)
    return delivery


def superseded(session: Session, delivery: Delivery) -> bool:
    """True when a later revision of the same kind, by the same bundle, has gone to the same destination already.

    For messages, which overwrite what was told before; objects of DICOM stand beside each other.
    """
    analysis = delivery.result_object.analysis
    query = (
        sa.select(Delivery.id)
        .join(Delivery.result_object)
        .join(ResultObject.analysis)
        .where(
            Delivery.destination == delivery.destination,
            Delivery.sent_at.is_not(None),
            ResultObject.kind == delivery.result_object.kind,
            Analysis.study_id == analysis.study_id,
            Analysis.bundle_name == analysis.bundle_name,
            Analysis.revision > analysis.revision,
        )
    )
    return session.scalar(sa.select(query.exists())) is True


def next_pause(delivery: Delivery) -> timedelta:
    """How long to wait after the attempts so far; equal for what failed together, so that it goes out together."""
    spread = spread_of(delivery.destination, delivery.attempt_count)
    return pause_after(delivery.attempt_count, spread=spread)


def give_back(session: Session, token: str) -> int:
    """Return to the queue what a batch had no time for; returns how many. No attempt was made, none is counted."""
    rest = sa.select(Delivery).where(_OPEN, Delivery.status == DeliveryStatus.SENDING, Delivery.token == token)
    deliveries = session.scalars(rest.with_for_update()).all()
    for delivery in deliveries:
        delivery.status = advance(delivery.status, DeliveryStatus.PENDING)
        delivery.token, delivery.lease_until = "", None
    return len(deliveries)


def hurry(session: Session, destination: str, *, before: datetime, reason: str = "") -> int:
    """Let what waits for its next try come by a time; returns how many deliveries come sooner.

    Parameters
    ----------
    reason : str
        Only what waits for this very reason; empty for any.
    """
    waiting = sa.select(Delivery.id).where(
        _OPEN,
        Delivery.status == DeliveryStatus.PENDING,
        Delivery.not_before > before,
        Delivery.destination == destination,
    )
    if reason:
        waiting = waiting.where(Delivery.reason == reason)
    free = waiting.with_for_update(skip_locked=True)  # who holds another decides about it; nobody waits in a circle
    sooner = sa.update(Delivery).where(Delivery.id.in_(free)).values(not_before=before)
    moved = session.execute(sooner.execution_options(synchronize_session=False))
    return cast(sa.CursorResult[Any], moved).rowcount


def resend(session: Session, delivery: Delivery, *, at: datetime, who: str, confirmed: bool = False) -> None:
    """A person wants a delivery sent again, from the start: the same bytes under the same SOP Instance UID.

    One that waits for its next try begins anew at once.

    Parameters
    ----------
    confirmed : bool
        The person has looked at a result that is held because of its identity, and it is to go out as it is.

    Raises
    ------
    StateError
        It is due already or being sent, or held because of its identity and nobody has confirmed it.
    """
    if delivery.status is DeliveryStatus.SENDING:
        raise StateError(
            "This delivery is being sent at this moment.",
            next_step="Look at what becomes of it before sending it again.",
        )
    if delivery.status is DeliveryStatus.PENDING and delivery.not_before is None:
        raise StateError(
            "This delivery is due already.",
            next_step="A running node sends it at once; `firstread doctor` says if none is.",
        )
    held = delivery.status is DeliveryStatus.DEAD and delivery.reason.startswith(IDENTITY_DIFFERS)
    if held and not confirmed:
        raise StateError(
            f"{delivery.reason}.",
            next_step="A newer result has the new identity. To send this one as it is, confirm its identity.",
        )
    if delivery.status is not DeliveryStatus.PENDING:
        delivery.status = advance(delivery.status, DeliveryStatus.PENDING)
    delivery.attempt_count, delivery.not_before, delivery.created_at = 0, None, at
    delivery.proof = delivery.proven_at = delivery.commitment = None
    if held:
        _event(session, delivery, "delivery_identity_confirmed", at, who=who)
    delivery.note = delivery.reason = ""
    _event(session, delivery, "delivery_resent", at, who=who)


def resend_dead(session: Session, destination: str, *, at: datetime, who: str, reason: str = "") -> int:
    """Send everything again that was given up for a destination, and at once what waits there; returns how many.

    What is held because of its identity stays where it is: each of these is a person's decision of its own.

    Parameters
    ----------
    reason : str
        Only what failed for this very reason; empty for any.
    """
    waiting = hurry(session, destination, before=at, reason=reason)
    query = (
        sa.select(Delivery)
        .where(
            Delivery.destination == destination,
            Delivery.status == DeliveryStatus.DEAD,
            Delivery.reason.not_like(f"{IDENTITY_DIFFERS}%"),
        )
        .order_by(Delivery.id)
        .options(selectinload(Delivery.result_object).selectinload(ResultObject.analysis).selectinload(Analysis.study))
        .with_for_update(of=Delivery)
    )
    if reason:
        query = query.where(Delivery.reason == reason)
    dead = session.scalars(query).all()
    for delivery in dead:
        resend(session, delivery, at=at, who=who)
    return len(dead) + waiting


def identity_confirmed(session: Session, delivery: Delivery) -> bool:
    """True when a person has confirmed the result's identity since the study's changed for the last time."""
    query = (
        sa.select(Event)
        .where(
            Event.study_id == delivery.result_object.analysis.study_id,
            Event.kind.in_(("identity_changed", "delivery_identity_confirmed")),
        )
        .order_by(Event.id.desc())
    )
    for event in session.scalars(query):
        if event.kind == "identity_changed":
            return False
        if event.detail.get("delivery") == delivery.id:
            return True
    return False


def _under_lease(session: Session, delivery_id: int, token: str, now: datetime) -> Delivery | None:
    """The delivery if it is still held, with the leases of the rest of its batch renewed."""
    query = (
        sa.select(Delivery)
        .where(Delivery.id == delivery_id)
        .options(selectinload(Delivery.result_object).selectinload(ResultObject.analysis).selectinload(Analysis.study))
        .with_for_update(of=Delivery)
    )
    delivery = session.scalars(query).one()
    if delivery.token != token or delivery.status is not DeliveryStatus.SENDING:
        return None
    session.execute(
        sa.update(Delivery)
        .where(_OPEN, Delivery.token == token, Delivery.id != delivery_id)
        .values(lease_until=now + LEASE)
        .execution_options(synchronize_session=False)
    )
    return delivery


def _in_a_row(session: Session, delivery: Delivery, attempt: Attempt) -> int:
    """How often the last tries of this life ended exactly like this one, this one included."""
    query = (
        sa.select(DeliveryAttempt.dicom_status, DeliveryAttempt.error)
        .where(DeliveryAttempt.delivery_id == delivery.id)
        .order_by(DeliveryAttempt.id.desc())
        .limit(min(delivery.attempt_count, max(BUDGET.values())))
    )
    count = 1
    for earlier in session.execute(query):
        if tuple(earlier) != (attempt.dicom_status, attempt.error):
            break
        count += 1
    return count


def _sent(session: Session, delivery: Delivery, note: str, at: datetime) -> None:
    delivery.status, delivery.sent_at, delivery.note = advance(delivery.status, DeliveryStatus.SENT), at, note
    delivery.not_before = None
    if delivery.proof is Proof.COMMITTED:  # reported while it was being sent again
        delivery.status = advance(delivery.status, DeliveryStatus.COMMITTED)
    else:
        delivery.proof, delivery.proven_at = Proof.ANSWERED, at
    _event(session, delivery, "result_sent", at)


def _event(session: Session, delivery: Delivery, kind: str, at: datetime, who: str = "delivery") -> None:
    events.record(
        session, kind, at=at, study=delivery.result_object.analysis.study, who=who, delivery=delivery.id,
        destination=delivery.destination, kind_of_object=delivery.result_object.kind,
        sop_instance_uid=delivery.result_object.sop_instance_uid, attempt=delivery.attempt_count,
        reason=delivery.reason or delivery.note,
    )  # fmt: skip
