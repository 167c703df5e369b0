"""Reports that lie in the results directory and that the database does not know: taken over, never made again.

After the loss of a database, or of its last hour, an analysis made again would put other bytes (another time of day)
under a UID that a PACS already holds. So the report on the disk becomes the report of its revision: with its bytes,
its images and the class it asked for, but without scores, which stand in the report alone. Another look at the study
is another revision and names it as its predecessor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.part10 import read_head
from dicom_node.results import NodeIdentity, files
from dicom_node.results.rereading import IssuedAssessment, IssuedReport, read_report
from dicom_node.results.uids import ResultNames
from triage.assessment import KIND as ASSESSMENT
from triage.findings import Algorithm, NotAnalysedReason, Urgency
from triage.priority import Targets
from triage.profiles import DEFAULT, OF_AN_IMAGE, Profile, ResultKind
from triage.repositories import analyses, events, results, verdicts
from triage.repositories.placing import place_study
from triage.repositories.results import BuiltObject
from triage.states import AnalysisStatus, StudyStatus, advance
from triage.tables import Analysis, AnalysisImage, Instance, ResultObject, Study
from workers.result_files import place

_WAY: Final = (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING, AnalysisStatus.SUCCEEDED)
_NOTE: Final = "the report was found on the disk; its scores stand in it"


def adoptable(session: Session, issued: IssuedReport, written_at: datetime) -> bool:
    """True when no run of this database can have made the report, and its images are here.

    A run of this database that made it has begun (``started_at``) and wrote it before it was given up
    (``finished_at``).
    """
    study = _study(session, issued)
    if study is None or not _instances(session, study, issued.analysed):
        return False
    analysis = _analysis(session, study, issued)
    if analysis is None:
        return True
    if analysis.status is AnalysisStatus.SUCCEEDED:
        return False
    if analysis.finished_at is not None:
        return written_at > analysis.finished_at
    return analysis.started_at is None


def adopt(
    session: Session,
    issued: IssuedReport,
    root: Path,
    *,
    targets: Targets,
    profiles: Sequence[Profile],
    destinations: Mapping[str, Collection[tuple[str, str]]],
    at: datetime,
) -> bool:
    """Take a report, its heat maps and its variants over; False when there is nothing to take over any more.

    Parameters
    ----------
    root : Path
        The results root.
    profiles : sequence of Profile
        What destinations want today: reports in these variants are looked for beside the default one. A report that
        is itself a variant is none to take over while the default one is here.
    destinations : mapping
        Address to what it wants, as (kind, variant): these are owed the objects, the same bytes under the same UID.
        Empty to owe nothing.
    """
    written_at = datetime.fromtimestamp((root / place(issued.sop_instance_uid, "dcm")).stat().st_mtime, UTC)
    if not adoptable(session, issued, written_at) or is_variant(issued, root):
        return False
    study = session.scalars(
        sa.select(Study).where(Study.study_instance_uid == issued.study_instance_uid).with_for_update(key_share=True)
    ).one()
    analysis = _analysis(session, study, issued)
    if analysis is None:
        analysis = Analysis(study=study, revision=issued.revision, queued_at=issued.created_at, due=False)
        session.add(analysis)
        session.flush()
    for status in _WAY[_WAY.index(analysis.status) + 1 :] if analysis.status in _WAY else _WAY:
        analysis.status = advance(analysis.status, status)
    # No digest of the weights: images without scores must not be carried over into the next revision.
    analysis.bundle_name, analysis.bundle_version, analysis.weights_sha256 = issued.algorithm, issued.version, ""
    analysis.revision, analysis.research, analysis.reason = issued.revision, issued.research, _NOTE
    analysis.started_at = analysis.finished_at = issued.created_at
    analysis.due, analysis.token, analysis.lease_until, analysis.holder = False, "", None, ""
    study.revision = max(study.revision, issued.revision)
    built = _objects(session, study, issued, root, profiles)
    _record_images(session, study, analysis, issued, built, root)
    objects = results.record_objects(session, analysis, built, at=issued.created_at)
    results.owe(session, objects, destinations, at=at)
    events.record(
        session, "analysis_succeeded", at=at, study=study, who=f"{issued.algorithm} {issued.version}",
        reason=_NOTE, revision=issued.revision,
    )  # fmt: skip
    _claim_class(session, study, issued, targets, at)
    _look_at_the_rest(session, study, at)
    return True


def adopt_assessment(
    session: Session,
    issued: IssuedAssessment,
    root: Path,
    *,
    destinations: Mapping[str, Collection[tuple[str, str]]],
    at: datetime,
) -> bool:
    """Take a person's assessment over, behind the report that it is about; False when it is known or that is not.

    Parameters
    ----------
    destinations : mapping
        As of :func:`adopt`: who wants the report in a form is owed its assessments in that form.
    """
    known = sa.select(ResultObject).where(ResultObject.sop_instance_uid.in_([issued.sop_instance_uid, issued.report]))
    rows = {row.sop_instance_uid: row for row in session.scalars(known)}
    report = rows.get(issued.report)
    if report is None or issued.sop_instance_uid in rows:
        return False
    relative = place(issued.sop_instance_uid, "dcm")
    document = BuiltObject(
        kind=ASSESSMENT,
        variant=report.variant,
        sop_instance_uid=issued.sop_instance_uid,
        sop_class_uid=issued.sop_class_uid,
        series_instance_uid=issued.series_instance_uid,
        transfer_syntax_uid=issued.transfer_syntax_uid,
        relative_path=relative.as_posix(),
        sha256=files.digest(root / relative),
        size=(root / relative).stat().st_size,
    )
    row = verdicts.adopt(session, report, issued.person, issued.serial, document, at=issued.created_at)
    wanted = {
        address: [(ASSESSMENT, variant) for kind, variant in forms if kind == ResultKind.REPORT]
        for address, forms in destinations.items()
    }
    results.owe(session, [row], wanted, at=at)
    return True


def _record_images(
    session: Session, study: Study, analysis: Analysis, issued: IssuedReport, built: Sequence[BuiltObject], root: Path
) -> None:
    """What the report says of each image, and the page's pictures where they are still there."""
    session.flush()
    known = {image.instance_id: image for image in analysis.images}
    pictures = {
        made.source_instance_id: made.sop_instance_uid
        for made in built
        if made.kind == ResultKind.HEAT_MAP and not made.variant
    }
    reasons: dict[str, NotAnalysedReason | None] = {**dict.fromkeys(issued.analysed), **issued.left_out}
    for instance in _instances(session, study, reasons.keys()):
        image = known.get(instance.id)
        if image is None:
            image = AnalysisImage(instance_id=instance.id)
            analysis.images.append(image)
        image.reason = reasons[instance.sop_instance_uid]
        if instance.id in pictures:
            image.preview_path = _existing(root, pictures[instance.id], "image.jpg")
            image.overlay_path = _existing(root, pictures[instance.id], "overlay.jpg")
    session.flush()


def _existing(root: Path, uid: str, suffix: str) -> str:
    relative = place(uid, suffix)
    return relative.as_posix() if (root / relative).is_file() else ""


def is_variant(issued: IssuedReport, root: Path) -> bool:
    """Whether the report was made for a special destination, beside the default one that has a row or gets it."""
    default = _names(issued, DEFAULT).instance(ResultKind.REPORT)
    return issued.sop_instance_uid != default and (root / place(default, "dcm")).is_file()


def _names(issued: IssuedReport, profile: Profile) -> ResultNames:
    return ResultNames(
        study_instance_uid=issued.study_instance_uid,
        algorithm=Algorithm(
            name=issued.algorithm, version=issued.version, manufacturer="", weights_sha256=issued.weights_sha256,
            research=issued.research, disclaimer="",
        ),
        node=NodeIdentity(software_version="", name="", device_uid=issued.device_uid),
        revision=issued.revision,
        profile=profile,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class _Role:
    """What a file is, by its name alone; ``image`` is the SOP Instance UID of the image it is about, or ""."""

    kind: ResultKind
    variant: str = ""
    image: str = ""


def _objects(
    session: Session, study: Study, issued: IssuedReport, root: Path, profiles: Sequence[Profile]
) -> list[BuiltObject]:
    """The report, its pictures, their variants and what else destinations want, if on the disk and without a row."""
    versions = {i.sop_instance_uid: i.version for i in _instances(session, study, issued.analysed)}
    roles = _roles(issued, root, profiles, versions)
    known = set(
        session.scalars(sa.select(ResultObject.sop_instance_uid).where(ResultObject.sop_instance_uid.in_(roles)))
    )
    here = [uid for uid in roles if uid not in known and (root / place(uid, "dcm")).is_file()]
    return [_object(session, study, root, uid, roles[uid]) for uid in here]


def _roles(
    issued: IssuedReport, root: Path, profiles: Sequence[Profile], versions: Mapping[str, int]
) -> dict[str, _Role]:
    """SOP Instance UIDs that this analysis may have given: what explains before the reports that refer to it."""
    variants = {profile.variant(ResultKind.REPORT): profile for profile in profiles}
    reports = {issued.sop_instance_uid: _Role(kind=ResultKind.REPORT)}
    shown = {uid: _Role(kind=kind) for uid, kind in issued.showing.items()}
    for variant, profile in variants.items():
        uid = _names(issued, profile).instance(ResultKind.REPORT)
        if not variant:
            continue
        reports[uid] = _Role(kind=ResultKind.REPORT, variant=variant)
        if (root / place(uid, "dcm")).is_file():
            for named, kind in read_report(root / place(uid, "dcm")).showing.items():
                shown.setdefault(named, _Role(kind=kind, variant=profile.variant(kind)))
    return {**shown, **_by_choice(issued, root, profiles, versions), **reports}


def _by_choice(
    issued: IssuedReport, root: Path, profiles: Sequence[Profile], versions: Mapping[str, int]
) -> dict[str, _Role]:
    """Objects that a destination asks for by the names they must have, of the newest version of each image.

    Parameters
    ----------
    versions : mapping
        SOP Instance UID of an analysed image to its version today: the report may be older than that.
    """
    roles: dict[str, _Role] = {}
    for profile in profiles:
        names = _names(issued, profile)
        for kind in profile.kinds:
            variant = profile.variant(kind)
            if kind in DEFAULT.kinds:
                continue
            if kind in OF_AN_IMAGE:
                for image in sorted(issued.analysed):
                    named = [names.of_image(kind, image, version) for version in range(versions.get(image, 1), 0, -1)]
                    uid = next((uid for uid in named if (root / place(uid, "dcm")).is_file()), named[-1])
                    roles[uid] = _Role(kind=kind, variant=variant, image=image)
            else:
                roles[names.instance(kind)] = _Role(kind=kind, variant=variant)
    return roles


def _object(session: Session, study: Study, root: Path, uid: str, role: _Role) -> BuiltObject:
    """One file as it is recorded."""
    relative = place(uid, "dcm")
    path = root / relative
    with path.open("rb") as file:
        head = read_head(file.read(4096))
    series, shown = _shown(path)
    about = _instances(session, study, [role.image or shown]) if role.image or shown else []
    return BuiltObject(
        kind=role.kind,
        variant=role.variant,
        sop_instance_uid=uid,
        sop_class_uid=head.sop_class_uid,
        series_instance_uid=series,
        transfer_syntax_uid=head.transfer_syntax_uid,
        relative_path=relative.as_posix(),
        sha256=files.digest(path),
        size=path.stat().st_size,
        source_instance_id=about[0].id if about else None,
    )


def _shown(path: Path) -> tuple[str, str]:
    """(Series Instance UID, UID of the image that it shows) of an object of ours; "" for what is no picture."""
    import pydicom  # noqa: PLC0415 - only adoption reads pictures

    header = pydicom.dcmread(path, stop_before_pixels=True)
    shows = header.get("SourceImageSequence")
    return str(header.SeriesInstanceUID), str(shows[0].ReferencedSOPInstanceUID) if shows else ""


def _claim_class(session: Session, study: Study, issued: IssuedReport, targets: Targets, at: datetime) -> None:
    """The class that the report asked for, if it is higher than what the AI claims now: a loss lowers nobody."""
    if Urgency.highest(study.ai_urgency, issued.urgency) is study.ai_urgency:
        return
    study.ai_urgency = issued.urgency
    found = ", ".join(issued.positives) or "AI: no finding above its threshold"
    study.ai_reason = f"{found}, by its report" + (" (research only)" if issued.research else "")
    place_study(session, study, targets, at=at, who="AI")


def _look_at_the_rest(session: Session, study: Study, at: datetime) -> None:
    """Images that came after the last report are due for the next revision; a study without any has its result."""
    session.flush()
    last = sa.select(sa.func.max(Analysis.revision)).where(Analysis.study_id == study.id).scalar_subquery()
    seen = (
        sa.select(AnalysisImage.instance_id)
        .join(AnalysisImage.analysis)
        .where(Analysis.study_id == study.id, Analysis.revision == last)
    )
    rest = sa.exists().where(
        Instance.study_id == study.id, Instance.is_current, Instance.not_analysed.is_(None), Instance.id.not_in(seen)
    )
    if session.scalar(sa.select(rest)):
        analyses.queue(session, study, at=at, due=study.status is StudyStatus.COMPLETE)


def _study(session: Session, issued: IssuedReport) -> Study | None:
    return session.scalar(sa.select(Study).where(Study.study_instance_uid == issued.study_instance_uid))


def _analysis(session: Session, study: Study, issued: IssuedReport) -> Analysis | None:
    """The analysis whose report this is: of the same revision and bundle, else one that nobody has begun."""
    query = sa.select(Analysis).where(Analysis.study_id == study.id).order_by(Analysis.id)
    rows = list(session.scalars(query))
    same = [row for row in rows if row.revision == issued.revision and row.bundle_name in (issued.algorithm, "")]
    untouched = [
        row for row in rows
        if row.status is AnalysisStatus.QUEUED and row.started_at is None and row.revision <= issued.revision
        and not row.bundle_name
    ]  # fmt: skip
    return next(iter(sorted(same, key=lambda row: not row.bundle_name) + untouched), None)


def _instances(session: Session, study: Study, uids: Iterable[str]) -> Sequence[Instance]:
    query = sa.select(Instance).where(
        Instance.study_id == study.id,
        Instance.sop_instance_uid.in_(list(uids)),
        Instance.is_current,
    )
    return session.scalars(query).all()
