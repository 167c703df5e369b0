"""Orders and the studies that they are of: what is ordered claims a class for the case, whichever of them comes first.

The claim of a case is the highest of what its images carry and of the orders that stand for its accession number and
its patient. It is always made anew from these, so it does not matter how often or in which sequence they are looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from triage.findings import Urgency
from triage.instances import Received
from triage.orders import PlacedOrder, is_of
from triage.prepared import select_in
from triage.priority import Targets
from triage.repositories import events
from triage.repositories.list_query import OPEN
from triage.repositories.placing import place_study
from triage.repositories.ruling import claim_by_rules
from triage.repositories.upsert import insert_or_ignore
from triage.rules import RuleSet
from triage.states import ReadingStatus
from triage.tables import Order, Study

MISMATCH: Final = "order_mismatch"
"""Flag of a study with an order for its accession number that names another patient: nobody knows whose it is."""
REMEMBERED: Final = 20
"""Messages about one order that are known again."""
MOST_STUDIES: Final = 100
"""Of one accession number, the newest, whosever they are; a number that everybody has (a default of some device) is
none. Those of the patients that its orders name are looked at beside them, up to :data:`_TOGETHER`."""
_TOGETHER: Final = 1000
"""Studies that are locked at once: a statement has a bounded number of parameters."""
WHO: Final = "orders"
NO_RULES: Final = RuleSet()
_NUMBER: Final = cast(sa.Table, Order.__table__).c.accession_number
_ACCESSION: Final = select_in(sa.select(_NUMBER).distinct(), _NUMBER)


def record(
    session: Session, placed: Sequence[PlacedOrder], targets: Targets, *, at: datetime, rules: RuleSet = NO_RULES
) -> list[Order]:
    """Keep what a sender says of some orders, and let the studies that are here already feel it.

    A message that is known changes nothing, also when a later one about the same order has come since. Rows are taken
    in one sequence whatever the message's is, orders by their key and then studies by their UID, as intake takes them:
    two that are at the same ones wait for each other and never for ever.
    """
    numbers: set[str] = set()
    kept = []
    for one in sorted(placed, key=lambda order: (order.source, order.sender, order.number)):
        order, touched = _record(session, one, at=at)
        kept.append(order)
        numbers |= touched
    apply_to_studies(session, numbers, targets, at=at, rules=rules)
    return kept


def _record(session: Session, placed: PlacedOrder, *, at: datetime) -> tuple[Order, set[str]]:
    """The row, and the accession numbers whose studies may feel what is new."""
    key = {"source": str(placed.source), "sender": placed.sender, "number": placed.number}
    insert_or_ignore(
        session, Order, **key, accession_number=placed.accession_number, patient_ids=[], digests=[], priority="",
        control_id="", received_at=at, changed_at=at,
    )  # fmt: skip
    order = session.scalars(sa.select(Order).filter_by(**key).with_for_update()).one()
    if placed.digest and placed.digest in order.digests:
        return order, set()
    before = order.accession_number
    order.accession_number, order.patient_ids = placed.accession_number, list(placed.patient_ids)
    order.control_id = placed.control_id
    if placed.urgency is not None or order.urgency is None:  # an empty field changes nothing, nor does an unknown word
        order.priority, order.urgency = placed.priority, placed.urgency
    order.ward = placed.ward or order.ward
    order.cancelled_at = (order.cancelled_at or at) if placed.cancelled else None
    if placed.digest:
        order.digests = [*order.digests, placed.digest][-REMEMBERED:]
    order.changed_at = at
    session.flush()
    return order, {before, placed.accession_number}


def apply_to_studies(
    session: Session, accession_numbers: Collection[str], targets: Targets, *, at: datetime, rules: RuleSet = NO_RULES
) -> int:
    """Make the claim of every unread study with one of these numbers anew; returns how many changed.

    The site's ``rules`` hear of the ward that an order names, whenever it comes.
    """
    numbers = sorted(set(accession_numbers) - {""})
    ids = sorted(set().union(*(_studies_of(session, number) for number in numbers)))
    changed = 0
    for start in range(0, len(ids), _TOGETHER):
        locked = (
            sa.select(Study)
            .where(Study.id.in_(ids[start : start + _TOGETHER]), Study.reading_status != ReadingStatus.READ)
            .order_by(Study.study_instance_uid)
            .with_for_update(key_share=True)
        )
        claimed = [study for study in session.scalars(locked).all() if _claim(session, study, rules, at=at)]
        for study in claimed:
            place_study(session, study, targets, at=at, who=WHO)
        changed += len(claimed)
    return changed


def _claim(session: Session, study: Study, rules: RuleSet, *, at: datetime) -> bool:
    """True when the case has to be placed anew."""
    ordered = claim_by_orders(session, study, at=at)  # first, because rules may ask for the order's ward
    return claim_by_rules(session, study, rules, at=at) or ordered


def _studies_of(session: Session, accession_number: str) -> set[int]:
    """Rows of the unread studies with a number: the newest, and those of the patients that its orders name."""
    same = (
        sa.select(Study.id)
        .where(Study.accession_number == accession_number, Study.reading_status != ReadingStatus.READ)
        .order_by(Study.id.desc())
    )
    found = set(session.scalars(same.limit(MOST_STUDIES)))
    if len(found) < MOST_STUDIES:
        return found
    ordered = session.scalars(sa.select(Order.patient_ids).where(Order.accession_number == accession_number))
    named = {str(one).strip().upper() for patient_ids in ordered for one in patient_ids}
    theirs = same.where(sa.func.upper(sa.func.trim(Study.patient_id)).in_(sorted(named)[:_TOGETHER]))
    return found.union(session.scalars(theirs.limit(_TOGETHER)))


def recent(session: Session, since: datetime) -> Sequence[str]:
    """Accession numbers of orders that changed lately: one and its study may have been written side by side."""
    return sorted(set(session.scalars(sa.select(Order.accession_number).where(Order.changed_at >= since))))


def claim_by_orders(session: Session, study: Study, *, at: datetime) -> bool:
    """Make the case's claim by orders anew; True when the case has to be placed anew.

    An order of another patient claims nothing; the case says that there is one.
    """
    standing, foreign = _orders_of(session, study)
    if foreign and MISMATCH not in study.flags:
        study.flags = [*study.flags, MISMATCH]
        events.record(session, "order_of_another_patient", at=at, study=study, who=WHO, sender=foreign[0].sender)
    elif not foreign and MISMATCH in study.flags:
        study.flags = [flag for flag in study.flags if flag != MISMATCH]
    _tell_ward(session, study, standing, at=at)
    claims = [study.header_urgency, *(order.urgency for order in standing)]
    claimed = Urgency.highest(*claims) if any(claim is not None for claim in claims) else None
    before = study.order_urgency
    if claimed is before:
        return False
    study.order_urgency = claimed
    deciding = next((order for order in standing if order.urgency is claimed), None)
    events.record(
        session,
        "order_claimed" if claimed is not None else "order_withdrawn",
        at=at,
        study=study,
        who=WHO,
        before=None if before is None else str(before),
        after=None if claimed is None else str(claimed),
        source=None if deciding is None else deciding.source,
        sender=None if deciding is None else deciding.sender,
        priority=None if deciding is None else deciding.priority,
    )
    return True


def _tell_ward(session: Session, study: Study, standing: Sequence[Order], *, at: datetime) -> None:
    """Where the patient is, as the order that was changed last says it; it shows where the images say nothing."""
    telling = max(
        (order for order in standing if order.ward), key=lambda order: (order.changed_at, order.id), default=None
    )
    ward = "" if telling is None else telling.ward
    if ward == study.order_ward:
        return
    study.order_ward = ward
    events.record(
        session,
        "ward_ordered",
        at=at,
        study=study,
        who=WHO,
        ward=ward,
        sender=None if telling is None else telling.sender,
    )


def without_orders(connection: sa.Connection, fresh: dict[str, list[Received]]) -> dict[str, list[Received]]:
    """Of new studies, by UID, those for which nothing is ordered: the others are not plain."""
    said = {uid: {i.header.accession_number for i in items} - {""} for uid, items in fresh.items()}
    asked = sorted(set().union(*said.values()))
    ordered = {number for (number,) in _ACCESSION.run(connection, len(asked), asked)} if asked else set()
    return {uid: items for uid, items in fresh.items() if not said[uid] & ordered}


def studies_to_ask(session: Session, since: datetime, limit: int) -> Sequence[tuple[int, str, datetime]]:
    """(row, accession number, arrival) of unread studies that came lately and have a number, latest first."""
    query = (
        sa.select(Study.id, Study.accession_number, Study.received_at)
        .where(OPEN, Study.received_at >= since, Study.accession_number != "")
        .order_by(Study.received_at.desc(), Study.id.desc())
        .limit(limit)
    )
    return [(number, accession, at) for number, accession, at in session.execute(query)]


def _orders_of(session: Session, study: Study) -> tuple[list[Order], list[Order]]:
    """Orders for the study that stand, and those that name another patient."""
    if not study.accession_number:
        return [], []
    query = sa.select(Order).where(
        Order.accession_number == study.accession_number, Order.cancelled_at.is_(None)
    ).order_by(Order.id)  # fmt: skip
    standing = session.scalars(query).all()
    ours = [order for order in standing if is_of(study.patient_id, order.patient_ids)]
    return ours, [order for order in standing if order not in ours]
