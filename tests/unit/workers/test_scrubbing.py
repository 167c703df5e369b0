"""The scrub: everything is read in its time, damage is said, and nobody else waits for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from node_under_test import Node
from pydicom.dataset import Dataset
from test_analysis import late_view
from test_custody import flip

from triage.findings import NotAnalysedReason
from triage.repositories.totals import totals
from triage.states import AnalysisStatus
from triage.tables import Instance, ResultObject
from workers import scrubbing, tasks
from workers.analysis import analyse_due
from workers.celery_app import create_celery
from workers.names import Task
from workers.scrubbing import scrub

Draw = Callable[..., Dataset]


def file_of(node: Node, dataset: Dataset) -> Path:
    return node.bench.archive.path(node.study(dataset).instances[0].relative_path)


def kinds(node: Node, dataset: Dataset) -> list[str]:
    return [event.kind for event in node.study(dataset).events]


def test_fresh_files_are_left_alone_then_read_once_and_again_when_their_time_has_come(
    node: Node, phantom: Draw
) -> None:
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    assert scrub(node.bench) == 0
    node.clock.pass_by(hours=2)
    assert scrub(node.bench) == 3, "an image, a report, a heat map"
    assert scrub(node.bench) == 0
    study = node.study(dataset)
    checked = [study.instances[0].checked_at, *(r.checked_at for a in study.analyses for r in a.result_objects)]
    assert set(checked) == {node.clock.now}
    node.clock.pass_by(days=99)
    assert scrub(node.bench) == 0
    node.clock.pass_by(days=2)
    assert scrub(node.bench) == 3


def test_damage_is_said_on_the_case_once_and_taken_back_when_the_file_is_sound_again(
    node: Node, phantom: Draw, tmp_path: Path
) -> None:
    dataset = phantom(2)
    node.receive(dataset)
    file = file_of(node, dataset)
    shutil.copy(file, tmp_path / "copy")
    flip(file)
    for _ in range(2):
        node.clock.pass_by(days=101)
        scrub(node.bench)
    study = node.study(dataset)
    assert (study.instances[0].damage, study.flags) == ("altered", ["damaged"])
    assert kinds(node, dataset).count("file_damaged") == 1
    with node.bench.database.read() as session:
        assert totals(session).damaged == {"instance": 1, "result": 0}
    shutil.copy(tmp_path / "copy", file)
    node.clock.pass_by(days=101)
    scrub(node.bench)
    study = node.study(dataset)
    assert (study.instances[0].damage, study.flags) == ("", [])
    assert kinds(node, dataset).count("file_sound_again") == 1


def test_the_flag_stays_as_long_as_anything_of_the_study_is_damaged(node: Node, phantom: Draw, tmp_path: Path) -> None:
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    report = next(r for a in node.study(dataset).analyses for r in a.result_objects if r.kind == "SR")
    files = [file_of(node, dataset), node.bench.settings.results / report.relative_path]
    for number, file in enumerate(files):
        shutil.copy(file, tmp_path / str(number))
    files[0].unlink()
    flip(files[1])
    node.clock.pass_by(hours=2)
    scrub(node.bench)
    with node.bench.database.read() as session:
        assert totals(session).damaged == {"instance": 1, "result": 1}
        assert session.scalars(sa.select(Instance.damage)).all() == ["missing"]
        assert sorted(session.scalars(sa.select(ResultObject.damage))) == ["", "altered"]
    for number, (file, flags) in enumerate(zip(files, (["damaged"], []), strict=True)):
        shutil.copy(tmp_path / str(number), file)
        node.clock.pass_by(days=101)
        scrub(node.bench)
        assert node.study(dataset).flags == flags


def test_a_run_is_bounded_in_bytes_and_time_and_goes_on_where_it_stopped(
    node: Node, phantom: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = phantom(2)
    node.receive(first, late_view(first, "7"), late_view(first, "8"))
    node.clock.pass_by(hours=2)
    size = node.study(first).instances[0].size
    monkeypatch.setattr(scrubbing, "SLICE", 2 * size + 100)
    assert scrub(node.bench) == 2
    assert scrub(node.bench) == 1
    node.clock.pass_by(days=101)
    monkeypatch.setattr(scrubbing, "SLICE", 1)
    assert [scrub(node.bench) for _ in range(4)] == [1, 1, 1, 0], "a file larger than a slice has its turn too"
    monkeypatch.undo()
    node.clock.pass_by(days=101)
    ticks = iter(range(0, 1000, 10))
    assert scrub(node.bench, monotonic=lambda: next(ticks)) == 1


def test_nothing_is_read_when_a_site_switches_it_off(node: Node, phantom: Draw) -> None:
    node.receive(phantom(2))
    node.clock.pass_by(days=1000)
    node.bench.settings = node.bench.settings.model_copy(update={"scrub_days": 0})
    assert scrub(node.bench) == 0


def test_a_disk_that_does_not_answer_is_no_damage(node: Node, phantom: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = phantom(2)
    node.receive(dataset)
    node.clock.pass_by(hours=2)

    def broken(*_: object) -> str:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("dicom_node.stored.damage", broken)
        assert scrub(node.bench) == 1
    instance = node.study(dataset).instances[0]
    assert (instance.damage, instance.checked_at) == ("", None), "it keeps its turn"


def test_what_retention_removed_is_not_looked_for(node: Node, phantom: Draw) -> None:
    dataset = phantom(2)
    node.receive(dataset)
    file_of(node, dataset).unlink()
    with node.bench.database.write() as session:
        session.execute(sa.update(Instance).values(removed_at=node.clock.now))
    node.clock.pass_by(days=200)
    assert scrub(node.bench) == 0


@pytest.mark.parametrize(
    ("harm", "age", "damage"),
    [
        (Path.unlink, timedelta(), "missing"),
        (Path.unlink, timedelta(days=3), "missing"),
        (flip, timedelta(days=3), "altered"),
    ],
)
def test_an_image_is_looked_at_before_a_late_analysis_and_its_neighbours_are_analysed(
    node: Node, phantom: Draw, harm: Callable[[Path], None], age: timedelta, damage: str
) -> None:
    dataset = phantom(2)
    other = late_view(dataset, "7")
    node.receive(dataset, other)
    harm(file_of(node, dataset))
    node.clock.now += age
    analyse_due(node.bench)
    study = node.study(dataset)
    assert study.flags == ["damaged"]
    (analysis,) = study.analyses
    assert analysis.status is AnalysisStatus.SUCCEEDED
    said = {image.instance.sop_instance_uid: (image.reason, image.detail) for image in analysis.images}
    assert said == {
        str(dataset.SOPInstanceUID): (NotAnalysedReason.DECODE_ERROR, f"the file is {damage}"),
        str(other.SOPInstanceUID): (None, ""),
    }


def test_a_fresh_image_is_not_hashed_before_its_analysis(
    node: Node, phantom: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> str:
        raise AssertionError("a fresh image is not read twice")

    dataset = phantom(2)
    node.receive(dataset)
    monkeypatch.setattr("dicom_node.stored.damage", never)
    analyse_due(node.bench)
    assert node.study(dataset).analyses[0].status is AnalysisStatus.SUCCEEDED


def test_every_task_is_registered_and_has_its_queue(node: Node) -> None:
    app = create_celery(node.bench.settings)
    tasks.register(app, lambda: node.bench)
    assert set(app.conf.task_routes) == set(Task)
    assert set(Task) <= app.tasks.keys()
