"""``firstread rules …``: what the site rules would do, before they do it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from triage.repositories.rule_trials import RuleTrial

app = typer.Typer(help="Site rules: try them on recent cases.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option("--data", help="Directory of archive, results and database.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
SHOWN: Final = 30


@app.callback()
def _several() -> None:
    """With one command alone, typer would take away its name."""


@app.command(name="test")
def test_(
    days: Annotated[int, typer.Option("--days", min=1, max=90, help="Cases that arrived in so many days.")] = 7,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show which recent cases the rules of the settings would have moved, from which class to which and why.

    A dry run, beside a live system: edit firstread.toml, look here, then restart the node.

    Example: `firstread rules test --days 30`
    """
    from triage.database import Database  # noqa: PLC0415
    from triage.repositories.rule_trials import MOST_CASES, try_rules  # noqa: PLC0415
    from triage.settings import load_settings  # noqa: PLC0415

    settings = load_settings({} if data is None else {"data": data})
    database = Database(settings.database)
    database.require_current()
    with database.read() as session:
        trial = try_rules(
            session,
            settings.site_rules,
            since=datetime.now(UTC) - timedelta(days=days),
            targets=settings.targets,
            breaker=settings.breaker,
            examples=MOST_CASES if as_json else SHOWN,
        )
    database.dispose()
    if as_json:
        said = asdict(trial)
        for example in said["examples"]:
            example["received_at"] = example["received_at"].isoformat()
        Console().print_json(data=said)
    else:
        _draw(trial, days)
    if trial.warning:
        Console(stderr=True).print(f"[bold yellow]{trial.warning}[/]", highlight=False, soft_wrap=True)


def _draw(trial: RuleTrial, days: int) -> None:
    console = Console(highlight=False, markup=False)
    if not trial.rules:
        console.print("The settings have no rules; docs/rules.md shows how to write some.")
        return
    table = Table("Rule", "Asks for", "Holds for", "Moves")
    for rule in trial.rules:
        table.add_row(rule.name, rule.urgency, str(rule.matched), str(rule.moved))
    console.print(table)
    if trial.examples:
        table = Table("Arrived (UTC)", "Accession", "Modality", "Class", "Why")
        for case in trial.examples:
            moved = f"{case.before} → {case.after}"
            table.add_row(f"{case.received_at:%m-%d %H:%M}", case.accession_number, case.modality, moved, case.reason)
        console.print(table)
    newest = "" if trial.moved == len(trial.examples) else f", the newest {len(trial.examples)} above"
    console.print(f"Of {trial.cases} cases in {days} days, {trial.moved} would move{newest}.")
    if not trial.all_looked_at:
        console.print("There were more cases; the newest were looked at.")
    if trial.cases:
        shares = trial.stat_before / trial.cases, trial.stat_after / trial.cases
        console.print(f"STAT: {shares[0]:.1%} without rules, {shares[1]:.1%} with them.")
