"""The reading list as it was last read, for the minutes in which the database does not answer.

Kept in the memory of one `serve` process, never written. It is always said to be old, and never answered as current.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final, Generic, TypeVar

from triage.findings import Urgency
from worklist.schemas.cases import WorklistPage

QUERIES: Final = 50
"""Pages kept, the latest asked for; one of 200 cases is about a megabyte."""
_Query = TypeVar("_Query")


@dataclass(frozen=True)
class Kept:
    """A page of the list as of ``at``; counts of open cases by class where the page that asked shows them."""

    page: WorklistPage
    at: datetime
    counts: Mapping[Urgency, int] = field(default_factory=dict)

    @cached_property
    def json(self) -> bytes:
        """The page as the API says it."""
        return self.page.model_dump_json().encode()

    @cached_property
    def etag(self) -> str:
        """Strong entity tag (RFC 9110 8.8.3): equal for equal pages, of whichever process and database."""
        return f'"{hashlib.sha256(self.json).hexdigest()[:32]}"'


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
