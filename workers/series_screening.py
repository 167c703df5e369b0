"""From a study's CT slices to the volumes that a network reads, or the reasons why it does not. Headers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.ct.geometry import NoVolume, Slice, check
from models.metadata import SeriesSpec
from models.routing import Refusal
from triage.findings import NotAnalysed
from triage.logging import get_logger
from workers.screening import Candidate

_PIXEL_DATA = 0x7FE00010

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Looked:
    """The series of a study.

    Attributes
    ----------
    volumes : tuple of tuple of Candidate
        Each from below to above, headers without pixel data: four hundred slices of them are a few megabytes.
    left_out : tuple of NotAnalysed
        Slices that are part of none.
    """

    volumes: tuple[tuple[Candidate, ...], ...] = ()
    left_out: tuple[NotAnalysed, ...] = ()


def look_at(candidates: Sequence[Candidate], spec: SeriesSpec) -> Looked:
    """Find the volume in each series. Every one is read: which of them shows the bleeding is not known beforehand.

    Parameters
    ----------
    candidates : sequence of Candidate
        All slices that the bundle's header rules let through. They lose their pixel data.
    """
    series: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if _PIXEL_DATA in candidate.dataset:
            del candidate.dataset[_PIXEL_DATA]
        series.setdefault(str(candidate.dataset.get("SeriesInstanceUID", "")), []).append(candidate)
    volumes, left_out = [], []
    for uid in sorted(series):
        members = {candidate.sop_instance_uid: candidate for candidate in series[uid]}
        found = check((Slice.from_dataset(candidate.dataset) for candidate in series[uid]), spec)
        if isinstance(found, NoVolume):
            own = dict(found.left_out)
            left_out += [_not_analysed(member, own.get(member, found.refusal)) for member in members]
            continue
        log.info("volume_found", slices=len(found.slices), spacing_mm=round(found.spacing, 2), remarks=found.remarks)
        volumes.append(tuple(members[part.sop_instance_uid] for part in found.slices))
        left_out += [_not_analysed(sop_instance_uid, refusal) for sop_instance_uid, refusal in found.left_out]
    return Looked(volumes=tuple(volumes), left_out=tuple(left_out))


def _not_analysed(sop_instance_uid: str, refusal: Refusal) -> NotAnalysed:
    return NotAnalysed(sop_instance_uid=sop_instance_uid, reason=refusal.reason, detail=refusal.detail)
