"""Rows as the page's viewer is told them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from triage.repositories.renderings import Frames, Viewed
from triage.states import RenderingStatus
from triage.tables import AnalysisImage, Finding, Instance, Rendering
from worklist.schemas.viewing import (
    CaseViews,
    FrameOut,
    FramesOut,
    FrameViewOut,
    MarkOut,
    ViewedSeries,
    ViewOut,
    WindowOut,
)


def case_views(study_uid: str, viewed: Viewed) -> CaseViews:
    """The images of a case by series, in the order in which they are scrolled."""
    by_series: dict[str, list[Instance]] = {}
    for instance in viewed.instances:
        by_series.setdefault(instance.series_instance_uid, []).append(instance)
    groups = sorted(by_series.values(), key=lambda group: (_whole(group[0].series_number), group[0].id))
    waiting = (row for row in viewed.renderings.values() if row.status is RenderingStatus.ASKED)
    return CaseViews(series=[_series(study_uid, viewed, group) for group in groups], pending=sum(1 for _ in waiting))


def frames_out(study_uid: str, sop_uid: str, frames: Frames) -> FramesOut:
    """Some frames of an object, in their order."""
    words = f"{_image(study_uid, sop_uid)}/words?frame="
    told = []
    for number in frames.numbers:
        row = frames.renderings.get(number)
        ready = row is not None and row.status is RenderingStatus.READY
        told.append(
            FrameViewOut(
                number=number,
                status=row.status if row is not None else None,
                reason=row.reason if row is not None else "",
                url=f"{words}{number}" if ready else None,
                frame=_frame(row) if row is not None and ready else None,
            )
        )
    pending = sum(1 for frame in told if frame.status is RenderingStatus.ASKED)
    return FramesOut(count=frames.count, frames=told, pending=pending)


def _series(study_uid: str, viewed: Viewed, group: Sequence[Instance]) -> ViewedSeries:
    first = group[0]
    return ViewedSeries(
        series_instance_uid=first.series_instance_uid,
        modality=first.modality,
        description=first.series_description,
        number=first.series_number,
        images=[_view(study_uid, viewed, instance) for instance in _in_order(viewed, group)],
    )


def _in_order(viewed: Viewed, group: Sequence[Instance]) -> Sequence[Instance]:
    """By the place of the slices in space where all of them have one and no two share it, else by their number."""
    numbered = sorted(group, key=lambda instance: (_whole(instance.instance_number), instance.id))
    rows = [viewed.renderings.get(instance.id) for instance in numbered]
    places = [row.facts.get("position") if row is not None else None for row in rows]
    known = [float(place) for place in places if place is not None]
    if len(known) < len(group) or len(set(known)) < len(group):
        return numbered
    return [instance for _, instance in sorted(zip(known, numbered, strict=True), key=lambda pair: pair[0])]


def _view(study_uid: str, viewed: Viewed, instance: Instance) -> ViewOut:
    row = viewed.renderings.get(instance.id)
    ready = row is not None and row.status is RenderingStatus.READY
    looks = viewed.looks.get(instance.id, ())
    counted = [look for look in looks if look.reason is None and look.analysis_id in viewed.shown]
    image = _image(study_uid, instance.sop_instance_uid)
    return ViewOut(
        sop_instance_uid=instance.sop_instance_uid,
        instance_number=instance.instance_number,
        view_position=instance.view_position,
        frames=row.facts.get("frames", 1) if row is not None else 1,
        rate=row.facts.get("rate") if row is not None else None,
        place=next((look.detail for look in counted), ""),
        status=None if row is None else row.status,
        reason=_why_not(instance, row),
        url=f"{image}/words" if ready else None,
        frame=_frame(row) if row is not None and ready else None,
        preview_url=f"{image}/preview" if any(look.preview_path for look in looks) else None,
        marks=_marks(_study(study_uid), counted),
    )


def _study(study_uid: str) -> str:
    return f"/api/v1/studies/{quote(study_uid)}"


def _image(study_uid: str, sop_uid: str) -> str:
    return f"{_study(study_uid)}/instances/{quote(sop_uid)}"


def _why_not(instance: Instance, row: Rendering | None) -> str:
    if instance.removed_at is not None:
        return f"removed by retention on {instance.removed_at:%Y-%m-%d}; read it in the PACS"
    return row.reason if row is not None else ""


def _frame(row: Rendering) -> FrameOut:
    # Frames of an earlier version say nothing of the first two.
    told: dict[str, Any] = {"samples": 1, "function": "LINEAR"} | row.facts
    facts = {name: told[name] for name in FrameOut.model_fields if name != "windows"}
    windows = [WindowOut(centre=centre, width=width, name=name) for centre, width, name in row.facts["windows"]]
    return FrameOut(**facts, windows=windows)


def _marks(study: str, looks: Sequence[AnalysisImage]) -> list[MarkOut]:
    positive = [finding for look in looks for finding in look.findings if finding.positive]
    return [_mark(study, f) for f in sorted(positive, key=lambda f: (f.urgency.rank, -f.value))]


def _mark(study: str, finding: Finding) -> MarkOut:
    return MarkOut(
        finding_id=finding.id,
        key=finding.key,
        code=finding.code_value,
        meaning=finding.code_meaning,
        site=finding.site_meaning,
        laterality=finding.laterality,
        score=finding.value,
        threshold=finding.threshold,
        urgency=finding.urgency,
        outline=[[float(column), float(row)] for column, row in finding.outline],
        peak=[float(number) for number in finding.peak],
        heat_url=f"{study}/findings/{finding.id}/heat" if finding.heat_path else None,
    )


def _whole(text: str) -> int:
    return int(text) if text.strip().isdecimal() and len(text) < 12 else 0
