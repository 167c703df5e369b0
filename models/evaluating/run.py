"""``evaluate``: from labelled images and a bundle to the report, as data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import EVALUATION, WEIGHTS, Bundle
from models.calibration import Calibrator
from models.codecs import Codec, decode_here
from models.evaluating import labelled
from models.evaluating.errors import EvaluationError, LeakageError
from models.evaluating.figures import Choices, Sample, differences, set_figures
from models.evaluating.held_out import held_out
from models.evaluating.images import Image
from models.evaluating.labelled import Case, Labelled, LabelledSource
from models.evaluating.predicting import Progress, predict
from models.evaluating.predictions import KeptPredictions, Outcome, identity
from models.inference import Predictor
from models.routing import Refusal
from triage.findings import NotAnalysedReason

PREDICTIONS = "predictions.jsonl"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomSeries:
    """The phantoms 0 to `count` - 1 of a series, perhaps on the scanner that no training saw."""

    count: int
    seed: int
    unseen: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Division:
    """Which images choose thresholds and calibration (validation), and which are measured (test).

    Attributes
    ----------
    validation, test : (column, value) or None
        Rows of the table; what is neither counts as test where `test` is None, and is left out otherwise.
    share : float
        In [0, 1): share of the patients that become validation where no column says it.
    as_trained : bool
        The table is the one that the bundle was trained on: its own validation and test patients only.
    """

    validation: tuple[str, str] | None = None
    test: tuple[str, str] | None = None
    share: float = 0.3
    as_trained: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One evaluation."""

    bundle: Bundle
    internal: LabelledSource | PhantomSeries
    external: LabelledSource | None = None
    division: Division = Division()
    routing: bool = True
    choices: Choices = Choices()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """Cases of one purpose, with what the bundle said about each."""

    cases: Sequence[Case]
    outcomes: Sequence[Outcome]
    copies: int = 0

    def sample(self, bundle: Bundle) -> Sample:
        pairs = [(case, outcome) for case, outcome in zip(self.cases, self.outcomes, strict=True) if outcome.logits]
        findings = bundle.metadata.findings
        shape = (len(pairs), len(findings))
        logits = np.array([outcome.logits for _, outcome in pairs], dtype=np.float64).reshape(shape)
        columns = [Calibrator(f.temperature, f.bias).probabilities(logits[:, k]) for k, f in enumerate(findings)]
        return Sample(
            labels=np.array([case.labels for case, _ in pairs], dtype=np.float64).reshape(shape),
            logits=logits,
            probabilities=np.column_stack(columns),
            patients=np.array([case.patient for case, _ in pairs], dtype=str),
            subjects=[case.subject.filled_from(outcome.subject) for case, outcome in pairs],
        )


def evaluate(
    request: Request,
    out: Path,
    *,
    now: datetime,
    codec: Codec = decode_here,
    progress: Progress = lambda _what, _done, _total: None,
) -> dict[str, Any]:
    """Predict, as far as it is not kept in ``out``, and compute every figure.

    Parameters
    ----------
    out : Path
        Predictions are kept here, so that a killed run goes on.
    now : datetime
        Stated in the report.

    Returns
    -------
    dict
        Plain JSON without NaN: what ``report.json`` holds. ``test`` has the shape of a bundle's ``evaluation.json``.

    Raises
    ------
    EvaluationError
        Table, images or folder cannot be used, or no test image was analysed.
    LeakageError
        A patient or an image is on two sides.
    BundleError
        The network cannot be loaded.
    """
    keys = tuple(finding.key for finding in request.bundle.metadata.findings)
    internal = _read(request.internal, keys)
    validation, test, unused = _divided(internal, request)
    external = None if request.external is None else labelled.read_labelled(request.external, keys)
    sides = {"validation": validation, "test": test, "external": external.cases if external else ()}
    _require_apart(sides)
    looked = _look(sides, request, out, codec=codec, progress=progress)
    if not any(outcome.logits for outcome in looked["test"].outcomes):
        raise _nothing_analysed(looked["test"])
    report = _figures(request, looked, external is not None)
    missing = {"internal": internal.missing, "external": external.missing if external else 0}
    return {
        "format_version": FORMAT_VERSION,
        "made": now.isoformat(timespec="seconds"),
        "bundle": _identity(request.bundle),
        **report,
        "data": {
            "internal": _described(internal, unused=len(unused)),
            "external": _described(external) if external else None,
        },
        "left_out": {name: _left_out(side) for name, side in looked.items() if side.cases},
        "missing_images": missing,
        "notes": _notes(request, internal, external, looked),
        "stated": _own_figures(request.bundle).get("test", {}).get("findings", {}),
        **_for_the_card(request, internal),
    }


def _read(source: LabelledSource | PhantomSeries, keys: tuple[str, ...]) -> Labelled:
    if isinstance(source, PhantomSeries):
        return labelled.phantoms(source.count, source.seed, keys, unseen=source.unseen)
    return labelled.read_labelled(source, keys)


def _divided(internal: Labelled, request: Request) -> tuple[Sequence[Case], Sequence[Case], Sequence[Case]]:
    """Validation, test, and what is neither."""
    division, cases = request.division, internal.cases
    if division.as_trained:
        own = _own_figures(request.bundle)
        learned, validation, test = held_out(cases, own, request.bundle.metadata.training.seed)
        return validation, test, learned
    if division.validation is None:
        if division.test is not None:
            test, cases = labelled.chosen(cases, *division.test)
            return (), test, cases
        _, validation, test = labelled.divide(cases, seed=0, validation=1.0, test=1 - division.share)
        return validation, test, ()
    validation, rest = labelled.chosen(cases, *division.validation)
    if division.test is None:
        return validation, rest, ()
    test, rest = labelled.chosen(rest, *division.test)
    return validation, test, rest


def _require_apart(sides: Mapping[str, Sequence[Case]]) -> None:
    names = {"validation": "the validation images", "test": "the test images", "external": "the external set"}
    for one, other in (("validation", "test"), ("test", "external"), ("validation", "external")):
        labelled.require_apart(sides[one], sides[other], (names[one], names[other]))


def _look(
    sides: Mapping[str, Sequence[Case]], request: Request, out: Path, *, codec: Codec, progress: Progress
) -> dict[str, _Side]:
    """Digests first: no image may stand on two sides under two names, nor count twice on one. Then predictions."""
    total, done = sum(map(len, sides.values())), 0
    digests: dict[str, list[str | None]] = {name: [] for name in sides}
    images: dict[str, Image] = {}
    owners: dict[str, tuple[str, Case]] = {}
    counted: dict[str, list[Case]] = {name: [] for name in sides}
    for name, cases in sides.items():
        for case in cases:
            digest = _digest(case.image)
            if digest is None or _is_first(digest, case, name, owners):
                digests[name].append(digest)
                counted[name].append(case)
            if digest is not None:
                images[digest] = case.image
            done += 1
            progress("Reading", done, total)
    owner = f"{identity(request.bundle)} routing={request.routing}"
    predictor = Predictor.load(request.bundle, device="cpu")
    with KeptPredictions(out / PREDICTIONS, owner) as kept:
        found = predict(images, predictor, kept, routing=request.routing, codec=codec, progress=progress)
    gone = Outcome(refusal=Refusal(NotAnalysedReason.DECODE_ERROR, "the file cannot be read"))
    return {
        name: _Side(
            counted[name],
            [gone if digest is None else found[digest] for digest in digests[name]],
            copies=len(cases) - len(counted[name]),
        )
        for name, cases in sides.items()
    }


def _is_first(digest: str, case: Case, side: str, owners: dict[str, tuple[str, Case]]) -> bool:
    """False for a copy of an image that this side has already.

    Raises
    ------
    LeakageError
        Another side has it.
    EvaluationError
        The table calls the copy something else.
    """
    other, first = owners.setdefault(digest, (side, case))
    if other != side:
        raise LeakageError(f"the same image is in two sets: {first.where} and {case.where}.")
    if first is not case and str(first.labels) != str(case.labels):
        raise EvaluationError(
            f"{first.where} and {case.where} hold the same image and say different things of it.",
            next_step="Keep the line that is right.",
        )
    return first is case


def _digest(image: Image) -> str | None:
    try:
        return image.digest()
    except OSError:
        return None


def _figures(request: Request, looked: Mapping[str, _Side], has_external: bool) -> dict[str, Any]:
    bundle, choices = request.bundle, request.choices
    findings = bundle.metadata.findings
    validation = looked["validation"].sample(bundle)
    chosen_on = validation if len(validation) else None
    test = set_figures(findings, looked["test"].sample(bundle), chosen_on, choices)
    report: dict[str, Any] = {
        "test": test,
        "validation": {
            "images": len(validation),
            "patients": len(np.unique(validation.patients)),
            "used_for": "the operating point for the target sensitivity, and the calibration that is proposed",
        },
        "external": None,
        "differences": None,
    }
    if has_external:
        external = set_figures(findings, looked["external"].sample(bundle), chosen_on, choices)
        report |= {"external": external, "differences": differences(external, test)}
    return report


def _nothing_analysed(test: _Side) -> EvaluationError:
    if not test.cases:
        return EvaluationError(
            "no image is left for the test.", next_step="Give more patients, or a smaller --validation-share."
        )
    reasons = ", ".join(f"{row['sentence']} ({row['images']})" for row in _left_out(test)["reasons"][:3])
    return EvaluationError(
        f"none of the {len(test.cases)} test images was analysed: {reasons}.",
        next_step="Give images that the bundle is meant for, or --no-routing, which the report then says.",
    )


def _left_out(side: _Side) -> dict[str, Any]:
    """How many images have no score, why, and how many of them show a finding."""
    refused = [
        (case, outcome.refusal)
        for case, outcome in zip(side.cases, side.outcomes, strict=True)
        if outcome.refusal is not None
    ]
    counts = Counter((refusal.reason, refusal.detail) for _, refusal in refused)
    return {
        "images": len(side.cases),
        "analysed": len(side.cases) - len(refused),
        "left_out": len(refused),
        "with_findings": sum(1.0 in case.labels for case, _ in refused),
        "reasons": [
            {"reason": reason.value, "sentence": f"{reason.sentence}: {detail}" if detail else reason.sentence,
             "images": count}
            for (reason, detail), count in counts.most_common()
        ],
    }  # fmt: skip


def _described(data: Labelled, unused: int = 0) -> dict[str, Any]:
    return {
        "description": data.description,
        "images": len(data.cases),
        "excluded_rows": data.excluded,
        "unused_images": unused,
        "absent_findings": list(data.absent_findings),
        "patients_known": data.patients_known,
    }


def _identity(bundle: Bundle) -> dict[str, Any]:
    m = bundle.metadata
    return {
        "name": m.name,
        "version": m.version,
        "weights_sha256": m.files[WEIGHTS],
        "research": m.research,
        "disclaimer": m.disclaimer,
        "score_kind": m.calibration.score_kind.value,
        "intended_use": m.intended_use,
        "training_data": m.training.data,
        "training_notes": m.training.notes,
    }


def _notes(request: Request, internal: Labelled, external: Labelled | None, looked: Mapping[str, _Side]) -> list[str]:
    notes = []
    if not request.routing:
        notes.append("Routing was switched off: images are among these that the bundle would refuse in service.")
    copies = sum(side.copies for side in looked.values())
    if copies:
        notes.append(f"{copies} images are copies of another one under another name: each counts once.")
    unrouted = sum(not outcome.routed for side in looked.values() for outcome in side.outcomes)
    if request.routing and unrouted:
        notes.append(
            f"{unrouted} images have no DICOM header (PNG, JPEG, or unreadable): routing could not look at them."
        )
    if request.division.as_trained:
        notes.append(
            "Validation and test patients are those that training held out, by the bundle's seed; the bundle has seen "
            "neither their images in training, nor the test images when its thresholds were chosen."
        )
    else:
        notes.append(
            f"Whether the bundle has learned from any of these images nobody can tell from here. It says of its "
            f"training: {request.bundle.metadata.training.data}. Images it has learned from flatter it."
        )
    for name, data in (("The table", internal), ("The external table", external)):
        if data is None:
            continue
        if not data.patients_known:
            notes.append(f"{name} names no patients: every image counts as a patient of its own.")
        if data.missing:
            notes.append(f"{data.missing} rows of {name[0].lower()}{name[1:]} name an image that is not in the folder.")
        if data.absent_findings:
            notes.append(f"{name} has no labels for {', '.join(data.absent_findings)}: nothing can be said of them.")
    return notes


def _for_the_card(request: Request, internal: Labelled) -> dict[str, Any]:
    """What :func:`models.card.render` says beside the figures."""
    own = _own_figures(request.bundle)
    return {
        "provenance": f"Measured by `firstread models evaluate` on {internal.description}"
        + ("" if request.routing else ", routing switched off"),
        "thresholds": "those in force on this installation",
        "confidence": "95 % intervals: for the AUC as the report states, for rates Wilson's on the effective number of "
        "patients",
        **{name: own[name] for name in ("training",) if name in own},
    }


def _own_figures(bundle: Bundle) -> Mapping[str, Any]:
    """The bundle's own ``evaluation.json``; empty where it holds none that can be read."""
    try:
        figures = json.loads((bundle.directory / EVALUATION).read_bytes())
    except (OSError, ValueError):
        return {}
    return figures if isinstance(figures, dict) else {}
