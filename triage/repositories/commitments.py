"""Proof that destinations hold what they were sent: storage commitment (PS3.4 annex J) and read-back, as rows.

A commitment is owed in the transaction that marks its objects SENT, under the Transaction UID that the request will
have: a report that overtakes the answer to the request finds its row. A row that is REQUESTED with a reason is still
to be asked, not before ``requested_at``; without one its report has been awaited since then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from triage.outbox import LONGEST_PAUSE, pause_after, spread_of
from triage.repositories import events
from triage.states import CommitmentStatus, DeliveryStatus, Proof, advance
from triage.tables import Analysis, Commitment, Delivery, ResultObject, Study

TO_BE_ASKED: Final = "to be asked"
BEING_ASKED: Final = "being asked"
NO_REPORT: Final = "no report came in time"
GATHERING: Final = timedelta(seconds=1)
"""Time for more results to be sent, so that one request speaks of them all."""
ASKING: Final = timedelta(seconds=180)
"""Longest time that one look at a destination may take; nobody else asks it meanwhile."""
FIRST_LOOK_AGAIN: Final = timedelta(seconds=30)
AT_ONCE: Final = 20
"""Requests sent over one association."""

_REQUESTED: Final = sa.text("commitments.status = 'REQUESTED'")
"""Literal, because SQLite takes a partial index only for the very text it was made with."""


@dataclass(frozen=True, slots=True)
class SentObject:
    """A result object that a destination is asked about."""

    delivery_id: int
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A commitment to ask for, and its objects that are not proven yet.

    Attributes
    ----------
    unreported : bool
        It was asked for and no report came in time.
    refused : bool
        It was asked for in vain before: refused, aborted, out of reach.
    """

    commitment_id: int
    transaction_uid: str
    unreported: bool
    refused: bool
    objects: Sequence[SentObject]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a destination may take to prove an object, and from which age on an object is not sent again."""

    proof: timedelta
    delivery: timedelta


def owe(session: Session, delivery: Delivery, *, at: datetime) -> None:
    """The destination is to be asked about a delivery that was just SENT, together with others of this moment."""
    gathering = sa.select(Commitment).where(
        _REQUESTED, Commitment.destination == delivery.destination, Commitment.reason == TO_BE_ASKED
    )
    commitment = session.scalar(gathering.order_by(Commitment.id.desc()).limit(1).with_for_update())
    if commitment is None:
        commitment = Commitment(
            transaction_uid=f"2.25.{uuid4().int}",
            destination=delivery.destination,
            requested_at=at + GATHERING,
            reason=TO_BE_ASKED,
        )
        session.add(commitment)
    delivery.commitment = commitment
    session.flush()


def _to_be_asked(now: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(_REQUESTED, Commitment.reason != "", Commitment.requested_at <= now)


def due_destinations(session: Session, now: datetime) -> list[str]:
    """Destinations that are to be asked for proof now."""
    return sorted(session.scalars(sa.select(Commitment.destination).where(_to_be_asked(now)).distinct()))


def claim(session: Session, destination: str, now: datetime) -> list[Question]:
    """Take what a destination is to be asked now; nobody else asks the same for :data:`ASKING`."""
    query = (
        sa.select(Commitment)
        .where(_to_be_asked(now), Commitment.destination == destination)
        .order_by(Commitment.requested_at, Commitment.id)
        .limit(AT_ONCE)
        .options(_with_objects(Commitment.deliveries))
        .with_for_update(skip_locked=True, of=Commitment)
    )
    questions = []
    for commitment in session.scalars(query):
        unproven = [d for d in commitment.deliveries if d.status is DeliveryStatus.SENT]
        if not unproven:
            _close(commitment, CommitmentStatus.SUCCEEDED, "nothing is left to ask", now)
            continue
        questions.append(
            Question(
                commitment_id=commitment.id,
                transaction_uid=commitment.transaction_uid,
                unreported=commitment.reason == NO_REPORT,
                refused=commitment.reason not in (TO_BE_ASKED, BEING_ASKED, NO_REPORT),
                objects=[_sent_object(delivery) for delivery in unproven],
            )
        )
        commitment.requested_at, commitment.reason = now + ASKING, BEING_ASKED
    return questions


def asked(session: Session, commitment_id: int, *, at: datetime) -> None:
    """The destination has taken the request; its report is awaited."""
    commitment = _locked(session, commitment_id)
    if commitment is not None and commitment.status is CommitmentStatus.REQUESTED:  # else the report was quicker
        commitment.requested_at, commitment.reason = at, ""


def unanswered(session: Session, now: datetime, *, after: timedelta) -> int:
    """Let destinations be asked for the objects themselves whose reports did not come in time; returns how many."""
    late = sa.select(Commitment).where(_REQUESTED, Commitment.reason == "", Commitment.requested_at <= now - after)
    found = session.scalars(late.with_for_update(skip_locked=True)).all()
    for commitment in found:
        commitment.requested_at, commitment.reason = now, NO_REPORT
    return len(found)


def postpone(session: Session, commitment_id: int, reason: str, *, at: datetime, patience: Patience) -> None:
    """The destination could not be asked, or does not show the objects: again later, or sent again when it is late."""
    commitment = _locked(session, commitment_id)
    if commitment is None or commitment.status is not CommitmentStatus.REQUESTED:
        return
    since = min((d.sent_at for d in commitment.deliveries if d.sent_at is not None), default=at)
    if at - since >= patience.proof:
        _close(commitment, CommitmentStatus.EXPIRED, reason, at)
        _send_unproven_again(session, commitment, reason, at, patience)
        return
    pause = max((at - since) / 2, FIRST_LOOK_AGAIN)
    limit = LONGEST_PAUSE * (1 + spread_of(commitment.transaction_uid) / 5)
    commitment.requested_at, commitment.reason = at + min(pause, limit), reason


def withdraw(session: Session, commitment_id: int) -> None:
    """The destination cannot be asked: its deliveries stay SENT, with its answer as their proof."""
    commitment = _locked(session, commitment_id)
    if commitment is not None and commitment.status is CommitmentStatus.REQUESTED:
        for delivery in list(commitment.deliveries):
            delivery.commitment = None
        session.flush()
        session.delete(commitment)


def read_back(session: Session, commitment_id: int, found: Collection[str], *, at: datetime) -> bool:
    """The destination listed some of the objects when asked; True when none is left unproven."""
    commitment = _locked(session, commitment_id)
    if commitment is None or commitment.status is not CommitmentStatus.REQUESTED:
        return True
    missing = False
    for delivery in commitment.deliveries:
        if delivery.status is not DeliveryStatus.SENT:
            continue
        if delivery.result_object.sop_instance_uid in found:
            _prove(session, delivery, Proof.READ_BACK, at, who="delivery")
        else:
            missing = True
    if not missing:
        _close(commitment, CommitmentStatus.SUCCEEDED, "read back", at)
    return not missing


def report(
    session: Session,
    transaction_uid: str,
    *,
    committed: Collection[str],
    failed: Mapping[str, str],
    who: str,
    at: datetime,
    give_up_after: timedelta,
) -> bool:
    """Record an N-EVENT-REPORT; False when this node has asked for no such transaction.

    What the destination says it holds is proven, however late the report is and however often it comes. What it says
    it does not hold, or does not mention, is sent again, if the report is about the last request; when it has been
    owed for longer than ``give_up_after``, it is given up.

    Parameters
    ----------
    committed : collection of str
        SOP Instance UIDs.
    failed : mapping of str to str
        SOP Instance UIDs with their reasons in words.
    who : str
        AE title that reported.
    """
    found = session.scalar(sa.select(Commitment.id).where(Commitment.transaction_uid == transaction_uid))
    commitment = None if found is None else _locked(session, found)
    if commitment is None:
        events.record(session, "commitment_unknown", at=at, who=who, transaction_uid=transaction_uid)
        return False
    for delivery in _deliveries_to(session, commitment.destination, committed):
        if delivery.proof is not Proof.COMMITTED:
            _prove(session, delivery, Proof.COMMITTED, at, who=who)
    missing = [d for d in commitment.deliveries if d.status is DeliveryStatus.SENT and d.proof is not Proof.COMMITTED]
    if commitment.status in (CommitmentStatus.REQUESTED, CommitmentStatus.EXPIRED):
        outcome = CommitmentStatus.FAILED if missing else CommitmentStatus.SUCCEEDED
        _close(commitment, outcome, f"{len(missing)} not held" if missing else "", at)
    for delivery in missing:
        because = failed.get(delivery.result_object.sop_instance_uid, "its report does not mention it")
        send_again(session, delivery, f"The destination does not hold it: {because}", at=at, who=who)
        if at - delivery.created_at >= give_up_after:
            delivery.status = advance(delivery.status, DeliveryStatus.DEAD)
            _event(session, delivery, "delivery_dead", at, who)
    return True


def send_again(session: Session, delivery: Delivery, reason: str, *, at: datetime, who: str = "delivery") -> None:
    """Owe a SENT object anew because its arrival is denied or unproven. Its age goes on counting."""
    delivery.status = advance(delivery.status, DeliveryStatus.PENDING)
    delivery.proof = delivery.proven_at = delivery.commitment = None
    delivery.reason = reason
    spread = spread_of(delivery.destination, delivery.attempt_count)
    delivery.not_before = at + pause_after(delivery.attempt_count, spread=spread)
    _event(session, delivery, "delivery_unproven", at, who)


def _send_unproven_again(
    session: Session, commitment: Commitment, reason: str, at: datetime, patience: Patience
) -> None:
    for delivery in list(commitment.deliveries):
        if delivery.status is not DeliveryStatus.SENT:
            continue
        if at - delivery.created_at < patience.delivery:
            send_again(session, delivery, f"The destination has not shown that it holds it: {reason}", at=at)
        else:
            _event(session, delivery, "delivery_never_proven", at, "delivery", reason=reason)


def _prove(session: Session, delivery: Delivery, proof: Proof, at: datetime, *, who: str) -> None:
    delivery.proof, delivery.proven_at = proof, at
    if delivery.status not in (DeliveryStatus.SENDING, DeliveryStatus.COMMITTED):  # one being sent follows by itself
        delivery.status = advance(delivery.status, DeliveryStatus.COMMITTED)
        delivery.not_before, delivery.reason = None, ""
    kind = "result_committed" if proof is Proof.COMMITTED else "result_read_back"
    _event(session, delivery, kind, at, who)


def _close(commitment: Commitment, status: CommitmentStatus, reason: str, at: datetime) -> None:
    commitment.status = advance(commitment.status, status)
    commitment.answered_at, commitment.reason = at, reason


def _locked(session: Session, commitment_id: int) -> Commitment | None:
    query = (
        sa.select(Commitment)
        .where(Commitment.id == commitment_id)
        .options(_with_objects(Commitment.deliveries))
        .with_for_update(of=Commitment)
        .execution_options(populate_existing=True)
    )
    return session.scalars(query).one_or_none()


def _deliveries_to(session: Session, destination: str, sop_instance_uids: Collection[str]) -> Sequence[Delivery]:
    query = (
        sa.select(Delivery)
        .join(Delivery.result_object)
        .where(Delivery.destination == destination, ResultObject.sop_instance_uid.in_(sop_instance_uids))
        .order_by(Delivery.id)
        .options(selectinload(Delivery.result_object).selectinload(ResultObject.analysis).selectinload(Analysis.study))
        .with_for_update(of=Delivery)
    )
    return session.scalars(query).all()


def _with_objects(deliveries: sa.orm.QueryableAttribute[list[Delivery]]) -> sa.orm.interfaces.ORMOption:
    result = selectinload(deliveries).selectinload(Delivery.result_object)
    return result.selectinload(ResultObject.analysis).selectinload(Analysis.study)


def _sent_object(delivery: Delivery) -> SentObject:
    result, study = delivery.result_object, delivery.result_object.analysis.study
    return SentObject(
        delivery.id, study.study_instance_uid, result.series_instance_uid, result.sop_class_uid, result.sop_instance_uid
    )


def _event(
    session: Session, delivery: Delivery, kind: str, at: datetime, who: str, *, reason: str | None = None
) -> None:
    study: Study = delivery.result_object.analysis.study
    events.record(
        session, kind, at=at, study=study, who=who, delivery=delivery.id, destination=delivery.destination,
        kind_of_object=delivery.result_object.kind, sop_instance_uid=delivery.result_object.sop_instance_uid,
        reason=delivery.reason if reason is None else reason,
    )  # fmt: skip
