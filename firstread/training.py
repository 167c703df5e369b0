"""``firstread models train``: the plans of the shipped bundles, run with a progress display."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console

from models.bundle import Bundle
from models.registry import SHIPPED
from models.training import shipped
from models.training.plan import TrainingPlan
from models.training.run import train
from models.training.samples import Report
from triage.errors import SettingsError


def train_shipped(
    name: str, run: Path, *, images: Path | None, table: Path | None, today: date, console: Console
) -> Bundle:
    """Train one of the shipped bundles from its plan.

    Parameters
    ----------
    images, table : Path, optional
        Needed by plans that learn from real images.

    Raises
    ------
    SettingsError
        The plan needs images and they were not named.
    """
    if name == "phantom-head-ct":
        return _run_series(run, today, console)
    if name == "nih-cxr-research":
        if images is None or table is None:
            raise SettingsError(
                "nih-cxr-research learns from NIH ChestX-ray14 images.", next_step="Give --images and --table."
            )
        start_from = SHIPPED / "phantom-cxr"
        plan = shipped.nih_cxr_research(date=today.isoformat(), images=images, table=table, start_from=start_from)
        return _run(plan, run, console)
    first = _run(shipped.phantom_cxr(date=today.isoformat()), run / "first", console)
    second_plan = shipped.phantom_cxr_second(date=today.isoformat(), start_from=first.directory)
    second = _run(second_plan, run / "second", console)
    third_plan = shipped.phantom_cxr_third(date=today.isoformat(), start_from=second.directory)
    return _run(third_plan, run / "third", console)


def _run_series(run: Path, today: date, console: Console) -> Bundle:
    from models.training.series import train_series  # noqa: PLC0415 - needs torch
    from models.training.shipped_ct import phantom_head_ct  # noqa: PLC0415

    plan = phantom_head_ct(date=today.isoformat())
    console.print(f"[bold]{plan.describe.name} {plan.describe.version}[/] in {run}", highlight=False)
    with _display(console) as report:
        return train_series(plan, run, report)


def _run(plan: TrainingPlan, directory: Path, console: Console) -> Bundle:
    console.print(f"[bold]{plan.describe.name} {plan.describe.version}[/] in {directory}", highlight=False)
    with _display(console) as report:
        return train(plan, directory, report)


@contextmanager
def _display(console: Console) -> Iterator[Report]:
    """A line for each epoch, and a moving one for what happens between them."""
    with console.status("…") as status:

        def report(event: str, figures: Mapping[str, Any]) -> None:
            line = ", ".join(f"{key} {_short(value)}" for key, value in figures.items())
            if event == "epoch":
                console.print(f"  {event}: {line}", highlight=False)
            else:
                status.update(f"{event}: {line}")

        yield report


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
