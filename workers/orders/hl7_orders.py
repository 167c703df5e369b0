"""An HL7 v2 order message (chapter 4: ORM^O01, OMI^O23, OMG^O19) as the orders it places, changes or cancels.

Tolerant in what it reads: only what names the order, its patient, where that is, and its urgency is looked at.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from triage.errors import DicomError, IdentifierError
from triage.findings import Urgency
from triage.identifiers import accession_number, ward_text
from triage.order_feeds import Hl7Orders
from triage.orders import OrderSource, PlacedOrder, urgency_of
from workers.messages.hl7 import Message, Segment

TYPES: Final = frozenset({"ORM", "OMI", "OMG"})
CANCELS: Final = frozenset({"CA", "OC", "DC", "OD", "CR", "DR"})
"""ORC-1 (table 0119): cancel, discontinue, as asked for, as reported without asking, and as confirmed."""
CANCELLED: Final = frozenset({"CA", "DC"})
"""ORC-5 (table 0038)."""
_PRIORITIES: Final = (("TQ1", 9, 1), ("OBR", 27, 6), ("ORC", 7, 6), ("OBR", 5, 1))
"""Where a priority may stand. Where several say different things the highest counts: a field may hold a default."""
_LONGEST: Final = 64
LONGEST_SENDER: Final = _LONGEST
"""Characters of application and facility."""


class OrderRefusedError(DicomError):
    """A message that places no order that could be kept. The text names fields and never values.

    Attributes
    ----------
    reject : bool
        It is of a kind that is not taken here (AR), rather than wrong in itself (AE).
    """

    next_step = "Correct it at the sender, or set where the accession number stands (hl7_orders.accession)."

    def __init__(self, message: str, *, field: str = "", reject: bool = False) -> None:
        super().__init__(message)
        self.field, self.reject = field, reject


@dataclass(frozen=True, slots=True)
class _Group:
    """An ORC with the segments that belong to it; an OBR may stand alone."""

    segments: Sequence[Segment]

    def first(self, name: str) -> Segment | None:
        return next((segment for segment in self.segments if segment.name == name), None)

    def text(self, name: str, field: int, component: int = 1) -> str:
        segment = self.first(name)
        return segment.text(field, component).strip() if segment else ""


def read_orders(message: Message, options: Hl7Orders, content: bytes) -> list[PlacedOrder]:
    """The orders of a message.

    Parameters
    ----------
    content : bytes
        The message as it came: what is the same to the byte is the same message.

    Raises
    ------
    OrderRefusedError
        Another type of message, no order in it, or one without a number that names it.
    """
    header = message.first("MSH")
    kind = header.text(9).strip().upper() if header else ""
    if header is None or kind not in TYPES:
        raise OrderRefusedError("Only orders (ORM, OMI, OMG) are taken here.", field="MSH-9", reject=True)
    sender = "|".join((header.text(3), header.text(4)))[:LONGEST_SENDER]
    digest = hashlib.sha256(content).hexdigest()[:16]
    patient = message.first("PID")
    patient_ids = tuple(dict.fromkeys(_identifiers(patient))) if patient else ()
    groups = list(_groups(message))
    if not groups:
        raise OrderRefusedError("The message has neither ORC nor OBR.", field="ORC")
    control_id = header.text(10)[:_LONGEST]
    visit = message.first("PV1")
    ward = ward_text(visit.text(3)) if visit else ""
    placed = [
        _order(group, options, sender=sender, patient_ids=patient_ids, ward=ward, control_id=control_id, digest=digest)
        for group in groups
    ]
    return _told_apart(placed)


def _told_apart(placed: Sequence[PlacedOrder]) -> list[PlacedOrder]:
    """Orders of one message under one number, as of several examinations: each is kept under a name of its own."""
    often = {number for number, count in Counter(order.number for order in placed).items() if count > 1}
    return [
        replace(
            order,
            number=f"{order.number[: _LONGEST - 18]}|{order.accession_number}",
            digest=f"{order.digest}.{place}",
        )
        if order.number in often
        else order
        for place, order in enumerate(placed)
    ]


def _order(
    group: _Group, options: Hl7Orders, *, sender: str, patient_ids: tuple[str, ...], ward: str, control_id: str,
    digest: str,
) -> PlacedOrder:  # fmt: skip
    accession = next(filter(None, (_at(group, place) for place in options.accession)), "")
    if not accession:
        raise OrderRefusedError(f"No accession number in {', '.join(options.accession)}.", field=options.accession[0])
    try:
        accession = accession_number(accession)
    except IdentifierError:
        raise OrderRefusedError("The accession number cannot be one of DICOM.", field=options.accession[0]) from None
    said, urgency = _priority(group, options)
    number = next(filter(None, (_named(group, place) for place in ("ORC-2", "OBR-2", "ORC-3", "OBR-3"))), accession)
    if "\0" in "".join((sender, number, said, control_id, *patient_ids)):
        raise OrderRefusedError("A field holds a NUL, which cannot be kept.")
    return PlacedOrder(
        source=OrderSource.HL7,
        sender=sender,
        number=number[:_LONGEST],
        accession_number=accession,
        patient_ids=patient_ids,
        priority=said[:16],
        urgency=urgency,
        ward=ward,
        cancelled=group.text("ORC", 1).upper() in CANCELS or group.text("ORC", 5).upper() in CANCELLED,
        control_id=control_id,
        digest=digest,
    )


def _priority(group: _Group, options: Hl7Orders) -> tuple[str, Urgency | None]:
    """The priority that decides, as it is written, and what it means."""
    said = [text for text in (group.text(*place) for place in _PRIORITIES) if text]
    known = [(text, urgency) for text in said if (urgency := urgency_of(text, options.priorities)) is not None]
    if not known:
        return (said[0] if said else "", None)
    return min(known, key=lambda one: one[1].rank)


def _at(group: _Group, place: str) -> str:
    name, _, field = place.partition("-")
    return group.text(name, int(field))


def _named(group: _Group, place: str) -> str:
    """An entity identifier (EI) whole: the same number of two placers behind one sender names two orders."""
    if not _at(group, place):
        return ""
    name, _, field = place.partition("-")
    return "^".join(group.text(name, int(field), part) for part in (1, 2, 3, 4)).rstrip("^")


def _groups(message: Message) -> Iterator[_Group]:
    """An order begins with ORC, or with an OBR where the group before has one already; that one shares its ORC."""
    current: list[Segment] = []
    names: set[str] = set()
    for segment in message.segments:
        if segment.name == "ORC" or (segment.name == "OBR" and "OBR" in names):
            if current:
                yield _Group(tuple(current))
            # Several examinations under one ORC share what it and its TQ1 say.
            shared = [one for one in current if one.name in ("ORC", "TQ1")] if segment.name == "OBR" else []
            current = [*shared, segment]
            names = {one.name for one in current}
        elif current or segment.name == "OBR":
            current.append(segment)
            names.add(segment.name)
    if current:
        yield _Group(tuple(current))


def _identifiers(patient: Segment) -> Iterator[str]:
    """Identifiers of PID-3, else of the older PID-2 and PID-4."""
    for field in (3, 2, 4):
        count = patient.field(field).count(patient.delimiters.repetition) + 1
        found = [patient.text(field, repetition=number + 1).strip()[:_LONGEST] for number in range(min(count, 20))]
        yield from filter(None, found)
        if any(found):
            return
