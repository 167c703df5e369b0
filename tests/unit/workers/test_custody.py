"""fsck on a node broken by hand: each invariant has a seed that it alone finds, and what can be mended is mended."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from node_under_test import Node, draw, encoded, opened
from pydicom.dataset import Dataset
from test_analysis import late_view

from triage.findings import NotAnalysedReason, Urgency
from triage.states import AnalysisStatus, DeliveryStatus, StudyStatus
from triage.tables import Analysis, AnalysisImage, Delivery, Event, Instance, ResultObject, Study
from workers.analysis import analyse_due
from workers.custody import Inspection, Invariant, Violation, check
from workers.custody_repairs import Repairs
from workers.custody_rows import CHECKS

Draw = Callable[..., Dataset]
HELD = "held by somebody"


@dataclass
class Sick:
    """A node with two analysed studies, and the ways to look at it and to break it."""

    node: Node
    inspection: Inspection
    first: Dataset
    second: Dataset

    def violations(self, **how: object) -> list[Violation]:
        return list(check(replace(self.inspection, **how), CHECKS))

    def found(self, **how: object) -> set[Invariant]:
        return {violation.invariant for violation in self.violations(**how)}

    def repair(self) -> list[Violation]:
        """One run with repairs; returns what it saw."""
        repairs = Repairs(self.inspection)
        seen = self.violations(deep=True)
        for violation in seen:
            repairs.repair(violation)
        repairs.finish()
        return seen

    def change(self, table: type, **values: object) -> None:
        """Change the first row of a table, past every rule."""
        with self.node.bench.database.write() as session:
            first = session.scalar(sa.select(sa.func.min(table.id)))
            session.execute(sa.update(table).where(table.id == first).values(**values))

    def row(self, table: type) -> object:
        with self.node.bench.database.read() as session:
            return session.scalars(sa.select(table).order_by(table.id).limit(1)).one()

    def file(self, table: type) -> Path:
        root = self.inspection.archive.root if table is Instance else self.inspection.settings.results
        return root / self.row(table).relative_path


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a node that is done with two studies; copied, because analysing takes seconds."""
    data = tmp_path_factory.mktemp("healthy") / "data"
    with opened(data) as node:
        for dataset in (draw(1, {"pneumothorax"}), draw(2)):
            node.receive(dataset)
        analyse_due(node.bench)
    return data


@pytest.fixture
def sick(healthy: Path, tmp_path: Path) -> Iterator[Sick]:
    shutil.copytree(healthy, tmp_path / "data")
    with opened(tmp_path / "data") as node:
        yield patient(node)


def patient(node: Node) -> Sick:
    inspection = Inspection(
        settings=node.bench.settings, database=node.bench.database, archive=node.bench.archive, clock=node.clock,
        pause=lambda _seconds: None,
    )  # fmt: skip
    return Sick(node, inspection, draw(1, {"pneumothorax"}), draw(2))


def flip(path: Path) -> None:
    """Another byte in the middle, same size and same times, as a failing disk does it."""
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)
    os.utime(path, (times.st_atime, times.st_mtime))


def orphan(sick: Sick, *, hours: float = 2) -> Path:
    """An instance whose row is gone, as after a kill between file and row."""
    other = late_view(sick.second, "7")
    archive = sick.inspection.archive
    with archive.receive(
        sop_class_uid=str(other.SOPClassUID), sop_instance_uid=str(other.SOPInstanceUID),
        transfer_syntax_uid=str(other.file_meta.TransferSyntaxUID), source_ae_title="CR7",
    ) as incoming:  # fmt: skip
        incoming.write(encoded(other))
        stored = incoming.commit(str(other.SOPInstanceUID))
    path = archive.root / stored.relative_path
    then = (sick.node.clock.now - timedelta(hours=hours)).timestamp()
    os.utime(path, (then, then))
    return path


def lost_file(sick: Sick) -> None:
    sick.file(Instance).unlink()


def altered_file(sick: Sick) -> None:
    flip(sick.file(Instance))


def orphan_file(sick: Sick) -> None:
    orphan(sick)


def damaged_orphan(sick: Sick) -> None:
    flip(orphan(sick))


def running_without_lease(sick: Sick) -> None:
    sick.change(Analysis, status=AnalysisStatus.RUNNING, token=HELD, lease_until=None, finished_at=None)


def ended_and_held(sick: Sick) -> None:
    sick.change(Analysis, token=HELD)


def open_beneath_a_newer(sick: Sick) -> None:
    with sick.node.bench.database.write() as session:
        old = session.scalars(sa.select(Analysis).order_by(Analysis.id).limit(1)).one()
        session.add(
            Analysis(study_id=old.study_id, revision=0, queued_at=old.queued_at, due=True, bundle_name="x",
                     not_before=sick.node.clock.now + timedelta(hours=1))
        )  # fmt: skip


def altered_result(sick: Sick) -> None:
    flip(sick.file(ResultObject))


def lost_result(sick: Sick) -> None:
    sick.file(ResultObject).unlink()


def report_of_a_lost_hour(sick: Sick) -> None:
    """As after restoring a database from before the analysis: files are there, rows say nothing."""
    with sick.node.bench.database.write() as session:
        uid = session.scalar(sa.select(sa.func.min(Analysis.id)))
        results = sa.select(ResultObject.id).where(ResultObject.analysis_id == uid)
        images = sa.select(AnalysisImage.id).where(AnalysisImage.analysis_id == uid)
        session.execute(sa.delete(Delivery).where(Delivery.result_object_id.in_(results)))
        session.execute(sa.delete(ResultObject).where(ResultObject.analysis_id == uid))
        for table in (sa.table("findings", sa.column("image_id")),):
            session.execute(sa.delete(table).where(table.c.image_id.in_(images)))
        session.execute(sa.delete(AnalysisImage).where(AnalysisImage.analysis_id == uid))
        session.execute(
            sa.update(Analysis).where(Analysis.id == uid).values(
                status=AnalysisStatus.QUEUED, started_at=None, scored_at=None, finished_at=None, due=True, attempts=0,
                bundle_name="", bundle_version="", weights_sha256="", not_before=sick.node.clock.now,
            )
        )  # fmt: skip
        study = session.scalars(sa.select(Study).order_by(Study.id).limit(1)).one()
        study.ai_urgency, study.ai_reason = None, ""
        study.urgency, study.tier = Urgency.ROUTINE, 1
        study.due_at = study.received_at + sick.inspection.settings.targets.of(Urgency.ROUTINE)


def too_many_attempts(sick: Sick) -> None:
    sick.change(
        Analysis, status=AnalysisStatus.QUEUED, attempts=99, due=True, finished_at=None, not_before=sick.node.clock.now
    )


def parked_for_ever(sick: Sick) -> None:
    sick.change(Analysis, status=AnalysisStatus.QUEUED, due=False, finished_at=None)


def nobody_analyses(sick: Sick) -> None:
    sick.change(Analysis, status=AnalysisStatus.QUEUED, due=True, finished_at=None)
    with sick.node.bench.database.write() as session:
        session.execute(sa.delete(Delivery))
    sick.node.clock.pass_by(minutes=10)


def nobody_delivers(sick: Sick) -> None:
    sick.node.clock.pass_by(minutes=10)


def nobody_judges(sick: Sick) -> None:
    with sick.node.bench.database.write() as session:
        session.execute(sa.delete(Delivery))
    sick.change(Study, look_at=sick.node.clock.now)
    sick.node.clock.pass_by(minutes=10)


def unseen_image(sick: Sick) -> None:
    with sick.node.bench.database.write() as session:
        image = session.scalars(sa.select(AnalysisImage).order_by(AnalysisImage.id).limit(1)).one()
        session.delete(image)


def handover_into_the_void(sick: Sick) -> None:
    with sick.node.bench.database.write() as session:
        old = session.scalars(sa.select(Analysis).order_by(Analysis.id).limit(1)).one()
        instance_id = old.images[0].instance_id
        other = Analysis(study_id=old.study_id, revision=old.revision, bundle_name="x", queued_at=old.queued_at,
                         status=AnalysisStatus.NOT_ANALYSED, finished_at=old.finished_at, due=False)  # fmt: skip
        session.add(other)
        session.add(Event(study_id=old.study_id, at=old.queued_at, kind="analysis_not_analysed", detail={}))
        session.execute(
            sa.update(AnalysisImage)
            .where(AnalysisImage.instance_id == instance_id)
            .values(reason=NotAnalysedReason.OTHER_BUNDLE, detail="x")
        )


def two_versions_count(sick: Sick) -> None:
    other = copy.deepcopy(sick.first)
    other.PatientName = "CORRECTED^NAME"
    sick.node.receive(other)
    analyse_due(sick.node.bench)
    sick.change(Instance, is_current=True)
    with sick.node.bench.database.write() as session:
        images = list(session.scalars(sa.select(AnalysisImage).order_by(AnalysisImage.id)))
        analysis = session.scalars(sa.select(Analysis).order_by(Analysis.id.desc()).limit(1)).one()
        session.add(AnalysisImage(analysis_id=analysis.id, instance_id=images[0].instance_id))


def lost_version(sick: Sick) -> None:
    other = copy.deepcopy(sick.first)
    other.PatientName = "CORRECTED^NAME"
    sick.node.receive(other)
    analyse_due(sick.node.bench)
    sick.file(Instance).unlink()


def lowered(sick: Sick) -> None:
    sick.change(Study, urgency=Urgency.ROUTINE, tier=1)


def miscounted(sick: Sick) -> None:
    sick.change(Study, instance_count=7)


def telling_name(sick: Sick) -> None:
    (sick.inspection.archive.store / "ab" / "DOE^JANE.dcm").write_bytes(b"x")


def untold(kind: str) -> Callable[[Sick], None]:
    def erase(sick: Sick) -> None:
        with sick.node.bench.database.write() as session:
            session.execute(sa.delete(Event).where(Event.kind == kind))

    erase.__name__ = f"untold_{kind}"
    return erase


def silently_sent(sick: Sick) -> None:
    sick.change(Delivery, status=DeliveryStatus.SENT)


def silently_reopened(sick: Sick) -> None:
    sick.change(Study, status=StudyStatus.RECEIVING)


SEEDS: list[tuple[Invariant, Callable[[Sick], None]]] = [
    (Invariant.I1, lost_file),
    (Invariant.I1, altered_file),
    (Invariant.I2, orphan_file),
    (Invariant.I2, damaged_orphan),
    (Invariant.I3, running_without_lease),
    (Invariant.I3, ended_and_held),
    (Invariant.I3, open_beneath_a_newer),
    (Invariant.I4, altered_result),
    (Invariant.I4, lost_result),
    (Invariant.I4, report_of_a_lost_hour),
    (Invariant.I5, too_many_attempts),
    (Invariant.I6, parked_for_ever),
    (Invariant.I6, nobody_analyses),
    (Invariant.I6, nobody_delivers),
    (Invariant.I6, nobody_judges),
    (Invariant.I7, unseen_image),
    (Invariant.I7, handover_into_the_void),
    (Invariant.I8, two_versions_count),
    (Invariant.I8, lost_version),
    (Invariant.I9, lowered),
    (Invariant.I9, miscounted),
    (Invariant.I10, telling_name),
    (Invariant.I11, untold("study_complete")),
    (Invariant.I11, untold("analysis_succeeded")),
    (Invariant.I11, untold("instance_stored")),
    (Invariant.I11, silently_sent),
    (Invariant.I11, silently_reopened),
]


def test_a_healthy_node_is_clean_however_closely_one_looks(sick: Sick) -> None:
    assert sick.violations() == []
    assert sick.violations(deep=True) == []
    assert sick.violations(deep=True, live=False) == []


@pytest.mark.parametrize(("invariant", "seed"), SEEDS, ids=lambda value: getattr(value, "__name__", value))
def test_each_seed_breaks_its_invariant_and_no_other(
    sick: Sick, invariant: Invariant, seed: Callable[[Sick], None]
) -> None:
    seed(sick)
    assert sick.found(deep=True) == {invariant}


def test_every_invariant_has_a_seed() -> None:
    assert {invariant for invariant, _ in SEEDS} == set(Invariant)
    assert all(invariant.sentence for invariant in Invariant)
