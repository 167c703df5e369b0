"""What an analysis found, at rest: images and findings, and back into plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from triage import tables
from triage.findings import (
    MISSED,
    Algorithm,
    Code,
    Considered,
    Finding,
    ImageResult,
    NotAnalysed,
    NotAnalysedReason,
    Region,
    Score,
    Urgency,
    nothing_found,
)
from triage.repositories import events
from triage.searching import positives_text
from triage.states import AnalysisStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Previews:
    """Files below the results root that the page shows for one image; "" where there is none."""

    image: str = ""
    overlay: str = ""
    heat: Mapping[str, str] = field(default_factory=dict)
    """Finding key to the activation of that finding alone."""


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
    considered: Mapping[str, Sequence[Considered]] | None = None,
) -> None:
    """Add newly looked-at images and their findings; images recorded by an earlier look stay as they are.

    Parameters
    ----------
    instance_ids : mapping
        SOP Instance UID to the id of the instance row that was read.
    considered : mapping, optional
        SOP Instance UID to what every bundle said to the image.
    """
    routing = {uid: [_routing(one) for one in each] for uid, each in (considered or {}).items()}
    if algorithm is not None:
        analysis.bundle_name, analysis.bundle_version = algorithm.name, algorithm.version
        analysis.weights_sha256 = algorithm.weights_sha256
        analysis.research, analysis.disclaimer = algorithm.research, algorithm.disclaimer
        analysis.limits, analysis.calibration = list(algorithm.limits), algorithm.calibration
    recorded = {image.instance_id for image in analysis.images}
    for result in images:
        if instance_ids[result.sop_instance_uid] not in recorded:
            row = tables.AnalysisImage(
                instance_id=instance_ids[result.sop_instance_uid],
                detail=result.place,
                routing=routing.get(result.sop_instance_uid, []),
            )
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
                    routing=routing.get(excluded.sop_instance_uid, []),
                )
            )
    session.flush()
    analysis.study.positives = positives_text(_shown_positives(session, analysis.study))


def _shown_positives(session: Session, study: tables.Study) -> Sequence[tuple[str, str]]:
    """(key, meaning) of what is positive in the latest revision that was scored, whose findings are shown."""
    scored = (tables.Analysis.study_id == study.id, tables.Analysis.scored_at.is_not(None))
    latest = sa.select(sa.func.max(tables.Analysis.revision)).where(*scored).scalar_subquery()
    query = (
        sa.select(tables.Finding.key, tables.Finding.code_meaning)
        .join(tables.Finding.image)
        .join(tables.AnalysisImage.analysis)
        .where(*scored, tables.Analysis.revision == latest, tables.Finding.positive)
        .distinct()
        .order_by(tables.Finding.key, tables.Finding.code_meaning)
    )
    return [(key, meaning) for key, meaning in session.execute(query)]


def forget_images(session: Session, analysis: tables.Analysis) -> None:
    """Take back what an earlier look of the same run said: a series that has grown is looked at as a whole.

    For a run that has issued nothing: once its report is recorded the analysis is finished.
    """
    analysis.images.clear()
    session.flush()


UNDECODABLE: Final = (
    NotAnalysedReason.DECODER_CRASH,
    NotAnalysedReason.DECODE_TIMEOUT,
    NotAnalysedReason.OUT_OF_MEMORY,
)
"""What an image did to the process that decoded it."""


def record_undecodable(
    session: Session, study: tables.Study, not_analysed: Sequence[NotAnalysed], *, at: datetime
) -> None:
    """Append an event for each image that cost its decoder."""
    for image in not_analysed:
        if image.reason in UNDECODABLE:
            events.record(
                session, "image_not_decodable", at=at, study=study, who="decoder",
                sop_instance_uid=image.sop_instance_uid, reason=image.sentence,
            )  # fmt: skip


def flag(study: tables.Study, warning: str) -> None:
    """Have the list show a warning with the case."""
    if warning not in study.flags:
        study.flags = [*study.flags, warning]


def record_regions(
    analysis: tables.Analysis,
    images: Sequence[ImageResult],
    previews: Mapping[str, Previews],
) -> None:
    """Add what explanation brought: regions of the positive findings and the pictures of the page."""
    if not images:
        return
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
            finding.heat_path = pictures.heat.get(finding.key, "")


def load_images(session: Session, analysis_id: int) -> tuple[tuple[ImageResult, ...], tuple[NotAnalysed, ...]]:
    """The recorded images of an analysis as plain data, in order of arrival; of each the version that counts."""
    query = (
        sa.select(tables.AnalysisImage)
        .join(tables.AnalysisImage.instance)
        .where(tables.AnalysisImage.analysis_id == analysis_id, tables.Instance.is_current)
        .order_by(tables.AnalysisImage.instance_id)
        .options(selectinload(tables.AnalysisImage.findings), selectinload(tables.AnalysisImage.instance))
    )
    scored, excluded = [], []
    for image in session.scalars(query):
        uid = image.instance.sop_instance_uid
        if image.reason is None:
            findings = tuple(map(plain_finding, image.findings))
            scored.append(ImageResult(sop_instance_uid=uid, findings=findings, place=image.detail))
        else:
            excluded.append(NotAnalysed(sop_instance_uid=uid, reason=image.reason, detail=image.detail))
    return tuple(scored), tuple(excluded)


def _routing(considered: Considered) -> dict[str, object]:
    """A bundle's answer at rest; words are kept with it, so that it reads the same when their wording changes."""
    return {
        "bundle": considered.bundle,
        "version": considered.version,
        "refusal": considered.refusal,
        "remarks": list(considered.remarks),
    }


def _finding_row(finding: Finding) -> tables.Finding:
    site = finding.site
    return tables.Finding(
        key=finding.key, code_value=finding.code.value, code_scheme=finding.code.scheme,
        code_meaning=finding.code.meaning, site_value=site.value if site else "",
        site_scheme=site.scheme if site else "", site_meaning=site.meaning if site else "",
        laterality=finding.laterality,
        value=finding.score.value, threshold=finding.score.threshold, kind=finding.score.kind,
        urgency=finding.urgency, positive=finding.positive,
        outline=[list(point) for point in finding.region.outline] if finding.region else [],
        peak=list(finding.region.peak) if finding.region else [],
    )  # fmt: skip


def plain_finding(row: tables.Finding) -> Finding:
    """A recorded finding as plain data."""
    region = None
    if row.outline:
        outline = tuple((float(column), float(line)) for column, line in row.outline)
        region = Region(outline=outline, peak=(float(row.peak[0]), float(row.peak[1])))
    site = Code(value=row.site_value, scheme=row.site_scheme, meaning=row.site_meaning) if row.site_value else None
    return Finding(
        key=row.key,
        code=Code(value=row.code_value, scheme=row.code_scheme, meaning=row.code_meaning),
        site=site,
        laterality=row.laterality,
        score=Score(value=row.value, threshold=row.threshold, kind=row.kind),
        urgency=row.urgency,
        region=region,
    )


def carried_over(
    session: Session, analysis: tables.Analysis, weights_sha256: str
) -> Mapping[int, tables.AnalysisImage]:
    """Scored images that an earlier revision already explained with the same weights, by instance id.

    The same bytes through the same weights give the same findings: they are taken over, and their picture in the
    PACS stays the only one.
    """
    earlier = (
        sa.select(tables.AnalysisImage)
        .join(tables.AnalysisImage.analysis)
        .where(
            tables.Analysis.study_id == analysis.study_id,
            tables.Analysis.weights_sha256 == weights_sha256,
            tables.Analysis.revision < analysis.revision,
            tables.Analysis.status == AnalysisStatus.SUCCEEDED,
            tables.AnalysisImage.reason.is_(None),
        )
        .order_by(tables.Analysis.revision)
        .options(selectinload(tables.AnalysisImage.findings))
    )
    return {image.instance_id: image for image in session.scalars(earlier)}


def copy_image(image: tables.AnalysisImage) -> tables.AnalysisImage:
    """A scored image again, for another revision."""
    return tables.AnalysisImage(
        instance_id=image.instance_id,
        detail=image.detail,
        preview_path=image.preview_path,
        overlay_path=image.overlay_path,
        routing=image.routing,
        findings=[_copy_finding(finding) for finding in image.findings],
    )


def _copy_finding(finding: tables.Finding) -> tables.Finding:
    row = _finding_row(plain_finding(finding))
    row.heat_path = finding.heat_path
    return row


def _read_and_missed(session: Session, study: tables.Study, scored: sa.Subquery) -> tuple[int, int]:
    """Images that the bundles read, and those that they should have and could not."""
    reasons = session.execute(
        sa.select(tables.AnalysisImage.reason, sa.func.count())
        .join(tables.AnalysisImage.analysis)
        .join(
            scored,
            sa.and_(scored.c.bundle_name == tables.Analysis.bundle_name, scored.c.revision == tables.Analysis.revision),
        )
        .where(tables.Analysis.study_id == study.id)
        .group_by(tables.AnalysisImage.reason)
    )
    counts = {row[0]: row[1] for row in reasons}
    return counts.get(None, 0), sum(count for reason, count in counts.items() if reason in MISSED)


def ai_claim(session: Session, study: tables.Study) -> tuple[Urgency, str]:
    """The class that the study's findings ask for together, and the line that says why.

    Each bundle speaks with the last revision it scored: a look that is under way, or failed, takes nothing back.
    """
    scored = (
        sa.select(tables.Analysis.bundle_name, sa.func.max(tables.Analysis.revision).label("revision"))
        .where(tables.Analysis.study_id == study.id, tables.Analysis.scored_at.is_not(None))
        .group_by(tables.Analysis.bundle_name)
        .subquery()
    )
    query = (
        sa.select(tables.Finding, tables.Analysis.research)
        .join(tables.Finding.image)
        .join(tables.AnalysisImage.analysis)
        .join(
            scored,
            sa.and_(scored.c.bundle_name == tables.Analysis.bundle_name, scored.c.revision == tables.Analysis.revision),
        )
        .where(tables.Analysis.study_id == study.id, tables.Finding.positive)
    )
    positives = sorted(session.execute(query), key=lambda row: (row[0].urgency.rank, -row[0].value, row[0].key))
    if not positives:
        return Urgency.ROUTINE, f"AI: {nothing_found(*_read_and_missed(session, study, scored))}"
    first, research = positives[0]
    label = " (research only)" if research else ""
    return first.urgency, f"{first.code_meaning} {first.value:.2f} ≥ {first.threshold:.2f}{label}"
