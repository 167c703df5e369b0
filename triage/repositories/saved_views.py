"""Views of the reading list that people have saved: named queries, each person's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from triage.errors import NotFoundError, StateError
from triage.tables import SavedView

MOST: Final = 50
"""Views of one person; more make no list that anybody reads."""


def of_person(session: Session, who: str) -> Sequence[SavedView]:
    """A person's views by name, the default one first."""
    query = sa.select(SavedView).where(SavedView.who == who)
    return session.scalars(query.order_by(SavedView.is_default.desc(), SavedView.name)).all()


def save(
    session: Session, *, who: str, name: str, query: Mapping[str, Any], is_default: bool, at: datetime
) -> SavedView:
    """Keep a query under a new name.

    Raises
    ------
    StateError
        The person has a view of this name, or too many.
    """
    held = session.scalar(sa.select(sa.func.count()).where(SavedView.who == who)) or 0
    if held >= MOST:
        raise StateError(f"You have {MOST} views.", next_step="Delete one that you no longer need.")
    view = SavedView(who=who, name=name, query=dict(query), changed_at=at)
    session.add(view)
    _flush(session)
    if is_default:
        _make_default(session, view, wanted=True)
    return view


def change(
    session: Session,
    view_id: int,
    *,
    who: str,
    at: datetime,
    name: str | None = None,
    query: Mapping[str, Any] | None = None,
    is_default: bool | None = None,
) -> SavedView:
    """Change what is not None.

    Raises
    ------
    NotFoundError
        The person has no such view.
    StateError
        They have another one of this name.
    """
    view = _theirs(session, view_id, who)
    view.changed_at = at
    if name is not None:
        view.name = name
    if query is not None:
        view.query = dict(query)
    _flush(session)
    if is_default is not None:
        _make_default(session, view, wanted=is_default)
    return view


def delete(session: Session, view_id: int, *, who: str) -> None:
    """Forget a view.

    Raises
    ------
    NotFoundError
        The person has no such view.
    """
    session.delete(_theirs(session, view_id, who))


def _make_default(session: Session, view: SavedView, *, wanted: bool) -> None:
    others = sa.select(SavedView).where(SavedView.who == view.who, SavedView.is_default, SavedView.id != view.id)
    for other in session.scalars(others) if wanted else ():
        other.is_default = False
    view.is_default = wanted


def _theirs(session: Session, view_id: int, who: str) -> SavedView:
    view = session.scalar(sa.select(SavedView).where(SavedView.id == view_id, SavedView.who == who))
    if view is None:
        raise NotFoundError("You have no view with this id.", next_step="Reload your views.")
    return view


def _flush(session: Session) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        raise StateError("You have a view of this name.", next_step="Take another name.") from error
