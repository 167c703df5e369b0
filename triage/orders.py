"""Orders as other systems say them: which examination is how urgent, said by a person before it was made. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from triage.findings import Urgency
from triage.identifiers import names_nobody

_BY_WORD: Final[Mapping[str, Urgency]] = {
    "S": Urgency.STAT,
    "STAT": Urgency.STAT,
    "EMERGENCY": Urgency.STAT,
    "A": Urgency.URGENT,
    "ASAP": Urgency.URGENT,
    "URGENT": Urgency.URGENT,
    "HIGH": Urgency.URGENT,
    "P": Urgency.URGENT,
    "PREOP": Urgency.URGENT,
    "C": Urgency.URGENT,
    "CALLBACK": Urgency.URGENT,
    "RR": Urgency.URGENT,
    "T": Urgency.URGENT,
    "R": Urgency.ROUTINE,
    "ROUTINE": Urgency.ROUTINE,
    "MEDIUM": Urgency.ROUTINE,
    "LOW": Urgency.ROUTINE,
    "PRN": Urgency.ROUTINE,
}
"""Priorities of HL7 (tables 0027 and 0485: S, A, P, C, RR, T, R, PRN) and of DICOM (0040,1003); full words."""
_TIMED: Final = re.compile(r"T([SMHDWL])\d{1,4}", re.ASCII)
"""Timing critical within so many seconds, minutes, hours; or days, weeks, months, which is no hurry of today."""


class OrderSource(StrEnum):
    HL7 = "HL7"
    """A message that came."""
    WORKLIST = "WORKLIST"
    """A Modality Worklist that was asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedOrder:
    """What another system says of an order now.

    Attributes
    ----------
    sender : str
        The system: application and facility of an HL7 message, address of a worklist.
    number : str
        Names the order among those of its sender; what is said later of the same number replaces what was said.
    patient_ids : tuple of str
        Identifiers of its patient, any of which a study may carry; empty where the sender names none.
    priority : str
        As the sender wrote it.
    urgency : Urgency or None
        What that means; None where nobody knows.
    ward : str
        Where the patient is, as the sender names it; empty where it does not say.
    control_id : str
        Of the message that says so.
    digest : str
        Of that message: the same message again says nothing new.
    """

    source: OrderSource
    sender: str
    number: str
    accession_number: str
    patient_ids: tuple[str, ...]
    priority: str
    urgency: Urgency | None
    ward: str = ""
    cancelled: bool = False
    control_id: str = ""
    digest: str = ""


def urgency_of(priority: str, site: Mapping[str, Urgency] | None = None) -> Urgency | None:
    """The class that a priority asks for; None when nobody knows, and then it asks for nothing.

    Parameters
    ----------
    site : mapping, optional
        A site's own codes in upper case; they win.
    """
    word = priority.strip().upper()
    if site and word in site:
        return site[word]
    timed = _TIMED.fullmatch(word)
    if timed:
        return Urgency.URGENT if timed[1] in "SMH" else Urgency.ROUTINE
    return _BY_WORD.get(word)


def is_of(patient_id: str, patient_ids: tuple[str, ...] | list[str]) -> bool:
    """Whether a study's patient may be an order's: yes where one of them is not named, as in an emergency."""
    named = {one.strip().upper() for one in patient_ids if not names_nobody(one)}
    return names_nobody(patient_id) or not named or patient_id.strip().upper() in named
