"""Invariant set V of the catalogue: what must hold after every fault, asked of files, rows, PACS and receipts."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from peers import digests as encoded
from peers.pacs import Pacs
from sqlalchemy.orm import Session

from faults.product import Product
from faults.senders import Receipts
from triage.errors import DatabaseUnavailableError
from triage.states import AnalysisStatus, DeliveryStatus, StudyStatus
from triage.tables import Analysis, AnalysisImage, Delivery, Instance, ResultObject, Study

SETTLE_WITHIN = 300.0  # seconds after the repair (reliability §6)
ARRIVED = frozenset({DeliveryStatus.SENT, DeliveryStatus.COMMITTED})


@dataclass
class Verdict:
    """What V found.

    Attributes
    ----------
    lost : list of str
        Acknowledged and not held with the same bytes, or owed to a destination and not there.
    duplicated : list of str
        A second content under a UID, a second result of one kind for one question.
    broken : list of str
        Every other invariant that does not hold.
    """

    receipts: int = 0
    studies: int = 0
    results: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    settled_after: float = 0.0

    @property
    def holds(self) -> bool:
        return not (self.lost or self.duplicated or self.broken)

    def __str__(self) -> str:
        counts = f"{self.receipts} receipts, {self.studies} studies, {self.results} results"
        if self.holds:
            return f"V holds: {counts}"
        return "\n".join([f"V does not hold ({counts}):", *self.lost[:9], *self.duplicated[:9], *self.broken[:9]])


def unsettled(session: Session) -> Counter[str]:
    """What is still owed, counted by its state; empty when the house has come to rest."""
    waiting: Counter[str] = Counter()
    for status, count in session.execute(sa.select(Study.status, sa.func.count()).group_by(Study.status)):
        if status is not StudyStatus.COMPLETE:
            waiting[f"study {status}"] += count
    for status, count in session.execute(sa.select(Analysis.status, sa.func.count()).group_by(Analysis.status)):
        if status in (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING):
            waiting[f"analysis {status}"] += count
    for status, count in session.execute(sa.select(Delivery.status, sa.func.count()).group_by(Delivery.status)):
        if status in (DeliveryStatus.PENDING, DeliveryStatus.SENDING):
            waiting[f"delivery {status}"] += count
    return waiting


def await_settled(product: Product, *, within: float = SETTLE_WITHIN) -> float:
    """Wait until nothing is owed any more; returns the seconds it took.

    A backlog takes as long as the machine is slow; what must not happen is that it stands still.

    Parameters
    ----------
    within : float
        Seconds in which what is owed grows less at least once.

    Raises
    ------
    AssertionError
        Something is still owed, and nothing of it was done for so long (I6).
    """
    begin = moved = time.monotonic()
    waiting: Counter[str] | str = "never asked"
    least: float = math.inf
    while time.monotonic() - moved < within:
        try:
            with product.database.read() as session:
                waiting = unsettled(session)
        except DatabaseUnavailableError as error:
            waiting = str(error)
        else:
            if waiting.total() < least:
                least, moved = waiting.total(), time.monotonic()
        if not waiting:
            return time.monotonic() - begin
        time.sleep(0.1)
    raise AssertionError(f"still owed and nothing done for {within:g} s (I6): {waiting}")


def verify(
    product: Product,
    receipts: Receipts,
    archives: Mapping[str, Pacs],
    *,
    within: float = SETTLE_WITHIN,
    dead: bool = False,
    failed: bool = False,
    damaged: Sequence[str] = (),
    forgotten: bool = False,
) -> Verdict:
    """V as a whole.

    Parameters
    ----------
    archives : mapping
        Destination address to what it holds.
    dead, failed : bool
        The fault may leave dead deliveries, failed analyses.
    damaged : sequence of str
        SOP Instance UIDs whose files the fault itself has damaged.
    forgotten : bool
        The database is younger than the reports: to whom they were owed is not known.
    """
    verdict = Verdict()
    try:
        verdict.settled_after = await_settled(product, within=within)
    except AssertionError as error:
        verdict.broken.append(str(error))
    if not (damaged or verdict.broken):
        asked = product.fsck()
        # A file whose sender was never answered waits for the resend; one that was acknowledged is missed below.
        verdict.broken += [f"fsck: {kind}" for kind in asked["kinds"] if kind["kind"] != "orphan"]
    with product.database.read() as session:
        _custody(session, product, receipts, verdict, damaged)
        _analyses(session, product, receipts, verdict, failed=failed)
        _results(session, product, archives, verdict, dead=dead)
        if not forgotten:
            _owed(session, archives, verdict)
    return verdict


def _owed(session: Session, archives: Mapping[str, Pacs], verdict: Verdict) -> None:
    """I6: what was found is reported, and every report is owed to every destination."""
    reports = sa.select(ResultObject).where(ResultObject.kind == "SR")
    reported = set()
    for report in session.scalars(reports):
        reported.add(report.analysis.study_id)
        if report.analysis.status is AnalysisStatus.SUCCEEDED:
            nowhere = archives.keys() - {delivery.destination for delivery in report.deliveries}
            verdict.lost += [f"I6: report {report.sop_instance_uid} is not owed to {address}" for address in nowhere]
    succeeded = set(session.scalars(sa.select(Analysis.study_id).where(Analysis.status == AnalysisStatus.SUCCEEDED)))
    verdict.lost += [f"I6: study {study_id} was analysed and has no report" for study_id in succeeded - reported]


def _custody(session: Session, product: Product, receipts: Receipts, verdict: Verdict, damaged: Sequence[str]) -> None:
    """I1, I2, I8: each receipt has a row, each row its file, each file its bytes."""
    rows: dict[tuple[str, str], Instance] = {}
    current: Counter[str] = Counter()
    for instance in session.scalars(sa.select(Instance)):
        rows[instance.sop_instance_uid, instance.digest] = instance
        current[instance.sop_instance_uid] += instance.is_current
        if instance.sop_instance_uid in damaged or instance.removed_at is not None:
            continue
        found = data_set_digest(product.settings.archive / instance.relative_path)
        if found != instance.digest:
            verdict.lost.append(f"I2: file of {instance.sop_instance_uid} is {found or 'missing'}")
    for uid, digests in receipts.acknowledged.items():
        for digest in digests:
            verdict.receipts += 1
            if (uid, digest) not in rows:
                verdict.lost.append(f"I1: {uid} was acknowledged and has no row with these bytes")
    verdict.duplicated += [f"{uid} has {count} current versions" for uid, count in current.items() if count != 1]
    verdict.broken += [
        f"{part.name} in incoming is older than 10 min"
        for part in product.settings.archive.glob("incoming/*")
        if time.time() - part.stat().st_mtime > 600
    ]


def _analyses(session: Session, product: Product, receipts: Receipts, verdict: Verdict, *, failed: bool) -> None:
    """I3, I5, I7, I9: every study is listed, answered once per revision, and its last answer looked at everything."""
    listed = {}
    for study in session.scalars(sa.select(Study)):
        listed[study.study_instance_uid] = study
        verdict.studies += 1
        _answered(session, study, verdict, failed=failed, attempts=product.settings.analysis_attempts)
    verdict.lost += [f"I9: study {uid} is not listed" for uid in receipts.studies - listed.keys()]


def _answered(session: Session, study: Study, verdict: Verdict, *, failed: bool, attempts: int) -> None:
    uid = study.study_instance_uid
    if not study.analyses:
        verdict.broken.append(f"I6: {uid} has no analysis")
        return
    last = [a for a in study.analyses if a.revision == study.revision]
    seen = set(
        session.scalars(sa.select(AnalysisImage.instance_id).where(AnalysisImage.analysis_id.in_([a.id for a in last])))
    )
    missed = [i.id for i in study.instances if i.is_current and i.id not in seen]
    for analysis in study.analyses:
        if analysis.attempts > attempts:
            verdict.broken.append(f"I5: {uid} was tried {analysis.attempts} times")
        if analysis.status is AnalysisStatus.FAILED and not failed:
            verdict.broken.append(f"{uid} revision {analysis.revision} failed: {analysis.reason}")
    if missed and not any(a.status is AnalysisStatus.FAILED for a in last):
        verdict.broken.append(f"I7: the last look at {uid} missed {len(missed)} instances")


def _results(session: Session, product: Product, archives: Mapping[str, Pacs], verdict: Verdict, *, dead: bool) -> None:
    """I4, I6: one content per UID everywhere, one object per question, each in every destination."""
    held = {address: archive.held() for address, archive in archives.items()}
    known: dict[str, str] = {}
    asked: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for row in session.scalars(sa.select(ResultObject)):
        verdict.results += 1
        known[row.sop_instance_uid] = data_set_digest(product.settings.results / row.relative_path) or "missing"
        analysis = row.analysis
        asked[analysis.study_id, analysis.revision, analysis.bundle_name, row.kind, row.source_instance_id].append(
            row.sop_instance_uid
        )
        if known[row.sop_instance_uid] == "missing":
            verdict.lost.append(f"result {row.sop_instance_uid} has no file")
        for delivery in row.deliveries:
            there = held.get(delivery.destination, {}).get(row.sop_instance_uid, set())
            if delivery.status in ARRIVED and delivery.destination in held and not there:
                verdict.lost.append(f"{row.sop_instance_uid} is {delivery.status} and not at {delivery.destination}")
            if delivery.status is DeliveryStatus.DEAD and not dead:
                verdict.broken.append(f"delivery of {row.sop_instance_uid} is dead: {delivery.reason}")
    verdict.duplicated += [
        f"I4: {len(uids)} results for {question}" for question, uids in asked.items() if len(uids) > 1
    ]
    for address, objects in held.items():
        for uid, digests in objects.items():
            if len(digests) > 1:
                verdict.duplicated.append(f"I4: {address} got {len(digests)} contents under {uid}")
            elif uid not in known:
                verdict.duplicated.append(f"I4: {address} holds {uid}, of which no row knows")
            elif digests != {known[uid]}:
                verdict.duplicated.append(f"I4: {uid} at {address} is not what the file holds")


def data_set_digest(path: Path) -> str:
    """Digest of what follows the File Meta Information; "" where there is no file."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return ""
    return encoded.data_set_digest(memoryview(raw)[144 + int.from_bytes(raw[140:144], "little") :])
