"""Playing a list: people read, one case after the other, always the first of the list as it stands at that moment."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from triage.findings import Urgency
from worklist.simulation.cases import HOURS, MINUTES_PER_HOUR, Cases
from worklist.simulation.policies import Key, Policy

_CLASSES: Final = tuple(Urgency)
_DONE, _RESULT, _ARRIVAL, _SHIFT = range(4)
"""What happens, in this order at one moment: a reader who becomes free takes from the list that is complete by then."""


def waits(cases: Cases, policy: Policy, readers: Sequence[int]) -> NDArray[np.float64]:
    """Minutes from arrival until somebody begins to read, shape (n,), for each case.

    Nobody is interrupted (non-preemptive); a reader whose shift ends finishes the case at hand. A case is sorted by its
    order's class until the model's result is there, and by the higher of both from then on.

    Parameters
    ----------
    readers : sequence of 24 ints
        How many people read in each hour of the day; at least one hour has somebody.
    """
    return _Room(cases, policy, readers).play()


class _Room:
    def __init__(self, cases: Cases, policy: Policy, readers: Sequence[int]) -> None:
        self._arrived, self._reading = cases.arrived.tolist(), cases.reading.tolist()
        self._ordered, self._said = cases.order_urgency.tolist(), cases.ai_urgency.tolist()
        self._result_at = cases.result_at.tolist()
        self._policy, self._readers = policy, readers
        self._list: list[tuple[Key, int]] = []
        """Heap of (key, case); a case that was raised stands in it twice, and counts once."""
        self._begun: list[float] = [-1.0] * len(cases)
        self._busy = 0

    def play(self) -> NDArray[np.float64]:
        left = len(self._arrived)
        events = [(at, _ARRIVAL, case) for case, at in enumerate(self._arrived)]
        events += [
            (self._result_at[case], _RESULT, case)
            for case in range(left)
            if self._said[case] < self._ordered[case] and np.isfinite(self._result_at[case])
        ]
        events.append((0.0, _SHIFT, 0))
        heapq.heapify(events)
        while left:
            at, what, case = heapq.heappop(events)
            if what == _DONE:
                self._busy -= 1
                left -= 1
            elif what == _SHIFT:
                heapq.heappush(events, (at + MINUTES_PER_HOUR, _SHIFT, 0))
            elif self._begun[case] < 0:
                rank = self._ordered[case] if what == _ARRIVAL else self._said[case]
                heapq.heappush(self._list, (self._policy(self._arrived[case], _CLASSES[rank]), case))
            on_duty = self._readers[int(at // MINUTES_PER_HOUR) % HOURS]
            while self._busy < on_duty and (taken := self._take()) is not None:
                self._begun[taken] = at
                self._busy += 1
                heapq.heappush(events, (at + self._reading[taken], _DONE, taken))
        return np.array(self._begun, np.float64) - np.array(self._arrived, np.float64)

    def _take(self) -> int | None:
        while self._list:
            _, case = heapq.heappop(self._list)
            if self._begun[case] < 0:
                return case
        return None
