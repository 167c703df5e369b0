"""Rows of the reading list as HTML, each made once for all pages that show it as long as it says the same.

After a commit most rows of a page say what they said before. What a row says depends on the item, the few words about
time beside it and who looks, and on nothing else: that is what it is remembered by.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from jinja2 import Environment
from markupsafe import Markup

from triage.states import ReadingStatus
from worklist.page.ages import shown_age
from worklist.page.rendering import duration
from worklist.schemas.cases import WorklistItem

ROWS: Final = 4096
"""Kept, the latest shown; about 4 kB each."""


@dataclass(frozen=True, slots=True)
class _Beside:
    """What a row says that is not in its item.

    Attributes
    ----------
    due, waiting, age : str
        In words, as of now.
    late : bool
        Its due time has passed.
    own : bool
        Whoever looks has claimed it.
    may_read : bool
        Whoever looks may take reading steps.
    """

    due: str
    late: bool
    waiting: str
    age: str
    own: bool
    may_read: bool


class Rows:
    """Rendered rows; thread-safe.

    Parameters
    ----------
    templates : jinja2.Environment
        With autoescape, so that a row may stand in another template as it is.
    """

    def __init__(self, templates: Environment) -> None:
        self._templates = templates
        self._made: OrderedDict[tuple[str, _Beside], Markup] = OrderedDict()
        self._lock = threading.Lock()

    def html(self, items: Sequence[WorklistItem], *, now: datetime, who: str, may_read: bool) -> list[Markup]:
        """A table row per item."""
        return [self._row(item, _beside(item, now, who, may_read)) for item in items]

    def _row(self, item: WorklistItem, beside: _Beside) -> Markup:
        key = (item.model_dump_json(), beside)
        with self._lock:
            known = self._made.get(key)
            if known is not None:
                self._made.move_to_end(key)
                return known
        template = self._templates.get_template("list_row.html")
        row = Markup(template.render(item=item, **asdict(beside)))  # noqa: S704 - autoescape escaped what is in it
        with self._lock:
            self._made[key] = row
            while len(self._made) > ROWS:
                self._made.popitem(last=False)
        return row


def _beside(item: WorklistItem, now: datetime, who: str, may_read: bool) -> _Beside:
    late = item.due_at < now
    left = f"{duration(now - item.due_at)} late" if late else f"in {duration(item.due_at - now)}"
    return _Beside(
        due="" if item.reading_status is ReadingStatus.READ else left,
        late=late,
        waiting=f"{'waited' if item.read_at else 'waiting'} {duration((item.read_at or now) - item.received_at)}",
        age=shown_age(item.patient_birth_date, item.study_date, item.patient_age, now.date()),
        own=bool(who) and item.reader == who,
        may_read=may_read,
    )
