"""What an analysis found, at rest: images, findings, result objects, and back into plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from triage import tables
from triage.findings import Algorithm, Code, Finding, ImageResult, NotAnalysed, Region, Score


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltObject:
    """A result object that lies durably below the results root and is about to be recorded."""

    kind: str
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    relative_path: str
    sha256: str
    size: int
    source_instance_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Previews:
    """Files below the results root that the page shows for one image; "" where there is none."""

    image: str = ""
    overlay: str = ""


def current_instances(session: Session, study_id: int) -> Sequence[tables.Instance]:
    """The study's instances as they count now, in order of arrival."""
    query = (
        sa.select(tables.Instance)
        .where(tables.Instance.study_id == study_id, tables.Instance.is_current)
        .order_by(tables.Instance.id)
    )
    return session.scalars(query).all()


def record_images(
    session: Session,
    analysis: tables.Analysis,
    algorithm: Algorithm | None,
    images: Sequence[ImageResult],
    not_analysed: Sequence[NotAnalysed],
    instance_ids: Mapping[str, int],
    *,
    at: datetime,
) -> None:
    """Add newly looked-at images and their findings; images recorded by an earlier look stay as they are.

    Parameters
    ----------
    instance_ids : mapping
        SOP Instance UID to the id of the instance row that was read.
    """
    if algorithm is not None:
        analysis.bundle_name, analysis.bundle_version = algorithm.name, algorithm.version
        analysis.weights_sha256 = algorithm.weights_sha256
    recorded = {image.instance_id for image in analysis.images}
    for result in images:
        if instance_ids[result.sop_instance_uid] not in recorded:
            row = tables.AnalysisImage(instance_id=instance_ids[result.sop_instance_uid])
            row.findings = [_finding_row(finding) for finding in result.findings]
            analysis.images.append(row)
            analysis.scored_at = analysis.scored_at or at
    for excluded in not_analysed:
        if instance_ids[excluded.sop_instance_uid] not in recorded:
            analysis.images.append(
                tables.AnalysisImage(
                    instance_id=instance_ids[excluded.sop_instance_uid],
                    reason=excluded.reason,
                    detail=excluded.detail,
                )
            )
    session.flush()


def record_regions(
    analysis: tables.Analysis,
    images: Sequence[ImageResult],
    previews: Mapping[str, Previews],
) -> None:
    """Add what explanation brought: regions of the positive findings and the pictures of the page."""
    by_uid = {image.instance.sop_instance_uid: image for image in analysis.images}
    for result in images:
        row = by_uid[result.sop_instance_uid]
        pictures = previews.get(result.sop_instance_uid, Previews())
        row.preview_path, row.overlay_path = pictures.image, pictures.overlay
        regions = {finding.key: finding.region for finding in result.findings}
        for finding in row.findings:
            region = regions.get(finding.key)
            finding.outline = [list(point) for point in region.outline] if region else []
            finding.peak = list(region.peak) if region else []


def record_objects(
    session: Session,
    analysis: tables.Analysis,
    objects: Sequence[BuiltObject],
    destinations: Mapping[str, Sequence[str]],
    *,
    at: datetime,
) -> None:
    """Record result objects and owe them to destinations.

    Parameters
    ----------
    destinations : mapping
        ``AET@host:port`` to the kinds it takes ("SR", "SC").
    """
    for built in objects:
        row = tables.ResultObject(
            analysis=analysis, created_at=at, kind=built.kind, sop_instance_uid=built.sop_instance_uid,
            sop_class_uid=built.sop_class_uid, series_instance_uid=built.series_instance_uid,
            transfer_syntax_uid=built.transfer_syntax_uid, relative_path=built.relative_path,
            sha256=built.sha256, size=built.size, source_instance_id=built.source_instance_id,
        )  # fmt: skip
        row.deliveries = [
            tables.Delivery(destination=address, created_at=at)
            for address, kinds in destinations.items()
            if built.kind in kinds
        ]
        session.add(row)
    session.flush()


def load_images(session: Session, analysis_id: int) -> tuple[tuple[ImageResult, ...], tuple[NotAnalysed, ...]]:
    """The recorded images of an analysis as plain data, in order of arrival."""
    query = (
        sa.select(tables.AnalysisImage)
        .where(tables.AnalysisImage.analysis_id == analysis_id)
        .order_by(tables.AnalysisImage.instance_id)
        .options(selectinload(tables.AnalysisImage.findings), selectinload(tables.AnalysisImage.instance))
    )
    scored, excluded = [], []
    for image in session.scalars(query):
        uid = image.instance.sop_instance_uid
        if image.reason is None:
            scored.append(ImageResult(sop_instance_uid=uid, findings=tuple(map(_finding, image.findings))))
        else:
            excluded.append(NotAnalysed(sop_instance_uid=uid, reason=image.reason, detail=image.detail))
    return tuple(scored), tuple(excluded)


def _finding_row(finding: Finding) -> tables.Finding:
    site = finding.site
    return tables.Finding(
        key=finding.key, code_value=finding.code.value, code_scheme=finding.code.scheme,
        code_meaning=finding.code.meaning, site_value=site.value if site else "",
        site_scheme=site.scheme if site else "", site_meaning=site.meaning if site else "",
        value=finding.score.value, threshold=finding.score.threshold, kind=finding.score.kind,
        urgency=finding.urgency, positive=finding.positive,
        outline=[list(point) for point in finding.region.outline] if finding.region else [],
        peak=list(finding.region.peak) if finding.region else [],
    )  # fmt: skip


def _finding(row: tables.Finding) -> Finding:
    region = None
    if row.outline:
        outline = tuple((float(column), float(line)) for column, line in row.outline)
        region = Region(outline=outline, peak=(float(row.peak[0]), float(row.peak[1])))
    site = Code(value=row.site_value, scheme=row.site_scheme, meaning=row.site_meaning) if row.site_value else None
    return Finding(
        key=row.key,
        code=Code(value=row.code_value, scheme=row.code_scheme, meaning=row.code_meaning),
        site=site,
        score=Score(value=row.value, threshold=row.threshold, kind=row.kind),
        urgency=row.urgency,
        region=region,
    )
