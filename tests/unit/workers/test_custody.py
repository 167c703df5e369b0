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
from node_under_test import Clock, Node, draw, encoded, opened
from peers.postgres import postgres
from pydicom.dataset import Dataset
from test_analysis import late_view

from triage.columns import Base
from triage.database import Database
from triage.findings import NotAnalysedReason, Urgency
from triage.states import AnalysisStatus, DeliveryStatus, StudyStatus
from triage.tables import Analysis, AnalysisImage, Delivery, Event, Instance, Quarantined, ResultObject, Study
from workers.analysis import analyse_due
from workers.custody import Inspection, Invariant, Remedy, Violation, check
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


MENDABLE = [
    orphan_file,
    damaged_orphan,
    running_without_lease,
    ended_and_held,
    open_beneath_a_newer,
    report_of_a_lost_hour,
    too_many_attempts,
    parked_for_ever,
    unseen_image,
    lowered,
    miscounted,
]


@pytest.mark.parametrize("seed", MENDABLE, ids=lambda seed: seed.__name__)
def test_what_can_be_mended_is_clean_afterwards(sick: Sick, seed: Callable[[Sick], None]) -> None:
    seed(sick)
    assert sick.repair() != []
    assert sick.violations(deep=True) == []


def test_an_adopted_orphan_is_an_instance_of_its_study_from_its_own_sender(sick: Sick) -> None:
    path = orphan(sick)
    sick.repair()
    study = sick.node.study(sick.second)
    adopted = study.instances[-1]
    assert adopted.relative_path == path.relative_to(sick.inspection.archive.root).as_posix()
    assert adopted.calling_ae_title == "CR7"
    assert abs(adopted.received_at - (sick.node.clock.now - timedelta(hours=2))) < timedelta(seconds=1)
    assert "instance_reindexed" in {event.kind for event in study.events}
    assert study.analyses[-1].revision == 2, "a new image asks for another look"


def test_a_young_orphan_of_a_running_node_is_left_to_its_sender(sick: Sick) -> None:
    path = orphan(sick, hours=0.5)
    (violation,) = sick.violations()
    assert violation.remedy is None
    assert "no answer yet" in violation.what
    sick.repair()
    assert path.is_file()
    (stopped,) = sick.violations(live=False)
    assert stopped.remedy is Remedy.INDEX


def test_a_damaged_orphan_is_kept_in_quarantine_and_listed(sick: Sick) -> None:
    path = orphan(sick)
    flip(path)
    damaged = path.read_bytes()
    sick.repair()
    assert not path.exists()
    row = sick.row(Quarantined)
    assert (sick.inspection.archive.root / row.relative_path).read_bytes() == damaged
    assert "damaged" in row.reason


@pytest.mark.parametrize(("seed", "damage"), [(lost_file, "missing"), (altered_file, "altered")])
def test_a_damaged_file_is_flagged_until_it_is_sent_again(
    sick: Sick, seed: Callable[[Sick], None], damage: str
) -> None:
    seed(sick)
    sick.repair()
    study = sick.node.study(sick.first)
    assert (study.instances[0].damage, study.flags) == (damage, ["damaged"])
    assert [event.kind for event in study.events].count("file_damaged") == 1
    (left,) = sick.violations(deep=True)
    assert left.remedy is None
    assert (left.calling_ae_title, left.sop_instance_uid) == ("CR1", str(sick.first.SOPInstanceUID))
    sick.repair()
    assert [event.kind for event in sick.node.study(sick.first).events].count("file_damaged") == 1, "said once"

    sick.node.receive(sick.first)
    study = sick.node.study(sick.first)
    assert [event.kind for event in study.events].count("file_sound_again") == 1
    assert (study.instances[0].damage, study.flags) == ("", [])
    assert sick.violations(deep=True) == []


def test_a_file_that_was_put_back_is_sound_again(sick: Sick, tmp_path: Path) -> None:
    shutil.copy(sick.file(Instance), tmp_path / "copy")
    lost_file(sick)
    sick.repair()
    shutil.copy(tmp_path / "copy", sick.file(Instance))
    (violation,) = sick.violations()
    assert violation.remedy is Remedy.SOUND
    sick.repair()
    assert sick.node.study(sick.first).flags == []
    assert sick.violations(deep=True) == []


def test_a_report_of_a_lost_hour_is_sent_again_with_its_own_bytes(sick: Sick) -> None:
    before = {r.sop_instance_uid: r.sha256 for a in sick.node.study(sick.first).analyses for r in a.result_objects}
    report_of_a_lost_hour(sick)
    sick.repair()
    assert analyse_due(sick.node.bench) == 0, "nothing is made a second time"
    study = sick.node.study(sick.first)
    (analysis,) = study.analyses
    assert {r.sop_instance_uid: r.sha256 for r in analysis.result_objects} == before
    assert {d.status for r in analysis.result_objects for d in r.deliveries} == {DeliveryStatus.PENDING}
    assert study.urgency is Urgency.STAT, "the class that the report asked for"
    assert "by its report" in study.explanation


def test_a_report_left_by_a_run_that_broke_off_is_no_violation(sick: Sick) -> None:
    """Killed between the file and its row: the retry makes the same bytes again."""
    with sick.node.bench.database.write() as session:
        analysis = session.scalars(sa.select(Analysis).order_by(Analysis.id).limit(1)).one()
        for result in analysis.result_objects:
            if result.kind == "SR":
                session.execute(sa.delete(Delivery).where(Delivery.result_object_id == result.id))
                session.delete(result)
        analysis.status, analysis.finished_at, analysis.due = AnalysisStatus.QUEUED, None, True
        analysis.not_before = sick.node.clock.now
    assert sick.violations() == []


def test_what_is_right_a_moment_later_is_not_reported(sick: Sick) -> None:
    """The file is renamed just before its row is written: the first look sees an orphan, the second does not."""
    path = orphan(sick)
    waits = []

    def meanwhile(seconds: float) -> None:
        waits.append(seconds)
        sick.repair() if len(waits) == 1 else None

    inspection = replace(sick.inspection, pause=meanwhile)
    assert list(check(inspection, CHECKS)) == []
    assert len(waits) >= 1
    assert path.is_file()


def test_a_stopped_node_owes_work_without_being_broken(sick: Sick) -> None:
    nobody_analyses(sick)
    assert sick.found(live=True) == {Invariant.I6}
    assert sick.found(live=False) == set()


def test_work_in_progress_is_not_overdue(sick: Sick) -> None:
    nobody_analyses(sick)
    with sick.node.bench.database.write() as session:
        other = session.scalars(sa.select(Analysis).order_by(Analysis.id.desc()).limit(1)).one()
        other.finished_at = sick.node.clock.now - timedelta(minutes=1)
    assert sick.found() == set()


def test_names_of_patients_are_found_in_logs_and_look_alikes_are_not(sick: Sick, tmp_path: Path) -> None:
    name, identifier = str(sick.first.PatientName), str(sick.first.PatientID)
    clean, named, numbered = (tmp_path / f"{n}.log" for n in ("clean", "named", "numbered"))
    clean.write_text(f"instance_received sop_instance_uid=1.2.{identifier}.3\n")
    named.write_text(f"broke: {name!r}\n")
    numbered.write_text(f"patient {identifier} moved\n")
    assert sick.found(logs=[str(clean)]) == set()
    for log in (named, numbered):
        (violation,) = sick.violations(logs=[str(log)])
        assert violation.invariant is Invariant.I10
        assert name not in violation.what
        assert identifier not in violation.what


def test_files_that_retention_removed_are_not_missed(sick: Sick) -> None:
    sick.file(Instance).unlink()
    sick.change(Instance, removed_at=sick.node.clock.now)
    assert sick.violations(deep=True) == []


ROW_SEEDS = [
    (invariant, seed)
    for invariant, seed in SEEDS
    if seed not in (lost_file, altered_file, altered_result, lost_result, telling_name, orphan_file, damaged_orphan)
    if seed not in (two_versions_count, lost_version)  # these run an analysis
]


@pytest.mark.peer
def test_the_questions_are_the_same_on_postgresql(healthy: Path, tmp_path: Path) -> None:
    """The rows of the healthy node in PostgreSQL; each seed is found there alone, and orphans are taken over."""
    shutil.copytree(healthy, tmp_path / "data")
    with opened(tmp_path / "data") as embedded:
        rows = everything(embedded.bench.database)
    with postgres() as url, opened(tmp_path / "data", database_url=url) as node:
        sick = patient(node)
        put(node.bench.database, rows)
        assert sick.violations(deep=True) == []
        for invariant, seed in ROW_SEEDS:
            seed(sick)
            assert sick.found(deep=True) == {invariant}, seed.__name__
            sick.repair()
            put(node.bench.database, rows)
            node.clock.now = Clock().now
        orphan_file(sick)
        assert sick.found() == {Invariant.I2}
        sick.repair()
        assert sick.violations(deep=True) == []


def everything(database: Database) -> dict[str, list[dict[str, object]]]:
    """All rows of all tables."""
    with database.read() as session:
        return {
            table.name: [dict(row) for row in session.execute(sa.select(table)).mappings()]
            for table in Base.metadata.sorted_tables
        }


def put(database: Database, rows: dict[str, list[dict[str, object]]]) -> None:
    """Replace all rows, and let new ones have higher ids."""
    with database.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(sa.delete(table))
        for table in Base.metadata.sorted_tables:
            if rows[table.name]:
                session.execute(sa.insert(table), rows[table.name])
            if "id" in table.c:
                session.execute(sa.text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), 1000)"))
