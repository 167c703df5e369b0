"""The reading list as it was last read, for the minutes in which the database does not answer.

Kept in the memory of one `serve` process, never written. It is always said to be old, and never answered as current.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, TypeVar

from triage.findings import Urgency
from worklist.schemas import WorklistPage

QUERIES: Final = 50
"""Pages kept, the latest asked for; one of 200 cases is about a megabyte."""
_Query = TypeVar("_Query")


@dataclass(frozen=True, slots=True)
class Kept:
    """A page of the list as of ``at``; counts of open cases by class where the page that asked shows them."""

    page: WorklistPage
    at: datetime
    counts: Mapping[Urgency, int] = field(default_factory=dict)


class Snapshot(Generic[_Query]):
    """The last answer to each query; thread-safe."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Query, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, query: _Query, kept: Kept) -> None:
        with self._lock:
            before = self._kept.pop(query, None)
            if before is not None and not kept.counts:
                kept = Kept(kept.page, kept.at, before.counts)
            self._kept[query] = kept
            while len(self._kept) > QUERIES:
                self._kept.popitem(last=False)

    def last(self, query: _Query) -> Kept | None:
        with self._lock:
            return self._kept.get(query)
