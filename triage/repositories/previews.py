"""What one destination has, gets or would get of a study: from rows and its settings, without building anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from triage.errors import NotFoundError
from triage.peers import Destination
from triage.profiles import OF_AN_IMAGE, Kind, ResultKind
from triage.states import AnalysisStatus
from triage.tables import Analysis, AnalysisImage, Delivery, ResultObject, Study

OF_POSITIVES: Final = frozenset(
    {
        ResultKind.SEGMENTATION,
        ResultKind.PARAMETRIC_MAP,
        ResultKind.PRESENTATION_STATE,
        ResultKind.KEY_OBJECTS,
    }
)
"""Objects that there are only where something was found."""


class Standing(StrEnum):
    """How an object stands to a destination."""

    OWED = "owed"
    """It was sent, or is on its way: its delivery says which."""
    HERE = "here"
    """It is stored in the form that the destination wants and was never owed to it."""
    NOT_BUILT = "not built"
    """The destination wants it and it does not exist: its profile is newer than the analysis, or building failed."""
    FORMER = "former"
    """It was sent in a form that the destination's profile does not ask for any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Previewed:
    """One object of a study as a destination gets it.

    Attributes
    ----------
    row : ResultObject or None
        None for what is not built.
    delivery : Delivery or None
        To this destination.
    source_instance_id : int or None
        Of the image that the object is about; None for the study.
    """

    kind: str
    variant: str
    standing: Standing
    analysis: Analysis
    source_instance_id: int | None = None
    row: ResultObject | None = None
    delivery: Delivery | None = None


def preview(session: Session, study_instance_uid: str, destination: Destination) -> list[Previewed]:
    """What the destination gets of a study's current results, in the order in which it is sent.

    Raises
    ------
    NotFoundError
        No such study.
    """
    query = (
        sa.select(Study)
        .where(Study.study_instance_uid == study_instance_uid)
        .options(
            selectinload(Study.analyses)
            .selectinload(Analysis.result_objects)
            .selectinload(ResultObject.deliveries)
            .selectinload(Delivery.commitment),
            selectinload(Study.analyses).selectinload(Analysis.images).selectinload(AnalysisImage.instance),
            selectinload(Study.analyses).selectinload(Analysis.images).selectinload(AnalysisImage.findings),
        )
    )
    study = session.scalar(query)
    if study is None:
        raise NotFoundError("No study with this Study Instance UID is known.")
    return [item for analysis in reported(study) for item in _of_analysis(study, analysis, destination)]


def reported(study: Study) -> list[Analysis]:
    """Of each bundle the last analysis that issued a report: what it said is what counts."""
    last = {
        analysis.bundle_name: analysis
        for analysis in sorted(study.analyses, key=lambda a: a.revision)
        if analysis.status is AnalysisStatus.SUCCEEDED
        and any(row.kind == ResultKind.REPORT for row in analysis.result_objects)
    }
    return list(last.values())


def _of_analysis(study: Study, analysis: Analysis, destination: Destination) -> Iterator[Previewed]:
    address, wanted = destination.address, destination.wanted
    about_images = _about_images(study, analysis)
    for kind, variant in sorted(wanted, key=lambda each: place_of(each[0])):
        found: list[tuple[int | None, ResultObject | None]]
        if kind in OF_AN_IMAGE:
            found = [
                (image, _newest(rows, kind, variant)) for image, rows in about_images.items() if _was_explained(rows)
            ]
        else:
            found = [(None, _newest(analysis.result_objects, kind, variant))]
        for image, row in found:
            if row is None and kind in OF_POSITIVES and not _positive(analysis, image):
                continue
            delivery = _to(row, address)
            standing = Standing.NOT_BUILT if row is None else Standing.OWED if delivery else Standing.HERE
            yield Previewed(
                kind=kind, variant=variant, standing=standing, analysis=analysis, source_instance_id=image, row=row,
                delivery=delivery,
            )  # fmt: skip
    for row in [*(row for rows in about_images.values() for row in rows), *_about_the_study(analysis)]:
        delivery = _to(row, address)
        if delivery is not None and (row.kind, row.variant) not in wanted:
            yield Previewed(
                kind=row.kind, variant=row.variant, standing=Standing.FORMER, analysis=analysis,
                source_instance_id=row.source_instance_id, row=row, delivery=delivery,
            )  # fmt: skip


def place_of(kind: str) -> tuple[bool, int]:
    """Where a kind stands in the order of building and sending: what is shown before what shows it."""
    kinds = [*map(str, ResultKind)]
    return kind not in OF_AN_IMAGE, kinds.index(kind) if kind in kinds else len(kinds)


def _about_images(study: Study, analysis: Analysis) -> dict[int, list[ResultObject]]:
    """Objects about each scored image that counts, also from the revisions whose findings were taken over."""
    images = [i.instance_id for i in analysis.images if i.reason is None and i.instance.is_current]
    rows: dict[int, list[ResultObject]] = {image: [] for image in images}
    for earlier in study.analyses:
        if earlier.weights_sha256 == analysis.weights_sha256 and earlier.revision <= analysis.revision:
            for row in earlier.result_objects:
                if row.source_instance_id in rows:
                    rows[row.source_instance_id].append(row)
    return rows


def _about_the_study(analysis: Analysis) -> list[ResultObject]:
    return [row for row in analysis.result_objects if row.source_instance_id is None]


def _positive(analysis: Analysis, image: int | None) -> bool:
    return any(
        finding.positive for each in analysis.images if image in (None, each.instance_id) for finding in each.findings
    )


def _was_explained(rows: Sequence[ResultObject]) -> bool:
    """An image without the heat map that every image gets has no map, and so no other object either."""
    return _newest(rows, ResultKind.HEAT_MAP, "") is not None


def _newest(rows: Sequence[ResultObject], kind: Kind, variant: str) -> ResultObject | None:
    return max((r for r in rows if (r.kind, r.variant) == (kind, variant)), key=lambda r: r.id, default=None)


def _to(row: ResultObject | None, address: str) -> Delivery | None:
    return next((d for d in row.deliveries if d.destination == address), None) if row is not None else None
