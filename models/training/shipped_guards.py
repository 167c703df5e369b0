"""The guards of the bundles that ship: fitted to the images of their plans, without training anything again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.bundle import Bundle
from models.registry import SHIPPED
from models.training import shipped
from models.training.data import load_data
from models.training.errors import TrainingDataError
from models.training.guarding import guard_again
from models.training.plan import PhantomSource, TrainingPlan
from models.training.samples import Report

GUARDED = ("phantom-cxr", "nih-cxr-research")


def guard_shipped(
    name: str, run: Path, out: Path, *, images: Path | None, table: Path | None, date: str, report: Report
) -> Bundle:
    """Write a shipped bundle again, with a guard.

    Parameters
    ----------
    run : Path
        Receives the prepared images.
    out : Path
        Receives the bundle.
    images, table : Path, optional
        NIH ChestX-ray14 images and labels, for nih-cxr-research.

    Raises
    ------
    TrainingDataError
        No such bundle, or its images are missing.
    """
    plan = replace(_plan(name, images, table, date), threads=1)
    data = load_data(plan, run, run / "cache", report)
    return guard_again(Bundle.load(SHIPPED / name), out, data.sides)


def _plan(name: str, images: Path | None, table: Path | None, date: str) -> TrainingPlan:
    start_from = SHIPPED / "phantom-cxr"
    if name == "phantom-cxr":
        plan = shipped.phantom_cxr_third(date=date, start_from=start_from)
        assert isinstance(plan.source, PhantomSource)  # noqa: S101 - for the type checker
        return replace(plan, source=replace(plan.source, train=700, validation=300, test=200, unseen=0))
    if name == "nih-cxr-research" and images is not None and table is not None:
        return shipped.nih_cxr_research(date=date, images=images, table=table, start_from=start_from)
    raise TrainingDataError(
        f"no guard can be made for {name}.",
        next_step=f"Name one of {', '.join(GUARDED)}; nih-cxr-research needs --images and --table.",
    )
