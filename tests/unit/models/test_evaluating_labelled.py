"""Tables as sites have them, also bad ones: what is read, what is counted, what is refused."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest

from models.evaluating import labelled
from models.evaluating.errors import EvaluationError, LeakageError
from models.evaluating.labelled import Case, LabelledSource, read_labelled
from models.evaluating.subgroups import NOBODY

KEYS = ("pneumothorax", "pleural_effusion")
NIH = "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position\n"


def folder(tmp_path: Path, table: str, *names: str, **more: object) -> LabelledSource:
    images = tmp_path / "images"
    images.mkdir(exist_ok=True)
    for name in names:
        (images / name).write_bytes(name.encode())
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8")
    return LabelledSource(images=images, table=tmp_path / "labels.csv", **more)  # type: ignore[arg-type]


def test_the_nih_layout_is_read_with_its_patients(tmp_path: Path) -> None:
    table = NIH + "a.png,Effusion|Mass,1,058Y,F,PA\nb.png,No Finding,1,59,F,AP\nc.png,Pneumothorax,2,413,M,\n"
    data = read_labelled(folder(tmp_path, table, "a.png", "b.png", "c.png"), KEYS)
    assert [case.labels for case in data.cases] == [(0, 1), (0, 0), (1, 0)]
    assert [case.patient for case in data.cases] == ["1", "1", "2"]
    subjects = [case.subject for case in data.cases]
    assert [s.age_years for s in subjects] == [58, 59, None]  # nobody is 413 years old
    assert [s.sex for s in subjects] == ["F", "F", "M"]
    assert [s.view for s in subjects] == ["PA", "AP", ""]
    assert [case.where for case in data.cases] == ["labels.csv line 2", "labels.csv line 3", "labels.csv line 4"]
    assert data.patients_known


def test_labels_that_nobody_knows_stay_unknown(tmp_path: Path) -> None:
    table = "file,pneumothorax,pleural_effusion\na.png,1,\nb.png,,0\nc.png,-1,-1\n"
    data = read_labelled(folder(tmp_path, table, "a.png", "b.png", "c.png"), KEYS)
    assert data.cases[0].labels[0] == 1
    assert data.cases[1].labels[1] == 0
    assert all(math.isnan(x) for x in (data.cases[0].labels[1], data.cases[1].labels[0], *data.cases[2].labels))
    assert not data.patients_known


def test_a_finding_without_a_column_is_unknown_and_named(tmp_path: Path) -> None:
    data = read_labelled(folder(tmp_path, "file,pleural_effusion\na.png,1\nb.png,0\n", "a.png", "b.png"), KEYS)
    assert data.absent_findings == ("pneumothorax",)
    assert [case.labels[1] for case in data.cases] == [1, 0]
    assert all(math.isnan(case.labels[0]) for case in data.cases)


def test_the_user_says_what_a_table_calls_a_finding(tmp_path: Path) -> None:
    table = "file,label\na.png,Water\nb.png,Effusion\n"
    source = folder(tmp_path, table, "a.png", "b.png", labels={"pleural_effusion": ("Water",)})
    assert [case.labels for case in read_labelled(source, KEYS).cases] == [(0, 1), (0, 0)]


def test_missing_images_and_excluded_rows_are_counted(tmp_path: Path) -> None:
    table = "file,label,odd\na.png,Effusion,0\nb.png,Effusion,0\nc.png,,1\nd.png,,0\n"
    data = read_labelled(folder(tmp_path, table, "a.png", "c.png", exclude={"odd": "1"}), KEYS)
    assert (len(data.cases), data.missing, data.excluded) == (1, 2, 1)


def test_images_of_one_name_in_several_folders_keep_their_lines(tmp_path: Path) -> None:
    index = labelled._by_stem([(2, {"Path": "p1/view1.jpg", "Age": "40"}), (3, {"Path": "p2/view1.jpg", "Age": "50"})])
    row = labelled.Row(tmp_path / "p2" / "view1.jpg", "p2", (0.0,))
    source = LabelledSource(images=tmp_path, table=Path("t.csv"))
    assert labelled._case(row, index, source).subject.age_years == 50


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("", "is empty"),
        ("file,label\n", "has no rows"),
        ("name,label\na.png,Effusion\n", "has no column that names images"),
        ("file,grade\na.png,1\n", "has no label pneumothorax"),
        ("file,pneumothorax\na.png,maybe\n", "line 2"),
        ("file,label\nz.png,Effusion\n", "none of the images"),
        ("file,label\na.png,Effusion\na.png,\n", "labels.csv line 2 and line 3 name the same image"),
    ],
    ids=["empty", "header only", "no name", "no label", "odd cell", "missing images", "twice"],
)
def test_a_bad_table_is_refused_with_what_and_where(tmp_path: Path, table: str, says: str) -> None:
    with pytest.raises(EvaluationError, match=says) as refused:
        read_labelled(folder(tmp_path, table, "a.png"), KEYS)
    assert refused.value.next_step


def test_a_table_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path, "", "a.png")
    source.table.write_bytes(b"file,label\na.png,\xff\xfe\n")
    with pytest.raises(EvaluationError, match="cannot be read as CSV"):
        read_labelled(source, KEYS)
    source.table.unlink()
    with pytest.raises(EvaluationError, match=r"labels.csv cannot be read: No such file"):
        read_labelled(source, KEYS)


def test_a_column_to_exclude_by_that_is_not_there_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path, "file,label\na.png,Effusion\n", "a.png", exclude={"size_biased": "1"})
    with pytest.raises(EvaluationError, match="no column size_biased"):
        read_labelled(source, KEYS)


def test_a_column_to_group_by_is_taken_or_refused(tmp_path: Path) -> None:
    table = "file,label,source\na.png,Effusion,north\nb.png,No Finding,\n"
    source = folder(tmp_path, table, "a.png", "b.png", groups=("source",))
    assert [case.subject.columns for case in read_labelled(source, KEYS).cases] == [{"source": "north"}, {"source": ""}]
    with pytest.raises(EvaluationError, match="no column collection, by which there should be groups"):
        read_labelled(folder(tmp_path, table, groups=("collection",)), KEYS)


def cases(*patients: str) -> list[Case]:
    return [
        Case(image=labelled.PhantomImage(0, index), patient=patient, labels=(0.0,), where=f"line {index}")
        for index, patient in enumerate(patients)
    ]


def test_a_patient_on_two_sides_is_refused_by_line_and_not_by_name() -> None:
    with pytest.raises(LeakageError) as refused:
        labelled.require_apart(cases("ann", "bob"), cases("cid", "bob", "bob"), ("validation", "test"))
    assert "1 patients are both in validation and in test, the first at line 1 and line 1" in str(refused.value)
    assert "bob" not in refused.value.advice()
    labelled.require_apart(cases("ann"), cases("bob"), ("validation", "test"))


def test_a_patient_of_two_tables_is_known_in_another_spelling() -> None:
    labelled.require_apart(cases("00013"), cases("14"), ("validation", "test"))
    with pytest.raises(LeakageError):
        labelled.require_apart(cases("00013"), cases("13.0"), ("validation", "test"))


def test_a_zipped_table_with_semicolons_and_words_in_another_case_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    table = tmp_path / "labels.csv.gz"
    table.write_bytes(gzip.compress("\ufefffile;patient;label\r\na.png;1;pneumothorax|EFFUSION\r\n".encode()))
    source = LabelledSource(images=tmp_path, table=table)
    found = read_labelled(source, ("pneumothorax", "pleural_effusion", "cardiomegaly"))
    assert found.cases[0].labels[:2] == (1.0, 1.0)


def test_patients_are_divided_as_training_divides_them() -> None:
    everybody = cases(*(f"p{number % 90}" for number in range(300)))
    learned, validation, test = labelled.divide(everybody, seed=0, validation=0.2, test=0.3)
    sides = [{case.patient for case in side} for side in (learned, validation, test)]
    assert sum(map(len, sides)) == 90
    assert 0.15 < len(sides[2]) / 90 < 0.45
    whole = labelled.divide(everybody, seed=0, validation=1.0, test=0.7)
    assert whole[0] == ()
    assert {case.patient for case in test} <= {case.patient for case in whole[2]}


def test_rows_are_chosen_by_their_column() -> None:
    some = [
        Case(image=labelled.PhantomImage(0, n), patient=str(n), labels=(), where="", columns={"split": split})
        for n, split in enumerate(("val", "test", "train"))
    ]
    inside, outside = labelled.chosen(some, "split", "val")
    assert (len(inside), len(outside)) == (1, 2)
    with pytest.raises(EvaluationError, match="no row of the table has validation in a column split"):
        labelled.chosen(some, "split", "validation")


def test_phantoms_know_their_truth_and_what_no_phantom_shows() -> None:
    data = labelled.phantoms(30, 5, ("pneumothorax", "lung_opacity"))
    assert data.absent_findings == ("lung_opacity",)
    assert {case.labels[0] for case in data.cases} == {0.0, 1.0}
    assert all(math.isnan(case.labels[1]) for case in data.cases)
    assert all(case.subject == NOBODY for case in data.cases)
    assert len({case.image.digest() for case in data.cases}) == 30
