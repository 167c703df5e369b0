"""``train``: the whole way from a plan to a bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from models.bundle import Bundle
from models.training.folder import load, read_table, split
from models.training.phantoms import phantom_samples
from models.training.plan import PhantomSource, TrainingPlan
from models.training.samples import Report, Samples


def train(plan: TrainingPlan, run_directory: Path, report: Report = lambda _event, _figures: None) -> Bundle:
    """Train, calibrate, evaluate and write a bundle. Needs torch.

    The run directory receives ``plan.json``, the curves as ``history.csv`` and ``history.json``, a checkpoint after
    each epoch, cached phantoms, and the bundle in a folder of its name. Called again with the same plan after a
    kill, it continues.

    Parameters
    ----------
    report : callable, optional
        Called with an event ("generated", "data", "step", "epoch", "bundle") and a dict of plain figures.

    Returns
    -------
    Bundle
        Verified, with figures of a test set that nothing before had seen.

    Raises
    ------
    FirstreadError
        Data, start bundle or architecture do not fit the plan.
    """
    # Here, not above: processes that draw phantoms, and `--help`, do without torch.
    from models.training.finish import finish  # noqa: PLC0415
    from models.training.loop import fit  # noqa: PLC0415

    run_directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(plan), indent=1, sort_keys=True)
    (run_directory / "plan.json").write_text(text + "\n", encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    splits = _samples(plan, run_directory, report)
    report("data", dict(zip(("train", "validation", "test"), map(len, splits), strict=True)))
    weights, progress = fit(plan, splits[0], splits[1], run_directory, digest, report)
    bundle = finish(plan, weights, progress, splits, run_directory)
    report("bundle", {"directory": str(bundle.directory)})
    return bundle


def _samples(plan: TrainingPlan, run_directory: Path, report: Report) -> tuple[Samples, Samples, Samples]:
    source = plan.source
    if isinstance(source, PhantomSource):
        test_seed = source.seed + 2 if source.test_seed is None else source.test_seed
        parts = ((source.train, source.seed), (source.validation, source.seed + 1), (source.test, test_seed))
        sets = [
            phantom_samples(
                run_directory / "phantoms",
                count,
                seed=seed,
                size=source.size,
                spec=plan.input,
                keys=plan.keys,
                processes=plan.threads,
                report=report,
                emphasis=source.emphasis if number == 0 else "",
            )
            for number, (count, seed) in enumerate(parts)
        ]
    else:
        rows = read_table(source, plan.keys)
        sets = [load(part, plan.input, len(plan.keys)) for part in split(rows, source, plan.seed)]
    return sets[0], sets[1], sets[2]


def _plain(value: Any) -> Any:
    """The plan as JSON can write it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
