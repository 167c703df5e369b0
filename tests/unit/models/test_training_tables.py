"""Tables of labels as the field publishes them, and what is refused before anything is trained."""

from __future__ import annotations

import gzip
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_samples import INPUT, folder_plan, picture, write_arrays, write_folder

from models.preprocessing import display_from_png, network_input
from models.training import ArraysSource, FolderSource, LeakageError, TrainingDataError
from models.training.arrays import array_samples
from models.training.augmentation import augment
from models.training.checks import check_patients, one_person_each
from models.training.data import load_data
from models.training.folder import Row, read_table, split
from models.training.folds import deal, fold_sides
from models.training.image_cache import cache_images
from models.training.layouts import layout_of
from models.training.layouts.records import years
from models.training.plan import Augmentation


def silent(_event: str, _figures: dict[str, Any]) -> None:
    pass


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def source(root: Path, text: str, labels: dict[str, tuple[str, ...]], **changes: Any) -> FolderSource:
    table = root / "table.csv"
    table.write_text(text)
    return FolderSource(images=root, table=table, labels=labels, **changes)


# --- layouts ---

NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,Width,Height\n"
    "00000001_000.png,Cardiomegaly|Effusion,0,1,058Y,M,PA,2682,2749\n"
    "00000002_000.png,No Finding,0,2,81,F,AP,2500,2048\n"
    "00000003_000.png,Hernia,0,3,414,F,LATERAL,2500,2048\n"
)  # fmt: skip


def test_nih_is_read_as_it_is_from_its_numbered_folders(tmp_path: Path) -> None:
    touch(tmp_path / "images_001" / "images" / "00000001_000.png")
    touch(tmp_path / "images_012" / "images" / "00000002_000.png")
    labels = {"effusion": ("Effusion",), "heart": ("Cardiomegaly",)}
    rows = read_table(source(tmp_path, NIH, labels, views=("PA", "AP")), ("effusion", "heart"))
    assert [(r.patient, r.labels, r.age, r.sex, r.view) for r in rows] == [
        ("1", (1.0, 1.0), 58.0, "M", "PA"),
        ("2", (0.0, 0.0), 81.0, "F", "AP"),
    ]


def test_nih_official_lists_fix_the_test_side_and_leave_validation_to_be_drawn(tmp_path: Path) -> None:
    lines = [NIH.splitlines()[0]]
    for n in range(200):
        touch(tmp_path / f"{n:03}.png")
        lines.append(f"{n:03}.png,No Finding,0,{n // 2},50,M,PA,1,1")
    (tmp_path / "train_val_list.txt").write_text("\r\n".join(f"{n:03}.png" for n in range(150)))
    (tmp_path / "test_list.txt").write_text("\n".join(f"{n:03}.png" for n in range(150, 200)))
    lists = {"train": tmp_path / "train_val_list.txt", "test": tmp_path / "test_list.txt"}
    given_source = source(tmp_path, "\n".join(lines), {"mass": ("Mass",)}, lists=lists)
    train, validation, test = split(read_table(given_source, ("mass",)), given_source, 1)
    assert {row.path.name for row in test} == {f"{n:03}.png" for n in range(150, 200)}
    assert 15 < len(validation) < 50
    assert len(train) + len(validation) == 150
    check_patients((train, validation, test))


CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Pneumonia,Pleural Effusion\n"
    "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,,-1.0,1.0\n"
    "CheXpert-v1.0-small/train/patient00002/study1/view1_frontal.jpg,Male,30,Frontal,PA,1.0,,\n"
    "CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg,Male,30,Lateral,,1.0,,\n"
    "CheXpert-v1.0-small/train/patient00003/study1/view1_frontal.jpg,Male,30,Frontal,PA,,0.0,\n"
)
NAN = math.nan


@pytest.mark.parametrize(
    ("policy", "pneumonia", "effusion"),
    [
        ({}, [NAN, 0, 0], [1, 0, NAN]),
        ({"uncertain": "ones", "blanks": "negative"}, [1, 0, 0], [1, 0, 0]),
        ({"uncertain": "zeros"}, [0, 0, 0], [1, 0, NAN]),
    ],
)
def test_chexpert_says_what_uncertain_and_blank_mean(
    tmp_path: Path, policy: dict[str, Any], pneumonia: list[float], effusion: list[float]
) -> None:
    for patient in (1, 2, 3):
        touch(tmp_path / "train" / f"patient{patient:05}" / "study1" / "view1_frontal.jpg")
    touch(tmp_path / "train" / "patient00002" / "study1" / "view2_lateral.jpg")
    labels = {"pneumonia": ("Pneumonia",), "effusion": ("Pleural Effusion",)}
    given_source = source(tmp_path, CHEXPERT, labels, views=("PA", "AP"), **policy)
    assert layout_of(given_source) == "chexpert"
    rows = read_table(given_source, ("pneumonia", "effusion"))
    assert [row.patient for row in rows] == ["patient00001", "patient00002", "patient00003"]
    np.testing.assert_array_equal([row.labels for row in rows], np.column_stack([pneumonia, effusion]))


def test_chexpert_valid_csv_is_a_side_of_its_own(tmp_path: Path) -> None:
    for patient in (1, 2, 3):
        touch(tmp_path / "train" / f"patient{patient:05}" / "study1" / "view1_frontal.jpg")
    touch(tmp_path / "valid" / "patient64541" / "study1" / "view1_frontal.jpg")
    valid = tmp_path / "valid.csv"
    valid.write_text(
        "Path,Sex,Age,Frontal/Lateral,AP/PA,Pneumonia\n"
        "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,1.0\n"
    )
    given_source = source(
        tmp_path, CHEXPERT, {"pneumonia": ("Pneumonia",)}, lists={"test": valid}, views=("PA", "AP")
    )  # fmt: skip
    rows = read_table(given_source, ("pneumonia",))
    assert [row.patient for row in rows if row.side == "test"] == ["patient64541"]
    assert [row.patient for row in split(rows, given_source, 0)[2]] == ["patient64541"]


def test_mimic_joins_labels_with_images_and_sides(tmp_path: Path) -> None:
    folder = tmp_path / "files" / "p10" / "p10000032"
    touch(folder / "s50414267" / "aaa.jpg")
    touch(folder / "s50414267" / "bbb.jpg")
    touch(tmp_path / "files" / "p11" / "p11000011" / "s51029426" / "ccc.dcm")
    metadata = tmp_path / "metadata.csv"
    metadata.write_text(
        "dicom_id,subject_id,study_id,ViewPosition\naaa,10000032,50414267,PA\nbbb,10000032,50414267,LATERAL\n"
        "ccc,11000011,51029426,AP\nddd,11000011,59999999,AP\n"
    )
    splits = tmp_path / "split.csv.gz"
    with gzip.open(splits, "wt") as stream:
        stream.write(
            "dicom_id,study_id,subject_id,split\naaa,50414267,10000032,train\nbbb,50414267,10000032,train\n"
            "ccc,51029426,11000011,validate\n"
        )
    text = "subject_id,study_id,Pneumonia\n10000032,50414267.0,1.0\n11000011,51029426,-1.0\n"
    given_source = source(
        tmp_path, text, {"pneumonia": ("Pneumonia",)}, metadata_table=metadata, split_table=splits, views=("PA", "AP")
    )
    rows = read_table(given_source, ("pneumonia",))
    assert [(r.path.name, r.patient, r.side) for r in rows] == [
        ("aaa.jpg", "10000032", "train"),
        ("ccc.dcm", "11000011", "validation"),
    ]
    assert rows[0].labels == (1.0,)
    assert math.isnan(rows[1].labels[0])
    with pytest.raises(TrainingDataError, match="metadata or split"):
        read_table(replace(given_source, metadata_table=None, split_table=None), ("pneumonia",))


def test_ages_of_every_table() -> None:
    assert [years(text) for text in ("58", "058Y", "018M", "12.5", "414", "", "old")] == [
        58.0, 58.0, 1.5, 12.5, None, None, None,
    ]  # fmt: skip


# --- bad input ---


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("file,mass\n", "no rows"),
        ("file,mass\na.png,yes\n", "line 2: column mass says 'yes'"),
        ("file,mass\na.png,0.5\n", "line 2"),
        ("file,other\na.png,1\n", "finding mass.*no label.*other"),
        ("file,mass,side\na.png,1,trian\n", "line 2: side 'trian'"),
        ("Image Index,Finding Labels\na.png,Mass\n", "no label Mas;"),
    ],
)
def test_a_table_that_says_nothing_sure_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    touch(tmp_path / "a.png")
    labels = {"mass": ("Mas",)} if "Image" in text else {}
    with pytest.raises(TrainingDataError, match=says):
        read_table(source(tmp_path, text, labels), ("mass",))


@pytest.mark.parametrize(
    ("cells", "truth"),
    [
        ("Effusion,1\n\nNo Finding,3", [1, 0]),
        ("Effusion,1\n,2\nNo Finding,3", [1, NAN, 0]),  # nobody has said that there is none
        ("EFFUSION,1\neffusion | Mass,2\nno finding,3", [1, 1, 0]),
        ("Effusion ,1\n Mass|Effusion,2", [1, 1]),
    ],
)
@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["Image Index,Finding Labels,Patient ID", "file,label,patient"])
def test_words_are_read_as_they_are_meant(
    tmp_path: Path, cells: str, truth: list[float], between: str, header: str
) -> None:
    lines = [f"{n}.png,{cell}" if cell else "" for n, cell in enumerate(cells.split("\n"))]
    for n in range(len(lines)):
        touch(tmp_path / f"{n}.png")
    text = "\n".join([header.replace("label", " label "), *lines]).replace(",", between)
    rows = read_table(source(tmp_path, text, {"effusion": ("Effusion",)}), ("effusion",))
    np.testing.assert_array_equal([row.labels[0] for row in rows], truth)


def test_words_that_two_findings_share_count_for_both(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    labels = {"mass": ("Nodule", "Mass"), "nodule": ("Nodule",), "effusion": ("Pneumonia",)}
    text = "file,patient,label\na.png,1,NODULE|Effusion\n"
    rows = read_table(source(tmp_path, text, labels), ("mass", "nodule", "effusion"))
    assert rows[0].labels == (1.0, 1.0, 0.0)  # effusion means the label Pneumonia here, and nothing else


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('a.png,"Effusion, Mass",1', "line 2: 'Effusion, Mass' is no label; labels are separated by |"),
        ("a.png,Mass;Effusion,1", "separated by"),
        ("a.png,No Finding|Effusion,1", "line 2: 'No Finding|Effusion' says that there is a finding and none"),
        ("a.png,Effusion,1\nb.png,Effusion", "line 3: column Patient ID is blank"),
        ("a.png,Effusion,1\na.png,No Finding,1", "line 2 and line 3 say different things of one image"),
        ("a.png,Effusion,1\na.png,Effusion,2", "line 2 and line 3 say different things of one image"),
    ],
)
def test_a_line_that_would_be_read_wrongly_is_refused_with_its_number(tmp_path: Path, lines: str, says: str) -> None:
    for name in "ab":
        touch(tmp_path / f"{name}.png")
    with pytest.raises(TrainingDataError) as refused:
        read_table(
            source(tmp_path, f"Image Index,Finding Labels,Patient ID\n{lines}\n", {"effusion": ("Effusion",)}),
            ("effusion",),
        )
    assert says in str(refused.value)


def test_a_patient_in_several_spellings_is_one(tmp_path: Path) -> None:
    spelled = ["13", "00013", " 13.0", "P7", "p7", "130"]
    for n in range(len(spelled)):
        touch(tmp_path / f"{n}.png")
    text = "file,patient,label\n" + "".join(f"{n}.png,{name},Mass\n" for n, name in enumerate(spelled))
    said: list[str] = []
    rows = read_table(
        source(tmp_path, text, {"mass": ("Mass",)}),
        ("mass",),
        lambda _event, figures: said.append(str(figures.get("text"))),
    )
    assert [row.patient for row in rows] == ["13", "13", "13", "P7", "P7", "130"]
    assert "patients are spelled in several ways and count as one (lines 3, 4, 6)" in said


def test_missing_images_are_counted_and_named(tmp_path: Path) -> None:
    touch(tmp_path / "0.png")
    given_source = source(tmp_path, "file,mass\n" + "".join(f"{n}.png,1\n" for n in range(9)), {})
    with pytest.raises(TrainingDataError, match=r"8 of 9 images .*: 1\.png, 2\.png.* and 3 more") as caught:
        read_table(given_source, ("mass",))
    assert "--unusable skip" in caught.value.next_step
    assert len(read_table(replace(given_source, unusable="skip"), ("mass",))) == 1


def test_a_patient_on_two_given_lists_is_refused_by_lines(tmp_path: Path) -> None:
    for name in "abc":
        touch(tmp_path / f"{name}.png")
    text = "file,patient,mass,side\na.png,7,1,train\nb.png,8,0,validation\nc.png,7,0,test\n"
    given_source = source(tmp_path, text, {})
    with pytest.raises(LeakageError, match=r"line 2 \(train\) and line 4 \(test\)") as caught:
        check_patients(split(read_table(given_source, ("mass",)), given_source, 0))
    assert "7" not in str(caught.value)


def test_one_picture_under_two_patients_is_refused_or_makes_them_one() -> None:
    rows = [Row(Path(f"{n}.png"), patient, (0.0,), n + 2) for n, patient in enumerate("ABCBD")]
    digests = ["x", "x", "y", "z", "z"]
    with pytest.raises(LeakageError, match=r"2 pictures .*0\.png \(line 2\) = 1\.png \(line 3\)"):
        one_person_each(rows, digests, "refuse", silent)
    merged = one_person_each(rows, digests, "merge", silent)
    assert [row.patient for row in merged] == ["A", "A", "C", "A", "A"]


def test_a_copy_of_an_image_under_another_name_and_patient_is_found_in_the_pixels(tmp_path: Path) -> None:
    table = write_folder(tmp_path, 12)
    cv2.imwrite(str(tmp_path / "copy.png"), cv2.imread(str(tmp_path / "000_0.png"), cv2.IMREAD_GRAYSCALE))
    with table.open("a") as stream:
        stream.write("copy.png,somebody else,1,50\n")
    with pytest.raises(LeakageError, match=r"copy\.png"):
        load_data(folder_plan(tmp_path, table), tmp_path / "run", tmp_path / "cache", silent)


def test_one_class_only_is_refused_with_its_counts(tmp_path: Path) -> None:
    table = write_folder(tmp_path, 20)
    table.write_text(table.read_text().replace(",1,", ",0,"))
    with pytest.raises(TrainingDataError, match=r"square in train \(0 with, \d+ without\)"):
        load_data(folder_plan(tmp_path, table), tmp_path / "run", tmp_path / "cache", silent)


def test_unreadable_images_are_counted_or_skipped(tmp_path: Path) -> None:
    table = write_folder(tmp_path, 30)
    (tmp_path / "004_1.png").write_bytes(b"no image")
    plan = folder_plan(tmp_path, table)
    with pytest.raises(TrainingDataError, match=r"1 of 60 images cannot be read: 004_1\.png"):
        load_data(plan, tmp_path / "run", tmp_path / "cache", silent)
    assert isinstance(plan.source, FolderSource)
    skipping = replace(plan, source=replace(plan.source, unusable="skip"))
    data = load_data(skipping, tmp_path / "run", tmp_path / "cache", silent)
    assert sum(map(len, data.sides)) == 59


def test_an_npz_with_a_picture_on_two_sides_is_refused_or_cleaned(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "a.npz")
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["train_images"][3] = arrays["test_images"][5]
    np.savez(path, **arrays)
    given_source = ArraysSource(arrays=path, labels={"square": ("1",)})
    with pytest.raises(LeakageError, match="1 pictures"):
        array_samples(given_source, ("square",), INPUT, silent)
    sides = array_samples(replace(given_source, shared_images="drop"), ("square",), INPUT, silent)
    assert [len(side) for side in sides] == [47, 24, 24]
    with pytest.raises(TrainingDataError, match="numbers of classes"):
        array_samples(replace(given_source, labels={}), ("square",), INPUT, silent)
    path.write_bytes(b"PK nothing")
    with pytest.raises(TrainingDataError, match="cannot be read"):
        array_samples(given_source, ("square",), INPUT, silent)


# --- folds and cache ---


@given(
    st.lists(st.tuples(st.integers(0, 25), st.booleans(), st.booleans()), min_size=40, max_size=120),
    st.integers(3, 6),
    st.integers(0, 9),
)
def test_folds_hold_every_image_once_and_every_patient_together(
    images: list[tuple[int, bool, bool]], folds: int, seed: int
) -> None:
    rows = [Row(Path(f"{n}"), str(p), (float(a), float(b))) for n, (p, a, b) in enumerate(images)]
    if len({row.patient for row in rows}) < folds:
        return
    dealt = deal(rows, folds, seed)
    assert sorted(row.path.name for fold in dealt for row in fold) == sorted(row.path.name for row in rows)
    where = defaultdict(set)
    for number, fold in enumerate(dealt):
        for row in fold:
            where[row.patient].add(number)
    assert all(len(places) == 1 for places in where.values())


def test_a_rare_finding_is_in_every_fold_and_every_image_is_tested_once() -> None:
    rows = [Row(Path(f"{n}"), str(n), (float(n % 20 == 0), float(n % 2))) for n in range(200)]
    assert [sum(row.labels[0] == 1 for row in fold) for fold in deal(rows, 5, 0)] == [2] * 5
    turns = [fold_sides(rows, 5, fold, 0) for fold in range(5)]
    assert sorted(r.path.name for _, _, test in turns for r in test) == sorted(r.path.name for r in rows)
    for sides in turns:
        check_patients(sides)
    with pytest.raises(TrainingDataError, match="200 patients"):
        deal(rows, 201, 0)


def test_a_fixed_test_side_stays_the_test_of_every_fold() -> None:
    rows = [Row(Path(f"{n}"), str(n), (float(n % 2),), side="test" if n < 10 else None) for n in range(60)]
    for fold in range(5):
        train, validation, test = fold_sides(rows, 5, fold, 0)
        assert (len(train), len(validation), len(test)) == (40, 10, 10)


def test_figures_are_measured_on_what_the_network_sees_in_service(tmp_path: Path) -> None:
    """Not on 256 steps of it: a weak network's AUC moved by 0.005, and a positive over its threshold."""
    for n in range(24):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.random.default_rng(n).integers(0, 65536, (90, 70)).astype(np.uint16))
    text = "file,patient,square\n" + "".join(f"{n}.png,{n},{n % 2}\n" for n in range(24))
    (tmp_path / "labels.csv").write_text(text)
    plan = folder_plan(tmp_path, tmp_path / "labels.csv", threads=1)
    data = load_data(plan, tmp_path / "run", tmp_path / "cache", silent)
    assert data.rows is not None
    for number, side in ((1, data.validation), (2, data.test)):
        for index, row in enumerate(data.rows[number]):
            array = cv2.imread(str(row.path), cv2.IMREAD_UNCHANGED)
            in_service, _ = network_input(display_from_png(array), INPUT)
            np.testing.assert_allclose(side.network_images(slice(index, index + 1), INPUT)[0], in_service, atol=5e-5)


def test_fitted_images_are_kept_on_disk_and_a_killed_fill_goes_on(tmp_path: Path) -> None:
    paths = []
    for n in range(300):
        paths.append(tmp_path / f"{n}.png")
        cv2.imwrite(str(paths[-1]), picture(n, bright=False))
    cache = tmp_path / "cache"

    class KilledError(Exception):
        pass

    def kill_after_one_chunk(_event: str, figures: dict[str, Any]) -> None:
        if figures["done"]:
            raise KilledError

    with pytest.raises(KilledError):
        cache_images(paths, INPUT, cache, processes=1, report=kill_after_one_chunk)
    # What the killed run had written must not be read again: those files now say otherwise.
    with next(cache.glob("*.log")).open("a") as log:
        log.write("[1, [")
    seen: list[int] = []
    whole = cache_images(paths, INPUT, cache, processes=1, report=lambda _event, figures: seen.append(figures["done"]))
    assert seen == [256, 300]
    assert isinstance(whole.images.base, np.memmap)
    fresh = cache_images(paths, INPUT, tmp_path / "other", processes=1, report=silent)
    assert whole.digests == fresh.digests
    assert np.array_equal(whole.images[np.arange(300)], fresh.images[np.arange(300)])
    cv2.imwrite(str(paths[0]), picture(999, bright=True))
    assert cache_images(paths, INPUT, cache, processes=1, report=silent).digests[0] != whole.digests[0]


def test_borders_hide_their_masks_and_nothing_is_mirrored_unless_asked() -> None:
    still = Augmentation(turn=0, zoom=0, shift=0, gamma=0, contrast=0, brightness=0, blur=0, noise=0)
    image = np.full((64, 64), 100, np.uint8)
    image[20:40, 4:12] = 200
    bits = np.ones((16, 16), np.uint8)
    unchanged, where = augment(image, bits, np.random.default_rng(0), still)
    assert np.array_equal(unchanged, image)
    assert where is not None
    assert where.all()
    mirrored = [augment(image, None, np.random.default_rng(n), replace(still, mirror=True))[0] for n in range(8)]
    assert {bool(np.array_equal(m, image[:, ::-1])) for m in mirrored} == {True, False}
    framed, seen = augment(image, bits, np.random.default_rng(1), replace(still, collimation=0.999))
    assert not np.array_equal(framed, image)
    assert seen is not None
    assert 0 < seen.sum() < 256
