"""Are a bundle's measured figures good enough to go live? Criteria and figures in, one verdict per figure out.

Figures lie as in a bundle's ``evaluation.json``: ``test.images`` and, per finding, ``test.findings.KEY`` with ``auc``,
``sensitivity``, ``specificity`` (each ``value``, ``low``, ``high``), ``expected_calibration_error`` and, where masks
were known, ``pointing_game.inside``. A report of `firstread models evaluate` has the same shape. What a criterion asks
for and nobody measured counts as not met.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from models.bundle import EVALUATION, WEIGHTS, Bundle
from models.metadata import BundleMetadata, FindingCriteria
from models.site import Acceptance, Figure
from triage.errors import BundleError

_EVALUATION_LIMIT = 64 << 20
_SAME_POINT = 1e-3
"""Thresholds nearer than that are one: reports round them."""


class Proof(StrEnum):
    """Whose figures they are: a bundle may ask for the stronger kind."""

    BUNDLE = "bundle"
    """Measured by the bundle's maker, from its ``evaluation.json``."""
    INSTALLATION = "installation"
    """Measured by the site, with `firstread models evaluate`."""

    @property
    def sentence(self) -> str:
        if self is Proof.BUNDLE:
            return "the maker's own figures; nothing was measured on this site's images"
        return "figures that this site measured"


class AcceptanceError(BundleError):
    """A bundle has not met its acceptance criteria on this installation."""

    next_step = "`firstread models accept NAME --evaluation report.json` takes figures that the site has measured."


def judge(
    metadata: BundleMetadata, evaluation: Mapping[str, Any], proof: Proof, points: Mapping[str, float] | None = None
) -> tuple[Figure, ...]:
    """Hold figures against the bundle's own criteria.

    Parameters
    ----------
    evaluation : mapping
        As :func:`read_evaluation` gives it.
    proof : Proof
        Where the figures come from.
    points : mapping of str to float, optional
        The site's own thresholds by finding: rates count at the bundle's operating point or at these.
    """
    return tuple(_judge(metadata, evaluation, proof, points or {}))


def _judge(
    metadata: BundleMetadata, evaluation: Mapping[str, Any], proof: Proof, points: Mapping[str, float]
) -> Iterator[Figure]:
    criteria = metadata.acceptance
    own = criteria.measured_on == "installation"
    required = "figures measured on this installation" if own else "measured figures"
    yield Figure(
        subject="proof", required=required, measured=proof.sentence, met=proof is Proof.INSTALLATION or not own
    )
    images = _number(evaluation, "test", "images")
    yield _least("images", "images", criteria.min_images, images)
    for finding in metadata.findings:
        figures = _at(evaluation, "test", "findings", finding.key)
        asked = criteria.findings.get(finding.key, criteria.every_finding)
        in_force = finding.threshold, points.get(finding.key, finding.threshold)
        yield from _judge_finding(finding.key, figures, asked, in_force)


def _judge_finding(
    key: str, figures: object, asked: FindingCriteria, in_force: tuple[float, float]
) -> Iterator[Figure]:
    measured_at = _number(figures, "threshold")
    elsewhere = measured_at is not None and min(abs(measured_at - point) for point in in_force) > _SAME_POINT
    auc = _number(figures, "auc", "low")
    yield _least(key, "auc.low", 0.0 if asked.min_auc_low is None else asked.min_auc_low, auc)
    for rate, bound in (("sensitivity", asked.min_sensitivity), ("specificity", asked.min_specificity)):
        if bound is not None and elsewhere:
            said = f"{_said(_number(figures, rate, 'value'))}, but at a threshold of {measured_at:g}"
            required = f"{rate} >= {bound:g} at the threshold of {in_force[1]:g}"
            yield Figure(subject=key, required=required, measured=said, met=False)
        elif bound is not None:
            yield _least(key, rate, bound, _number(figures, rate, "value"))
    if asked.min_pointing_game is not None:
        pointing = _number(figures, "pointing_game", "inside", "value")
        yield _least(key, "pointing_game", asked.min_pointing_game, pointing)
    if asked.max_calibration_error is not None:
        error, bound = _number(figures, "expected_calibration_error"), asked.max_calibration_error
        required = f"expected_calibration_error <= {bound:g}"
        yield Figure(subject=key, required=required, measured=_said(error), met=error is not None and error <= bound)


def _least(subject: str, figure: str, bound: float, measured: float | None) -> Figure:
    met = measured is not None and measured >= bound
    required = f"{figure} >= {bound:g}" if bound else f"{figure} measured"
    return Figure(subject=subject, required=required, measured=_said(measured), met=met)


def _said(measured: float | None) -> str:
    return "not measured" if measured is None else f"{measured:g}"


def _at(value: object, *path: str) -> object:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _number(value: object, *path: str) -> float | None:
    found = _at(value, *path)
    plain = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    return float(found) if plain else None  # type: ignore[arg-type]  # narrowed through `plain`


def read_evaluation(path: Path) -> Mapping[str, Any]:
    """Read figures from a JSON file.

    Raises
    ------
    BundleError
        It cannot be read, or is no JSON object of finite numbers.
    """
    try:
        if path.stat().st_size > _EVALUATION_LIMIT:
            raise BundleError(f"{path} is larger than {_EVALUATION_LIMIT} bytes.")
        value = json.loads(path.read_bytes(), parse_constant=_no_number)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.", next_step="Check its name.") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not a report in JSON: {error}.", next_step="Evaluate again.") from error
    if not isinstance(value, dict):
        raise BundleError(f"{path} is not a report in JSON: no object at its top.", next_step="Evaluate again.")
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def require_about(bundle: Bundle, evaluation: Mapping[str, Any], source: Path) -> None:
    """See to it that a report is about these weights: figures of another model prove nothing.

    The report says so in ``weights_sha256``, at its top or inside ``bundle``.

    Raises
    ------
    BundleError
        It names other weights, or none.
    """
    ours = bundle.metadata.files[WEIGHTS]
    named = evaluation.get("weights_sha256") or _at(evaluation, "bundle", "weights_sha256")
    if named != ours:
        which = "other weights" if named else "no weights (weights_sha256)"
        raise BundleError(
            f"{source} names {which}; {bundle.metadata.name} {bundle.metadata.version} has {ours[:12]}….",
            next_step=f"Evaluate this bundle: `firstread models evaluate {bundle.metadata.name} …`.",
        )


def assess(
    bundle: Bundle,
    *,
    known: Acceptance | None,
    report: Path | None,
    data: str,
    at: datetime,
    who: str,
    points: Mapping[str, float] | None = None,
) -> Acceptance:
    """Judge a bundle that has just passed :func:`models.self_test.verify` on this machine.

    Parameters
    ----------
    known : Acceptance or None
        What is on record. Figures of this installation about these very files stand until others are brought.
    report : Path or None
        Figures of this installation; None: what is known, else the maker's.
    data : str
        Where the figures come from, in words; "" says how many images and whose.
    points : mapping of str to float, optional
        As of :func:`judge`.

    Raises
    ------
    BundleError
        The figures cannot be read, or the report is about other weights.
    """
    if report is not None:
        proof, evaluation = Proof.INSTALLATION, read_evaluation(report)
        require_about(bundle, evaluation, report)
        source = report.name
    elif known is not None and known.digest == bundle.digest and known.proof == Proof.INSTALLATION.value:
        return known
    else:
        proof, evaluation, source = Proof.BUNDLE, read_evaluation(bundle.directory / EVALUATION), "the maker's test set"
    images = _number(evaluation, "test", "images")
    return Acceptance(
        at=at,
        who=who,
        digest=bundle.digest,
        version=bundle.metadata.version,
        weights_sha256=bundle.metadata.files[WEIGHTS],
        self_test=True,
        proof=proof.value,
        data=data or f"{source}, {'an unknown number of' if images is None else _said(images)} images",
        figures=judge(bundle.metadata, evaluation, proof, points),
    )


def require_met(bundle: Bundle, record: Acceptance | None) -> None:
    """See to it that a bundle may go live.

    Raises
    ------
    AcceptanceError
        Nothing is on record about these very files, or a criterion is not met.
    """
    name, title = bundle.metadata.name, f"{bundle.metadata.name} {bundle.metadata.version}"
    if record is None or record.digest != bundle.digest:
        raise AcceptanceError(f"{title} has not been accepted here.", next_step=f"`firstread models accept {name}`")
    if not record.met:
        unmet = "; ".join(f"{f.subject}: {f.required}, {f.measured}" for f in record.figures if not f.met)
        raise AcceptanceError(
            f"{title} does not meet its acceptance criteria ({unmet}).",
            next_step=AcceptanceError.next_step.replace("NAME", name),
        )


def summary(record: Acceptance) -> str:
    """One line for the history."""
    unmet = sum(not figure.met for figure in record.figures)
    return f"{record.version}, {record.data}: " + (f"{unmet} criteria not met" if unmet else "all criteria met")
