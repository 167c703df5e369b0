"""``firstread models train``: plans, run with a progress display."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from models.bundle import Bundle
from models.registry import SHIPPED
from models.training import shipped
from models.training.plan import TrainingPlan
from models.training.plan_file import checked
from models.training.run import train
from triage.errors import SettingsError

_BARS = {"images": "Images", "generated": "Phantoms", "judged": "Judged", "step": "Steps"}
"""Event → title of its bar. Moved by the figure ``done`` (``step`` of a step); ``of`` is the total."""


def nih_plan(*, images: Path | None, table: Path | None, today: date, changes: Mapping[str, Any]) -> TrainingPlan:
    """The plan of nih-cxr-research, to be run, cross-validated or printed and edited.

    Parameters
    ----------
    changes : mapping
        Fields of the plan that are to differ from what shipped.

    Raises
    ------
    SettingsError
        The images or their table were not named.
    PlanError
        A value is out of its range.
    """
    if images is None or table is None:
        raise SettingsError(
            "nih-cxr-research learns from NIH ChestX-ray14 images.", next_step="Give --images and --table."
        )
    start_from = SHIPPED / "phantom-cxr"
    plan = shipped.nih_cxr_research(date=today.isoformat(), images=images, table=table, start_from=start_from)
    return checked(replace(plan, **changes))


def train_phantoms(name: str, run: Path, *, today: date, console: Console, threads: int | None = None) -> Bundle:
    """Train one of the shipped bundles that learn from phantoms, in all its stages.

    Parameters
    ----------
    threads : int, optional
        CPU threads in place of the plans': on a machine with other work, one thread waits for none of its own.
    """
    if name == "phantom-head-ct":
        return _train_series(run, today, console, threads)
    cache = run / "cache"  # the second and third stage learn from the same phantoms

    def stage(plan: TrainingPlan, directory: Path) -> Path:
        plan = plan if threads is None else replace(plan, threads=threads)
        return train_plan(plan, directory, console, cache=cache)[0].directory

    day = today.isoformat()
    first = stage(shipped.phantom_cxr(date=day), run / "first")
    second = stage(shipped.phantom_cxr_second(date=day, start_from=first), run / "second")
    return Bundle.load(stage(shipped.phantom_cxr_third(date=day, start_from=second), run / "third"))


def _train_series(run: Path, today: date, console: Console, threads: int | None) -> Bundle:
    from models.training.series import train_series  # noqa: PLC0415 - torch only where it trains
    from models.training.shipped_ct import phantom_head_ct  # noqa: PLC0415

    plan = phantom_head_ct(date=today.isoformat())
    plan = plan if threads is None else replace(plan, threads=threads)
    console.print(f"[bold]{plan.describe.name} {plan.describe.version}[/] in {run}", highlight=False)
    with _display(console) as display:
        return train_series(plan, run, display.report)


def train_plan(plan: TrainingPlan, directory: Path, console: Console, *, cache: Path | None = None) -> list[Bundle]:
    """Run a plan with bars and time left; one bundle, or one for each fold.

    Under torchrun every process calls this, and the first one speaks.

    Parameters
    ----------
    cache : Path, optional
        As of :func:`models.training.train`.
    """
    from models.training.cross_validation import cross_validate  # noqa: PLC0415 - torch only where it trains
    from models.training.ranks import joined  # noqa: PLC0415

    with joined() as ranks:
        quiet = console if ranks.first else Console(quiet=True)
        many = f", {ranks.size} processes" if ranks.size > 1 else ""
        quiet.print(f"[bold]{plan.describe.name} {plan.describe.version}[/] in {directory}{many}", highlight=False)
        with _display(quiet) as display:
            if plan.folds:
                return cross_validate(plan, directory, display.report, ranks=ranks)
            return [train(plan, directory, display.report, ranks=ranks, cache=cache)]


@contextmanager
def _display(console: Console) -> Iterator[_Display]:
    columns = (
        TextColumn("  {task.description:9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Display(progress, console)


class _Display:
    """Bars for what counts, lines for what stays."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress, self._console = progress, console
        self._bars: dict[str, TaskID] = {}

    def report(self, event: str, figures: dict[str, Any]) -> None:
        """Show one event of :func:`models.training.train`."""
        if event in _BARS:
            self._advance(event, figures)
        elif event == "note":
            self._console.print(f"  note: {figures['text']}", highlight=False, markup=False)
        else:
            line = ", ".join(f"{key} {_short(value)}" for key, value in figures.items())
            self._console.print(f"  {event}: {line}", highlight=False, markup=False)
        if event == "epoch":
            self._remove("step")

    def _advance(self, event: str, figures: dict[str, Any]) -> None:
        moved = "step" if event == "step" else "done"
        if event not in self._bars:
            self._bars[event] = self._progress.add_task(_BARS[event], total=figures["of"], detail="")
        detail = f"epoch {figures['epoch']}, loss {figures['loss']:.4g}" if event == "step" else ""
        self._progress.update(self._bars[event], completed=figures[moved], total=figures["of"], detail=detail)
        if event != "step" and figures[moved] >= figures["of"]:
            self._remove(event)

    def _remove(self, event: str) -> None:
        bar = self._bars.pop(event, None)
        if bar is not None:
            self._progress.remove_task(bar)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
