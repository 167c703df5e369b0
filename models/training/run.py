"""``train``: the whole way from a plan to a bundle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.bundle import Bundle
from models.training.data import Data, load_data, write_split
from models.training.durable import write_durably
from models.training.plan import TrainingPlan
from models.training.plan_file import plain_plan
from models.training.samples import Report

if TYPE_CHECKING:
    from models.training.ranks import Ranks

_NOT_IN_THE_WEIGHTS = (
    "date",
    "describe",
    "routing",
    "min_specificity",
    "checked_maps",
    "threads",
    "checkpoint_minutes",
)
"""What a run may change and still go on from its checkpoint: midnight must not begin a training anew."""


def train(
    plan: TrainingPlan,
    run_directory: Path,
    report: Report = lambda _event, _figures: None,
    *,
    ranks: Ranks | None = None,
    cache: Path | None = None,
) -> Bundle:
    """Train, calibrate, evaluate and write a bundle. Needs torch.

    The run directory receives ``plan.json``, ``environment.json``, ``split.csv``, the curves as ``history.csv``,
    ``history.json`` and ``curves.html``, a checkpoint, fitted images below ``cache`` or ``phantoms``, and the bundle in
    a folder of its name. Called again with the same plan and data after a kill, it continues.

    Parameters
    ----------
    report : callable, optional
        Called with an event ("generated", "images", "table", "note", "data", "step", "epoch", "bundle") and a dict of
        plain figures.
    ranks : Ranks, optional
        The processes that train together (:func:`models.training.ranks.joined`); they share the run directory, and
        only the first one writes to it.
    cache : Path, optional
        Where fitted images lie, and phantoms beside it, if not below the run directory: stages may share them.

    Returns
    -------
    Bundle
        Verified, with figures of a test set that nothing before had seen.

    Raises
    ------
    FirstreadError
        Data, start or architecture do not fit the plan, or the run cannot go on.
    """
    # Here, not above: processes that draw phantoms, and `--help`, do without torch.
    from models.training.environment import environment  # noqa: PLC0415
    from models.training.finish import finish  # noqa: PLC0415
    from models.training.loop import fit  # noqa: PLC0415
    from models.training.ranks import ALONE  # noqa: PLC0415

    ranks = ranks or ALONE
    report = report if ranks.first else _silent
    if ranks.first:
        run_directory.mkdir(parents=True, exist_ok=True)
        write_durably(run_directory / "plan.json", _json(plain_plan(plan)))
        write_durably(run_directory / "environment.json", _json(environment(plan, ranks)))
    data = _load(plan, cache or run_directory / "cache", report, ranks)
    if ranks.first and data.rows is not None:
        write_split(run_directory / "split.csv", plan.keys, data.rows, plan.seed)
    report("data", dict(zip(("train", "validation", "test"), map(len, data.sides), strict=True)))
    weights, progress = fit(plan, data.train, data.validation, run_directory, _digest(plan, data), report, ranks)
    if ranks.first:
        finish(plan, weights, progress, data.sides, run_directory, report, data.unseen, data.division)
    ranks.wait()
    bundle = Bundle.load(run_directory / plan.describe.name)
    report("bundle", {"directory": str(bundle.directory)})
    return bundle


def _load(plan: TrainingPlan, cache: Path, report: Report, ranks: Ranks) -> Data:
    """The first process fits the images, the others find them done."""
    if ranks.first:
        data = load_data(plan, cache.parent, cache, report)
        ranks.wait()
        return data
    ranks.wait()
    return load_data(plan, cache.parent, cache, report)


def _digest(plan: TrainingPlan, data: Data) -> str:
    decides = {key: value for key, value in plain_plan(plan).items() if key not in _NOT_IN_THE_WEIGHTS}
    return hashlib.sha256(_json([decides, data.digest])).hexdigest()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _silent(_event: str, _figures: dict[str, Any]) -> None:
    """What all processes but the first report."""
