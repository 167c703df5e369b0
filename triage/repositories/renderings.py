"""Frames that the page shows: asked for when a person opens a case, made by a worker, thrown away unseen.

Of every instance the first frame is asked for; how many there are is known from it. Of the others those are asked for
that a person is near.

The files can be made again as long as the image is here, so none of them is backed up or checked, and what nobody has
looked at for :data:`KEPT` goes. What failed, or broke its worker :data:`ATTEMPTS` times, is asked for again after as
long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from triage.errors import NotFoundError
from triage.repositories.upsert import insert_or_ignore_all
from triage.states import RenderingStatus, advance
from triage.tables import Analysis, AnalysisImage, Finding, Instance, Rendering, Study

KEPT: Final = timedelta(days=1)
"""Since a person last opened the case."""
LEASE: Final = timedelta(minutes=2)
ATTEMPTS: Final = 3
_ASKED: Final = RenderingStatus.ASKED
_FIRST: Final = Rendering.frame == 1
MOST_IMAGES: Final = 4000
"""Of one study."""
NEAR: Final = 16
"""Frames before and behind the one that a person looks at, that are made with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A frame that is to be made: ``relative_path`` below the archive."""

    id: int
    instance_id: int
    frame: int
    relative_path: str
    siblings: int
    """Instances of its series."""


def ask(session: Session, study: Study, *, first: str = "", at: datetime) -> None:
    """Have every image of a study made that is not there; ``first`` is a SOP Instance UID, its neighbours follow.

    Reports and our own results have no picture of their own here.
    """
    query = (
        sa.select(Instance.id, Instance.sop_instance_uid, Instance.instance_number)
        .where(
            Instance.study_id == study.id,
            Instance.is_current,
            Instance.removed_at.is_(None),
            Instance.not_analysed.is_(None),
        )
        .order_by(Instance.id)
        .limit(MOST_IMAGES)
    )
    rows = sorted(session.execute(query), key=lambda row: (_whole(row.instance_number), row.id))
    if not rows:
        return
    begin = next((number for number, row in enumerate(rows) if row.sop_instance_uid == first), 0)
    places = {row.id: abs(number - begin) for number, row in enumerate(rows)}
    values = [_asked(id_, 1, place, at) for id_, place in places.items()]
    failed_long_ago = (
        Rendering.instance_id.in_(_of(study)),
        Rendering.status == RenderingStatus.FAILED,
        Rendering.not_before <= at - KEPT,
    )
    session.execute(sa.delete(Rendering).where(*failed_long_ago))
    insert_or_ignore_all(session.connection(), Rendering, values)
    session.execute(sa.update(Rendering).where(Rendering.instance_id.in_(_of(study))).values(asked_at=at))
    for row in session.scalars(sa.select(Rendering).where(Rendering.instance_id.in_(_of(study)), _FIRST)):
        if row.status is _ASKED and row.instance_id in places:
            row.place = places[row.instance_id]


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """Some frames of an object, in their order.

    Attributes
    ----------
    count : int
        Frames that the object has.
    numbers : range
        The frames that are told: the one that is looked at and its neighbours.
    renderings : mapping
        By frame number; a frame that nobody asked for has none.
    """

    count: int
    numbers: range
    renderings: Mapping[int, Rendering]


def ask_frames(session: Session, study: Study, sop_instance_uid: str, *, near: int, at: datetime) -> None:
    """Have a frame of an object made, and its neighbours after it; what is not there yet of the others, later.

    Raises
    ------
    NotFoundError
        As :func:`frames`.
    """
    first, numbers = _frames_near(session, study, sop_instance_uid, near)
    values = [_asked(first.instance_id, number, abs(number - near), at) for number in numbers]
    insert_or_ignore_all(session.connection(), Rendering, values)
    # Who scrolls on waits for none of the frames that were passed.
    session.execute(
        sa.update(Rendering)
        .where(Rendering.instance_id == first.instance_id, Rendering.status == _ASKED)
        .values(place=sa.func.abs(Rendering.frame - near))
    )


def frames(session: Session, study: Study, sop_instance_uid: str, near: int) -> Frames:
    """A frame and its neighbours, at most :data:`NEAR` on each side.

    Raises
    ------
    NotFoundError
        The study has no such image, how many frames it has is not known (yet), or it has no such frame.
    """
    first, numbers = _frames_near(session, study, sop_instance_uid, near)
    query = sa.select(Rendering).where(
        Rendering.instance_id == first.instance_id, Rendering.frame.between(numbers.start, numbers.stop - 1)
    )
    found = {row.frame: row for row in session.scalars(query)}
    return Frames(count=_count(first), numbers=numbers, renderings=found)


def _frames_near(session: Session, study: Study, sop_instance_uid: str, near: int) -> tuple[Rendering, range]:
    first = _row(session, study, sop_instance_uid, 1)
    if first.status is _ASKED:
        raise NotFoundError("The image is being made ready.", next_step="Ask again in a moment.")
    count = _count(first)
    if near > count:
        raise NotFoundError(f"The image has {count} frames; there is no frame {near}.")
    return first, range(max(1, near - NEAR), min(count, near + NEAR) + 1)


def _count(first: Rendering) -> int:
    return int(first.facts.get("frames", 1))


def _asked(instance_id: int, frame: int, place: int, at: datetime) -> dict[str, Any]:
    return {
        "instance_id": instance_id, "frame": frame, "asked_at": at, "place": place, "not_before": at, "status": _ASKED,
        "reason": "", "attempts": 0, "relative_path": "", "facts": {},
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Viewed:
    """What there is to look at in a study.

    Attributes
    ----------
    instances : sequence of Instance
        Current ones, reports and our own results left out.
    renderings : mapping
        First frames by instance id; an instance that nobody asked for has none.
    looks : mapping
        By instance id: what analyses made of it, latest last, with findings.
    shown : set of int
        Ids of the analyses whose findings count.
    """

    instances: Sequence[Instance]
    renderings: Mapping[int, Rendering]
    looks: Mapping[int, Sequence[AnalysisImage]]
    shown: frozenset[int]


def viewed(session: Session, study: Study) -> Viewed:
    """Everything that the viewer is told of a study: four queries, however many images it has."""
    instances = session.scalars(
        sa.select(Instance)
        .where(Instance.study_id == study.id, Instance.is_current, Instance.not_analysed.is_(None))
        .order_by(Instance.id)
        .limit(MOST_IMAGES)
    ).all()
    renderings = session.scalars(sa.select(Rendering).where(Rendering.instance_id.in_(_of(study)), _FIRST)).all()
    scored = session.execute(
        sa.select(Analysis.id, Analysis.revision).where(Analysis.study_id == study.id, Analysis.scored_at.is_not(None))
    ).all()
    latest = max((row.revision for row in scored), default=0)
    looks: dict[int, list[AnalysisImage]] = {}
    query = (
        sa.select(AnalysisImage)
        .join(AnalysisImage.analysis)
        .where(Analysis.study_id == study.id)
        .order_by(AnalysisImage.id)
        .options(selectinload(AnalysisImage.findings))
    )
    for image in session.scalars(query):
        looks.setdefault(image.instance_id, []).append(image)
    return Viewed(
        instances=instances,
        renderings={row.instance_id: row for row in renderings},
        looks=looks,
        shown=frozenset(row.id for row in scored if row.revision == latest),
    )


def words_of(session: Session, study: Study, sop_instance_uid: str, frame: int = 1) -> Rendering:
    """A frame that is there.

    Raises
    ------
    NotFoundError
        The study has no such image, or there is no frame of it (yet); the text says which.
    """
    row = _row(session, study, sop_instance_uid, frame)
    if row.status is not RenderingStatus.READY:
        raise NotFoundError(row.reason or "The image is being made ready.", next_step="Ask again in a moment.")
    return row


def _row(session: Session, study: Study, sop_instance_uid: str, frame: int) -> Rendering:
    row = session.scalar(
        sa.select(Rendering)
        .join(Rendering.instance)
        .where(
            Instance.study_id == study.id,
            Instance.is_current,
            Instance.sop_instance_uid == sop_instance_uid,
            Rendering.frame == frame,
        )
    )
    if row is None:
        raise NotFoundError("Nobody has asked for this image.", next_step="POST to …/views, which has it made.")
    return row


def heat_path(session: Session, study: Study, finding_id: int) -> str:
    """Where the heat map of a finding lies, below the results root.

    Raises
    ------
    NotFoundError
        The study has no such finding, or no map was made of it.
    """
    path = session.scalar(
        sa.select(Finding.heat_path)
        .join(Finding.image)
        .join(AnalysisImage.analysis)
        .where(Analysis.study_id == study.id, Finding.id == finding_id)
    )
    if not path:
        raise NotFoundError("The study has no heat map of a finding with this id.")
    return path


def any_due(session: Session, now: datetime) -> bool:
    """True when a frame is to be made."""
    query = sa.select(sa.exists().where(Rendering.status == _ASKED, Rendering.not_before <= now))
    return session.scalar(query) or False


def claim(session: Session, now: datetime, limit: int) -> Sequence[Asked]:
    """Frames to make now, those first that a person is looking at; nobody else gets them for :data:`LEASE`."""
    query = (
        sa.select(Rendering)
        .where(Rendering.status == _ASKED, Rendering.not_before <= now)
        .order_by(Rendering.place, Rendering.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    claimed = []
    for row in session.scalars(query):
        if row.attempts >= ATTEMPTS:
            fail(session, row.id, "making it broke its worker", at=now)
            continue
        row.attempts, row.not_before = row.attempts + 1, now + LEASE
        instance = session.get_one(Instance, row.instance_id)
        if instance.removed_at is not None:
            fail(session, row.id, f"the image was removed by retention on {instance.removed_at:%Y-%m-%d}", at=now)
            continue
        siblings = sa.select(sa.func.count()).where(
            Instance.series_instance_uid == instance.series_instance_uid,
            Instance.study_id == instance.study_id,
            Instance.is_current,
        )
        claimed.append(
            Asked(id=row.id, instance_id=instance.id, frame=row.frame, relative_path=instance.relative_path,
                  siblings=session.scalar(siblings) or 1)
        )  # fmt: skip
    return claimed


def conclude(session: Session, rendering_id: int, relative_path: str, facts: Mapping[str, Any]) -> bool:
    """Record a frame that was made; False when nobody wants it any more, and its file is to go."""
    row = session.get(Rendering, rendering_id, with_for_update=True)
    if row is None or session.get_one(Instance, row.instance_id).removed_at is not None:
        return False
    if row.status is _ASKED:
        row.status = advance(row.status, RenderingStatus.READY)
    row.relative_path, row.facts, row.reason = relative_path, dict(facts), ""
    return True


def fail(session: Session, rendering_id: int, reason: str, *, frames: int = 1, at: datetime) -> None:
    """This frame cannot be shown; of ``frames``, the others may be sound."""
    row = session.get(Rendering, rendering_id, with_for_update=True)
    if row is not None and row.status is _ASKED:
        row.status, row.reason, row.not_before = advance(row.status, RenderingStatus.FAILED), reason, at
        row.facts = {"frames": frames}


def lost(session: Session, rendering_id: int, *, at: datetime) -> None:
    """The file of this frame is gone: it is made again."""
    row = session.get(Rendering, rendering_id, with_for_update=True)
    if row is not None and row.status is RenderingStatus.READY:
        row.status, row.not_before, row.attempts = advance(row.status, _ASKED), at, 0


def forget_unseen(session: Session, now: datetime, limit: int) -> Sequence[str]:
    """Forget frames of cases that nobody has opened for :data:`KEPT`; the files to unlink, below the results root."""
    query = sa.select(Rendering).where(Rendering.asked_at < now - KEPT).order_by(Rendering.asked_at).limit(limit)
    return _forget(session, session.scalars(query).all())


def forget(session: Session, instance_ids: Sequence[int]) -> Sequence[str]:
    """Forget the frames of instances whose files go; the files to unlink, below the results root."""
    return _forget(session, session.scalars(sa.select(Rendering).where(Rendering.instance_id.in_(instance_ids))).all())


def _forget(session: Session, rows: Sequence[Rendering]) -> Sequence[str]:
    for row in rows:
        session.delete(row)
    return [row.relative_path for row in rows if row.relative_path]


def _of(study: Study) -> sa.Select[int]:
    return sa.select(Instance.id).where(Instance.study_id == study.id)


def _whole(text: str) -> int:
    return int(text) if text.strip().isdecimal() and len(text) < 12 else 0
