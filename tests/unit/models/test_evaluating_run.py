"""A whole evaluation of a small bundle on small files: sides, abstentions, what is kept, refusals, forms."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from model_samples import ROOT, make_dataset, make_metadata
from pydicom.dataset import Dataset
from sklearn.metrics import roc_auc_score

from models.bundle import Bundle
from models.calibration import Calibrator
from models.evaluating import labelled
from models.evaluating import report as forms
from models.evaluating.errors import EvaluationError, LeakageError
from models.evaluating.figures import Choices, Sample, set_figures
from models.evaluating.labelled import LabelledSource
from models.evaluating.run import PREDICTIONS, Division, PhantomSeries, Request, evaluate
from models.evaluating.subgroups import NOBODY
from models.inference import Predictor
from models.preprocessing import display_from_png, network_input
from triage.errors import BundleError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUICK = Choices(resamples=60)
BY_COLUMN = Division(validation=("split", "val"), test=("split", "test"))


def picture(number: int, side: int = 64) -> np.ndarray:
    rng = np.random.default_rng(number)
    return cv2.resize(rng.integers(0, 256, (6, 6), dtype=np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)


def site(
    folder: Path, count: int = 24, *, first: int = 0, changes: dict[int, dict[str, str]] | None = None
) -> LabelledSource:
    """Plain pictures with their table: two images a patient, every third with a finding."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(first, first + count):
        cv2.imwrite(str(folder / f"{number}.png"), picture(number))
        rows.append({
            "file": f"{number}.png", "patient": f"p{number // 2}", "split": "val" if number // 2 % 3 == 0 else "test",
            "pneumothorax": str(int(number % 3 == 0)), "pleural_effusion": str(int(number % 4 == 0)),
            "age": str(20 + 5 * (number % 12)), "sex": "MF"[number % 2],
        } | (changes or {}).get(number, {}))  # fmt: skip
    write_table(folder / "labels.csv", rows)
    return LabelledSource(images=folder, table=folder / "labels.csv")


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def measure(bundle: Bundle, source: LabelledSource | PhantomSeries, out: Path, **more: Any) -> dict[str, Any]:
    request = Request(bundle=bundle, internal=source, choices=QUICK, **{"division": BY_COLUMN, **more})
    return evaluate(request, out, now=NOW)


def test_a_report_has_every_figure_and_is_plain_json(tiny_bundle: Bundle, tmp_path: Path) -> None:
    report = measure(tiny_bundle, site(tmp_path / "site"), tmp_path / "out")
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert (report["test"]["images"], report["test"]["patients"]) == (16, 8)
    assert (report["validation"]["images"], report["validation"]["patients"]) == (8, 4)
    figures = report["test"]["findings"]["pneumothorax"]
    assert {"auc", "sensitivity", "specificity", "expected_calibration_error", "brier_score"} <= figures.keys()
    assert figures["auc"]["low"] <= figures["auc"]["value"] <= figures["auc"]["high"]
    assert figures["auc_method"] == "bootstrap over patients"
    in_force, chosen = figures["operating_points"]
    assert in_force["threshold"] == 0.5
    assert chosen["validation"]["sensitivity"]["value"] >= 0.95
    groups = {row["group"]: row for row in figures["subgroups"]["sex"]}
    assert groups["male"]["images"] + groups["female"]["images"] == 16
    assert groups["male"]["note"].startswith("too few to say anything")
    assert groups["male"]["auc"] is None


def test_the_figures_are_those_of_the_network_on_the_prepared_pictures(tiny_bundle: Bundle, tmp_path: Path) -> None:
    report = measure(tiny_bundle, site(tmp_path / "site"), tmp_path / "out")
    records = [json.loads(line) for line in (tmp_path / "out" / PREDICTIONS).read_text().splitlines()[1:]]
    kept = np.array([record["logits"] for record in records])  # in the order in which sides are looked at
    tested = [number for number in range(24) if number // 2 % 3]
    inputs = [network_input(display_from_png(picture(n)), tiny_bundle.metadata.input)[0] for n in tested]
    logits = Predictor.load(tiny_bundle, "cpu").predict(np.stack(inputs)).logits
    assert kept[8:] == pytest.approx(logits, rel=1e-3, abs=1e-5)
    for column, step in ((0, 3), (1, 4)):
        truth = [number % step == 0 for number in tested]
        found = report["test"]["findings"][tiny_bundle.metadata.findings[column].key]["auc"]["value"]
        assert found == pytest.approx(roc_auc_score(truth, kept[8:, column]), abs=1e-4)


def test_a_killed_run_goes_on_and_ends_alike(tiny_bundle: Bundle, tmp_path: Path) -> None:
    source, out = site(tmp_path / "site"), tmp_path / "out"
    whole = measure(tiny_bundle, source, out)
    kept = out / PREDICTIONS
    lines = kept.read_bytes().splitlines(keepends=True)
    assert len(lines) == 25
    # Killed in the middle of a line; what is kept is used, which a changed logit proves.
    record = json.loads(lines[1])
    record["logits"] = [9.0, 9.0]
    kept.write_bytes(lines[0] + json.dumps(record).encode() + b"\n" + b"".join(lines[2:11]) + lines[11][:20])
    seen: list[tuple[str, int]] = []
    request = Request(bundle=tiny_bundle, internal=source, division=BY_COLUMN, choices=QUICK)
    again = evaluate(request, out, now=NOW, progress=lambda what, done, _total: seen.append((what, done)))
    assert next(done for what, done in seen if what == "Predicting") >= 10
    assert again["test"] != whole["test"]
    after = kept.read_bytes().splitlines(keepends=True)
    assert len(after) == 25
    assert {json.loads(line)["digest"] for line in after[1:]} == {json.loads(line)["digest"] for line in lines[1:]}
    kept.unlink()
    assert measure(tiny_bundle, source, out) == whole


def test_kept_predictions_of_another_bundle_or_routing_are_not_used(tiny_bundle: Bundle, tmp_path: Path) -> None:
    source, out = site(tmp_path / "site"), tmp_path / "out"
    measure(tiny_bundle, source, out)
    first = (out / PREDICTIONS).read_bytes().splitlines()[0]
    measure(tiny_bundle, source, out, routing=False)
    assert (out / PREDICTIONS).read_bytes().splitlines()[0] != first


def test_what_has_no_score_is_counted_with_its_reason(tiny_bundle: Bundle, tmp_path: Path) -> None:
    source = site(tmp_path / "site")
    (source.images / "2.png").write_bytes(b"no picture")  # a patient of the test
    cv2.imwrite(str(source.images / "3.png"), np.zeros((64, 64), np.uint8))
    (source.images / "4.png").unlink()
    report = measure(tiny_bundle, source, tmp_path / "out")
    side = report["left_out"]["test"]
    assert (side["images"], side["analysed"], side["left_out"], side["with_findings"]) == (15, 13, 2, 1)
    assert {reason["reason"] for reason in side["reasons"]} == {"decode_error", "out_of_distribution"}
    assert report["missing_images"]["internal"] == 1
    assert any("name an image that is not in the folder" in note for note in report["notes"])


def objects(folder: Path) -> LabelledSource:
    """DICOM: frontal chests, a lateral one, a child, a file that is damaged."""
    folder.mkdir()
    rows = []
    for number in range(12):
        dataset = make_dataset(
            picture(number, 256),
            PatientAge="050Y",
            PatientSex="F",
            Manufacturer="Maker",
            SOPInstanceUID=f"2.25.{number}",
        )
        if number == 9:
            dataset.ViewPosition = "LL"
        if number == 10:
            dataset.PatientAge = "003Y"
        path = folder / f"{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        if number == 11:
            path.write_bytes(path.read_bytes()[:1000])
        rows.append({"file": path.name, "patient": str(number), "split": "val" if number < 3 else "test",
                     "pneumothorax": str(number % 2), "pleural_effusion": ""})  # fmt: skip
    write_table(folder / "labels.csv", rows)
    return LabelledSource(images=folder, table=folder / "labels.csv")


def test_routing_refuses_here_what_it_refuses_in_service(tiny_bundle: Bundle, tmp_path: Path) -> None:
    source = objects(tmp_path / "site")
    report = measure(tiny_bundle, source, tmp_path / "out")
    reasons = {reason["reason"]: reason["sentence"] for reason in report["left_out"]["test"]["reasons"]}
    assert reasons.keys() == {"unsupported_view", "unsupported_patient", "decode_error"}
    assert "lateral" in reasons["unsupported_view"]
    figures = report["test"]["findings"]
    assert [row["group"] for row in figures["pneumothorax"]["subgroups"]["manufacturer"]] == ["Maker"]
    assert [row["group"] for row in figures["pneumothorax"]["subgroups"]["sex"]] == ["female"]
    # No label of the other finding is known: nothing is said, nothing breaks.
    assert figures["pleural_effusion"]["auc"] is None
    assert figures["pleural_effusion"]["expected_calibration_error"] is None
    assert figures["pleural_effusion"]["unknown"] == 6
    free = measure(tiny_bundle, source, tmp_path / "out", routing=False)
    assert free["test"]["images"] == 8
    assert any("Routing was switched off" in note for note in free["notes"])


def test_one_class_only_cannot_be_said_and_the_rest_can(tiny_bundle: Bundle, tmp_path: Path) -> None:
    healthy = {number: {"pneumothorax": "0"} for number in range(24)}
    report = measure(tiny_bundle, site(tmp_path / "site", changes=healthy), tmp_path / "out")
    figures = report["test"]["findings"]["pneumothorax"]
    assert figures["auc"] is None
    assert figures["sensitivity"] is None
    assert figures["specificity"]["low"] <= figures["specificity"]["value"]
    assert "AUC cannot be said: 0 positives and 16 negatives" in figures["notes"][0]
    assert report["test"]["findings"]["pleural_effusion"]["auc"] is not None
    paths = forms.write(report, tiny_bundle.metadata, tmp_path / "out")
    assert "cannot be said" in paths[0].read_text()
    assert "**Not measured** for want of positives or negatives: pneumothorax." in paths[2].read_text()


def test_a_patient_in_validation_and_test_stops_it_before_anything_is_predicted(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    source = site(tmp_path / "site", changes={1: {"split": "test"}})
    with pytest.raises(LeakageError, match=r"1 patients .* labels.csv line 2 and labels.csv line 3"):
        measure(tiny_bundle, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_image_under_two_names_is_leakage_too(tiny_bundle: Bundle, tmp_path: Path) -> None:
    source = site(tmp_path / "site")
    (source.images / "23.png").write_bytes((source.images / "0.png").read_bytes())
    with pytest.raises(LeakageError, match=r"the same image is in two sets: labels.csv line 2 and labels.csv line 25"):
        measure(tiny_bundle, source, tmp_path / "out")


def test_a_copy_under_another_name_counts_once_and_may_not_be_called_otherwise(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    source = site(tmp_path / "site")
    (source.images / "12.png").write_bytes((source.images / "0.png").read_bytes())
    report = measure(tiny_bundle, source, tmp_path / "out")
    assert report["validation"]["images"] == 7
    assert "1 images are copies of another one under another name: each counts once." in report["notes"]
    (source.images / "6.png").write_bytes((source.images / "0.png").read_bytes())
    with pytest.raises(EvaluationError, match=r"labels.csv line 2 and labels.csv line 8 hold the same image"):
        measure(tiny_bundle, source, tmp_path / "other")


def test_an_external_set_stands_beside_the_internal_one(tiny_bundle: Bundle, tmp_path: Path) -> None:
    here, there = site(tmp_path / "here"), site(tmp_path / "there", first=100)
    report = measure(tiny_bundle, here, tmp_path / "out", external=there)
    assert report["external"]["images"] == 24
    less = report["differences"]["pneumothorax"]["auc"]
    areas = [report[name]["findings"]["pneumothorax"]["auc"]["value"] for name in ("external", "test")]
    assert less["value"] == pytest.approx(areas[0] - areas[1], abs=2e-4)
    assert less["low"] < less["value"] < less["high"]
    page, _, card = (path.read_text() for path in forms.write(report, tiny_bundle.metadata, tmp_path / "out"))
    assert "From here to elsewhere" in page
    assert "On 24 images from elsewhere" in card
    assert f"{less['value']:.3f} ({less['low']:.3f} to {less['high']:.3f})" in card


def test_a_patient_of_the_external_set_may_not_be_ours(tiny_bundle: Bundle, tmp_path: Path) -> None:
    here, there = site(tmp_path / "here"), site(tmp_path / "there", first=22)
    with pytest.raises(LeakageError, match="the external set"):
        measure(tiny_bundle, here, tmp_path / "out", external=there)


def test_nothing_analysed_says_why(tiny_bundle: Bundle, tmp_path: Path) -> None:
    source = site(tmp_path / "site", count=6)
    for path in source.images.glob("*.png"):
        path.write_bytes(path.name.encode())
    with pytest.raises(EvaluationError, match=r"none of the 4 test images was analysed: pixel data cannot be decoded"):
        measure(tiny_bundle, source, tmp_path / "out")


def test_no_patient_left_for_the_test_says_what_to_do(tiny_bundle: Bundle, tmp_path: Path) -> None:
    source = site(tmp_path / "site", count=2)
    with pytest.raises(EvaluationError, match="no image is left for the test") as refused:
        measure(tiny_bundle, source, tmp_path / "out", division=Division(share=1.0))
    assert "--validation-share" in refused.value.next_step


def test_without_validation_images_no_threshold_is_chosen(tiny_bundle: Bundle, tmp_path: Path) -> None:
    report = measure(tiny_bundle, site(tmp_path / "site"), tmp_path / "out", division=Division(test=("split", "test")))
    figures = report["test"]["findings"]["pneumothorax"]
    assert [point["name"] for point in figures["operating_points"]] == ["in force"]
    assert figures["recalibration"] is None
    assert any("No threshold could be chosen" in note for note in figures["notes"])
    forms.write(report, tiny_bundle.metadata, tmp_path / "out")


def test_patients_that_training_has_seen_are_left_out_on_demand(tiny_bundle: Bundle, tmp_path: Path) -> None:
    source = site(tmp_path / "site", count=60)
    seed = tiny_bundle.metadata.training.seed
    bundle = trained_on(source, tiny_bundle, tmp_path, {"seed": seed, "validation": 0.2, "test": 0.3})
    report = measure(bundle, source, tmp_path / "out", division=Division(as_trained=True))
    unused = report["data"]["internal"]["unused_images"]
    assert report["test"]["images"] + report["validation"]["images"] + unused == 60
    assert unused > 15


def trained_on(source: LabelledSource, bundle: Bundle, folder: Path, division: dict[str, float]) -> Bundle:
    """The bundle as a training on that table would have written its figures."""
    cases = labelled.read_labelled(source, ("pneumothorax",)).cases
    shares = {name: division[name] for name in ("validation", "test")}
    sides = labelled.divide(cases, seed=int(division["seed"]), **shares)
    figures: dict[str, dict[str, Any]] = {
        name: {"images": len(side)} for name, side in zip(("training", "validation", "test"), sides, strict=True)
    }
    figures["training"]["division"] = division
    directory = Path(shutil.copytree(bundle.directory, folder / "trained" / bundle.metadata.name))
    (directory / "evaluation.json").write_text(json.dumps(figures))
    return replace(bundle, directory=directory)


def test_what_training_held_out_follows_the_shares_of_that_training(tiny_bundle: Bundle, tmp_path: Path) -> None:
    source = site(tmp_path / "site", count=60)
    bundle = trained_on(source, tiny_bundle, tmp_path, {"seed": 5, "validation": 0.1, "test": 0.5})
    report = measure(bundle, source, tmp_path / "out", division=Division(as_trained=True))
    figures = json.loads((bundle.directory / "evaluation.json").read_bytes())
    assert report["test"]["images"] == figures["test"]["images"] > 24
    assert report["data"]["internal"]["unused_images"] == figures["training"]["images"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: f["training"].update(division=None), "were not drawn from its seed"),
        (lambda f: f["training"].update(images=f["training"]["images"] + 1), "this table divides into"),
        (lambda f: f["training"].pop("division"), "this table divides into"),  # drawn by other shares than usual
        (lambda f: f.clear(), "an unknown number of images for training"),
    ],
)
def test_what_training_held_out_is_not_guessed(
    tiny_bundle: Bundle, tmp_path: Path, spoil: Callable[[dict[str, Any]], object], said: str
) -> None:
    source = site(tmp_path / "site", count=60)
    bundle = trained_on(source, tiny_bundle, tmp_path, {"seed": 5, "validation": 0.1, "test": 0.5})
    path = bundle.directory / "evaluation.json"
    figures = json.loads(path.read_bytes())
    spoil(figures)
    path.write_text(json.dumps(figures))
    with pytest.raises(EvaluationError, match=said) as refused:
        measure(bundle, source, tmp_path / "out", division=Division(as_trained=True))
    assert "split.csv" in refused.value.next_step


def test_phantoms_of_the_unseen_scanner_are_other_images_of_the_same_patients(tmp_path: Path) -> None:
    seen, unseen = (labelled.phantoms(3, 77, ("pneumothorax",), unseen=other) for other in (False, True))
    assert unseen.description == "3 phantoms of series 77 on the unseen scanner"
    assert [(case.patient, case.labels) for case in unseen.cases] == [(c.patient, c.labels) for c in seen.cases]
    digests = {case.image.digest() for case in (*seen.cases, *unseen.cases)}
    assert len(digests) == 6
    opened = seen.cases[0].image.open(), unseen.cases[0].image.open()
    assert [one.ManufacturerModelName for one in opened if isinstance(one, Dataset)] == [
        "Synthetic chest", "Synthetic chest, unseen scanner",
    ]  # fmt: skip


def test_phantoms_are_measured_as_they_are_drawn(tiny_bundle: Bundle, tmp_path: Path) -> None:
    metadata = tiny_bundle.metadata
    conditions = metadata.routing.model_copy(update={"manufacturer_not": ()})
    bundle = replace(tiny_bundle, metadata=metadata.model_copy(update={"routing": conditions}))
    report = measure(bundle, PhantomSeries(count=4, seed=77), tmp_path / "out", division=Division(share=0.0))
    assert report["test"]["images"] == 4
    assert report["left_out"]["test"]["left_out"] == 0
    makers = report["test"]["findings"]["pneumothorax"]["subgroups"]["manufacturer"]
    assert [row["group"] for row in makers] == ["firstread phantom"]
    refused = tmp_path / "refused"
    with pytest.raises(EvaluationError, match="another maker's images"):
        measure(tiny_bundle, PhantomSeries(count=4, seed=77), refused, division=Division(share=0.0))


def test_a_full_disk_says_so_and_loses_nothing(tiny_bundle: Bundle, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    source, out = site(tmp_path / "site"), tmp_path / "out"
    out.mkdir()
    (out / PREDICTIONS).symlink_to("/dev/full")
    with pytest.raises(EvaluationError, match=r"predictions.jsonl cannot be written: No space left") as full:
        measure(tiny_bundle, source, out)
    assert "Make room" in full.value.next_step
    (out / PREDICTIONS).unlink()
    report = measure(tiny_bundle, source, out)
    forms.write(report, tiny_bundle.metadata, out)
    before = (out / forms.FIGURES).read_bytes()
    (out / f".{forms.FIGURES}.part").symlink_to("/dev/full")
    with pytest.raises(EvaluationError, match=r"report.json cannot be written: No space left"):
        forms.write({**report, "made": "later"}, tiny_bundle.metadata, out)
    assert (out / forms.FIGURES).read_bytes() == before
    assert (out / PREDICTIONS).stat().st_size > 1000


def test_a_damaged_network_is_refused(tiny_bundle: Bundle, bundle_copy: Path, tmp_path: Path) -> None:
    (bundle_copy / "network.onnx").write_bytes(b"no network")
    with pytest.raises(BundleError, match=r"network.onnx cannot be loaded"):
        measure(Bundle.load(bundle_copy), site(tmp_path / "site"), tmp_path / "out")


def test_the_page_holds_everything_and_loads_nothing(tiny_bundle: Bundle, tmp_path: Path) -> None:
    report = measure(tiny_bundle, site(tmp_path / "site"), tmp_path / "out")
    report["data"]["internal"]["description"] = "<script>alert(1)</script>"
    paths = forms.write(report, tiny_bundle.metadata, tmp_path / "out")
    page = paths[0].read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert not re.search(r"url\(|@import", page)
    assert page.count("<svg") == 1 + 4 * 2
    for figures in report["test"]["findings"].values():
        assert f"{figures['auc']['value']:.3f}" in page
    assert json.loads(paths[1].read_text()) == report
    card = paths[2].read_text()
    assert "Measured by `firstread models evaluate`" in card
    assert "neither training" not in card
    assert "further subgroups are too small" in card


def test_an_evaluation_never_loads_torch(tiny_bundle: Bundle, tmp_path: Path) -> None:
    source = site(tmp_path / "site")
    program = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from models.bundle import Bundle\n"
        "from models.evaluating.labelled import LabelledSource\n"
        "from models.evaluating.report import write\n"
        "from models.evaluating.run import Request, evaluate\n"
        f"bundle = Bundle.load(Path({str(tiny_bundle.directory)!r}))\n"
        f"source = LabelledSource(images=Path({str(source.images)!r}), table=Path({str(source.table)!r}))\n"
        f"out = Path({str(tmp_path / 'out')!r})\n"
        "report = evaluate(Request(bundle=bundle, internal=source), out, now=datetime.now(UTC))\n"
        "write(report, bundle.metadata, out)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=180)


def test_perfect_separation_is_not_certainty(tmp_path: Path) -> None:
    labels = np.repeat([1.0, 0.0], [20, 60])[:, None]
    logits = np.repeat([3.0, -3.0], [20, 60])[:, None] + np.linspace(0, 1, 80)[:, None]
    sample = Sample(
        labels=labels, logits=logits, probabilities=Calibrator().probabilities(logits),
        patients=np.arange(80), subjects=[NOBODY] * 80,
    )  # fmt: skip
    spec = make_metadata().findings[0]
    for interval in ("delong", "bootstrap"):
        choices = Choices(resamples=60, interval=interval)  # type: ignore[arg-type]
        figures = set_figures([spec], sample, None, choices)["findings"][spec.key]
        assert figures["auc"] == {"value": 1.0, "low": 0.85, "high": 1.0}
        assert figures["average_precision"] == {"value": 1.0, "low": 0.85, "high": 1.0}
