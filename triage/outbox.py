"""What follows from one try to deliver: again after a pause, done, or given up. Pure rules, no clock, no network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Final

FIRST_PAUSE: Final = timedelta(seconds=5)
LONGEST_PAUSE: Final = timedelta(hours=1)
SPREAD: Final = 0.2
"""Share by which a pause is shortened or lengthened, so that what failed together does not come back together."""


class Verdict(StrEnum):
    """How one try to deliver an object ended."""

    DELIVERED = "DELIVERED"
    """The destination answered Success or Warning."""
    TRANSIENT = "TRANSIENT"
    """It may go well later: away, silent, full, aborted, rejected as transient."""
    UNWELCOME = "UNWELCOME"
    """A setting at one end has to change: association rejected as permanent, SOP class not accepted."""
    REFUSED = "REFUSED"
    """The destination refuses this very object with a status that will not change."""
    HELD = "HELD"
    """This node does not send it: its file is damaged or its identity is no longer the study's."""


class Next(StrEnum):
    """What becomes of the delivery."""

    DONE = "DONE"
    AGAIN = "AGAIN"
    DEAD = "DEAD"


BUDGET: Final[Mapping[Verdict, int]] = {Verdict.UNWELCOME: 10, Verdict.REFUSED: 3, Verdict.HELD: 1}
"""Equal verdicts in a row that end a delivery. Some refusals are a full queue in disguise, and a PACS that is being
set up rejects everybody for a while: ten tries with their pauses give it most of an hour."""


def judge(*, stored: bool, status: int | None, retryable: bool, needs_attention: bool) -> Verdict:
    """The verdict on what a peer did.

    Parameters
    ----------
    stored : bool
        Answered with Success or Warning.
    status : int or None
        C-STORE status (PS3.4 B.2.3), None when no response came.
    retryable : bool
        The same bytes may be taken later, as :func:`dicom_node.scu.classify` says of a status.
    needs_attention : bool
        Without a status: a setting has to change (permanent rejection, no common presentation context).
    """
    if stored:
        return Verdict.DELIVERED
    if status is not None:
        return Verdict.TRANSIENT if retryable else Verdict.REFUSED
    return Verdict.UNWELCOME if needs_attention or not retryable else Verdict.TRANSIENT


def judge_http(status: int) -> Verdict:
    """The verdict on an HTTP status (RFC 9110 15, RFC 6585) that says nothing more about what was sent.

    What names the request itself (400, 413, 415, 422) is about this object; what names the place, the rights or the
    method is about a setting; a server that is busy or broken may take it later.
    """
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if status in (408, 421, 423, 424, 425, 429) or (status >= 500 and status not in (501, 505)):
        return Verdict.TRANSIENT
    if status in (400, 409, 412, 413, 415, 422):
        return Verdict.REFUSED
    return Verdict.UNWELCOME


def said_http(where: str, status: int) -> str:
    """What an HTTP status of a server means for a delivery, and what to do.

    Parameters
    ----------
    where : str
        ``host:port`` of the server.
    """
    match status:
        case 401 | 407:
            advice = "Correct its token_file, or user and password_file."
        case 403:
            advice = "Give our account the right to do this there."
        case 404 | 405 | 410 | 501:
            advice = "Correct the path in its address: the service is not there."
        case 413:
            advice = "Raise the largest request that it, or a proxy before it, takes."
        case _ if 300 <= status < 400:
            advice = "Redirects are not followed: give the address that it redirects to."
        case _:
            advice = ""
    return f"{where} answers HTTP {status}. {advice}".strip()


def next_step(verdict: Verdict, *, in_a_row: int, age: timedelta, give_up_after: timedelta) -> Next:
    """What follows from a try.

    Parameters
    ----------
    in_a_row : int
        How often the last tries ended exactly like this one, this one included.
    age : timedelta
        Since the object was owed, or a person asked for it again.
    """
    if verdict is Verdict.DELIVERED:
        return Next.DONE
    if age >= give_up_after or in_a_row >= BUDGET.get(verdict, in_a_row + 1):
        return Next.DEAD
    return Next.AGAIN


def pause_after(attempts: int, *, spread: float = 0.0) -> timedelta:
    """Pause before the next attempt: 5 s, 10 s, 20 s, ... up to an hour, each ± 20 %.

    Parameters
    ----------
    attempts : int
        Tries so far, 1 after the first.
    spread : float
        From -1 to 1: which point of the ± 20 %; see :func:`spread_of`.
    """
    pause = min(FIRST_PAUSE * float(1 << min(max(attempts, 1) - 1, 16)), LONGEST_PAUSE)
    return pause * (1 + SPREAD * spread)


def spread_of(*parts: str | int) -> float:
    """A number from -1 to 1 that is always the same for the same parts, and evenly spread over different ones."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / (2**63) - 1
