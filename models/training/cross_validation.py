"""k-fold cross-validation by patients: a run for each fold, and what they say together. Needs torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.bundle import EVALUATION, Bundle
from models.training.durable import write_durably
from models.training.errors import PlanError
from models.training.plan import FolderSource, TrainingPlan
from models.training.run import train
from models.training.samples import Report

if TYPE_CHECKING:
    from models.training.ranks import Ranks

_FIGURES = ("auc", "sensitivity", "specificity")
_STYLE = "body{font:15px system-ui;margin:2rem auto;max-width:46rem}td,th{padding:.2rem .7rem;text-align:right}"


def cross_validate(
    plan: TrainingPlan,
    run_directory: Path,
    report: Report = lambda _event, _figures: None,
    *,
    ranks: Ranks | None = None,
) -> list[Bundle]:
    """Train ``plan.folds`` networks, each tested on patients that it has not seen.

    The folds lie in ``fold-1`` and so on and share ``cache``. ``folds.json`` and ``folds.html`` state, for each
    finding, every fold's figures, their mean and their standard deviation: how much the result depends on who happens
    to be in the test set. A fold that is finished is not trained again.

    Raises
    ------
    PlanError
        The source is no folder with patients, or there are fewer than three folds.
    FirstreadError
        As :func:`models.training.train`.
    """
    if not isinstance(plan.source, FolderSource) or plan.folds < 3:
        raise PlanError("cross-validation deals the patients of a folder into three folds or more.")
    bundles = []
    for fold in range(plan.folds):
        report("fold", {"fold": fold + 1, "of": plan.folds})
        turn = replace(plan, fold=fold)
        directory = run_directory / f"fold-{fold + 1}"
        bundles.append(train(turn, directory, report, ranks=ranks, cache=run_directory / "cache"))
    if ranks is None or ranks.first:
        result = summary([json.loads((b.directory / EVALUATION).read_text(encoding="utf-8")) for b in bundles])
        write_durably(run_directory / "folds.json", (json.dumps(result, indent=1) + "\n").encode())
        write_durably(run_directory / "folds.html", page(result, plan.describe.name).encode())
        report("folds", {key: figures["auc"]["mean"] for key, figures in result["findings"].items()})
    return bundles


def summary(evaluations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Finding → figure → values of the folds, mean, standard deviation (n - 1), smallest and largest."""
    findings: dict[str, Any] = {}
    for key in evaluations[0]["test"]["findings"]:
        own = [evaluation["test"]["findings"][key] for evaluation in evaluations]
        findings[key] = {name: _spread([figures[name]["value"] for figures in own]) for name in _FIGURES}
        findings[key]["positives"] = [figures["positives"] for figures in own]
    return {
        "folds": len(evaluations),
        "test_images": [evaluation["test"]["images"] for evaluation in evaluations],
        "findings": findings,
        "note": "Folds share training patients: the standard deviation understates what another hospital would show.",
    }


def page(result: dict[str, Any], title: str) -> str:
    """The summary as one HTML page."""
    turns = range(1, result["folds"] + 1)
    head = "".join(f"<th>fold {n}</th>" for n in turns)
    rows = "\n".join(
        f"<tr><th>{escape(key)}</th><td>{name}</td>"
        + "".join(f"<td>{value:.3f}</td>" for value in figures[name]["values"])
        + f"<td><b>{figures[name]['mean']:.3f} ± {figures[name]['sd']:.3f}</b></td></tr>"
        for key, figures in result["findings"].items()
        for name in _FIGURES
    )
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}: cross-validation</title>'
        f"<style>{_STYLE}</style>\n<h1>{escape(title)}: cross-validation by patients</h1>\n"
        f"<table><tr><th></th><th></th>{head}<th>mean ± sd</th></tr>\n{rows}</table>\n"
        f"<p>{escape(result['note'])}</p>\n</html>\n"
    )


def _spread(values: list[float]) -> dict[str, Any]:
    return {
        "values": values,
        "mean": round(float(np.mean(values)), 4),
        "sd": round(float(np.std(values, ddof=1)), 4),
        "min": min(values),
        "max": max(values),
    }
