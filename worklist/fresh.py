"""Answers as of the latest commit: made once per commit, however many ask.

Two hundred open pages ask for the same list after each change. The database says in microseconds whether anything was
committed since an answer was made; while nothing was, it is given again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeVar, cast

from triage.database import Database

ANSWERS: Final = 64
"""Kept, the latest asked for; a page of 200 cases is about a megabyte."""
AGEING_SECONDS: Final = 1.0
"""An answer that says how long something has waited is made anew after this long."""
_Answer = TypeVar("_Answer")


@dataclass(slots=True)
class _Slot:
    """One question: whoever asks first makes the answer, the others wait for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    generation: int = -1
    made_at: float = 0.0
    """When its making began."""
    answer: Any = None


class Fresh:
    """Remembers answers until somebody commits; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._watch = database.watch()
        self._generation = 0
        self._slots: OrderedDict[Hashable, _Slot] = OrderedDict()
        self._lock = threading.Lock()

    def answer(self, question: Hashable, make: Callable[[], _Answer], *, ageing: bool = False) -> _Answer:
        """What ``make`` answered since the latest commit, or answers now.

        Parameters
        ----------
        question : hashable
            All that the answer depends on beside the database.
        ageing : bool
            It depends on the time too.

        Raises
        ------
        DatabaseUnavailableError
            An answer is given again only while the database says that it still holds.
        """
        asked = monotonic()
        with self._lock:
            slot = self._slots.setdefault(question, _Slot())
            self._slots.move_to_end(question)
            while len(self._slots) > ANSWERS:
                self._slots.popitem(last=False)
        with slot.lock:
            if slot.made_at > asked:  # begun while this caller waited: nothing that it could know of is missing
                return cast(_Answer, slot.answer)
            generation = self._seen()  # before the rows are read: what is committed meanwhile makes the next one new
            now = monotonic()
            old = ageing and now - slot.made_at > AGEING_SECONDS
            if slot.generation != generation or old:
                slot.answer, slot.generation, slot.made_at = make(), generation, now
            return cast(_Answer, slot.answer)

    def _seen(self) -> int:
        with self._lock:
            if self._watch.changed():
                self._generation += 1
            return self._generation

    def close(self) -> None:
        """Give the database connection back."""
        with self._lock:
            self._watch.close()
