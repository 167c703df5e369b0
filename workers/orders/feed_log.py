"""What each order feed has done since this process started: told with its heartbeat, for page and doctor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from triage.errors import DeliveryError, FirstreadError
from triage.order_feeds import HL7, FeedState

_ASK_AGAIN: Final = "Check its address, and that our AE title is known there; it is asked again by itself."


def next_step_of(error: FirstreadError) -> str:
    """What to do about a worklist that could not be asked; no delivery waits for it, as errors of the network say."""
    return _ASK_AGAIN if error.next_step == DeliveryError.next_step else error.next_step or _ASK_AGAIN


class FeedLog:
    """Counts, from any thread.

    Parameters
    ----------
    on_refused : callable, optional
        Told what was wrong with a message, without a value of it, and which system sent it; never raises or waits.
    """

    def __init__(self, clock: Callable[[], datetime], *, on_refused: Callable[[str, str], None] | None = None) -> None:
        self._clock, self._on_refused = clock, on_refused
        self._lock = threading.Lock()
        self._states: dict[str, FeedState] = {}

    def opened(self, feed: str) -> None:
        """A feed is there, and has heard nothing yet."""
        self._change(feed, lambda state: state)

    def message_kept(self, orders: int) -> None:
        """An HL7 message was kept with its orders and acknowledged."""
        now = self._clock()
        self._change(
            HL7,
            lambda state: replace(
                state, last_at=now, messages=state.messages + 1, orders=state.orders + orders, problem=""
            ),
        )

    def message_refused(self, reason: str, sender: str) -> None:
        """An HL7 message was answered with AE or AR."""
        now = self._clock()
        self._change(
            HL7,
            lambda state: replace(state, last_at=now, messages=state.messages + 1, refused=state.refused + 1),
        )
        if self._on_refused is not None:
            self._on_refused(reason, sender)

    def message_unanswered(self, problem: str) -> None:
        """An HL7 message could not be kept now; its sender repeats it."""
        self._change(HL7, lambda state: replace(state, problem=problem))

    def looked(self, feed: str, heard: int, problem: str) -> bool:
        """A worklist was asked, or could not be; True where the problem is another one than before."""
        now = self._clock()
        before = self._change(
            feed,
            lambda state: replace(
                state, last_at=state.last_at if problem else now, orders=state.orders + heard, problem=problem
            ),
        )
        return problem != before.problem

    def told(self) -> list[dict[str, object]]:
        """Every feed, as :meth:`FeedState.of_detail` reads it."""
        with self._lock:
            return [state.as_detail() for state in self._states.values()]

    def _change(self, feed: str, change: Callable[[FeedState], FeedState]) -> FeedState:
        """Returns what it was before."""
        with self._lock:
            before = self._states.get(feed) or FeedState(feed, since=self._clock())
            self._states[feed] = change(before)
        return before
