"""``firstread quarantine …``: what came and could not become an instance."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(help="What came and could not become an instance: list, retry, dismiss.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option("--data", help="Directory of archive, results and database.")]
Ids = Annotated[list[int], typer.Argument(help="Ids of the list.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def _bench(data: Path | None) -> Any:
    from triage.database import Database  # noqa: PLC0415
    from triage.logging import configure  # noqa: PLC0415
    from triage.settings import load_settings  # noqa: PLC0415
    from workers.workbench import Workbench  # noqa: PLC0415

    configure(part="quarantine", as_json=False, level="CRITICAL")
    settings = load_settings({} if data is None else {"data": data})
    Database(settings.database).require_current()
    return Workbench.open(settings)


@app.command(name="list")
def list_(
    data: Data = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was dealt with.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what lies in quarantine, newest first: when, who sent it, what they were told and why.

    Example: `firstread quarantine list`
    """
    from triage.database import Database  # noqa: PLC0415
    from triage.repositories import quarantine  # noqa: PLC0415
    from triage.settings import load_settings  # noqa: PLC0415

    settings = load_settings({} if data is None else {"data": data})
    database = Database(settings.database)
    database.require_current()
    with database.read() as session:
        rows = quarantine.listed(session, dismissed=None if everything else False, limit=limit)
    database.dispose()
    if as_json:
        items = [
            {
                "id": row.id,
                "at": row.at.isoformat(),
                "reason": row.reason,
                "dicom_status": f"0x{row.dicom_status:04X}",
                "calling_ae_title": row.calling_ae_title,
                "peer_address": row.peer_address,
                "size": row.size,
                "file": str(settings.archive / row.relative_path),
                "dismissed_at": row.dismissed_at.isoformat() if row.dismissed_at else None,
            }
            for row in rows
        ]
        Console().print_json(data=items)
        return
    table = Table("Id", "When", "From", "Told", "Bytes", "Why")
    for row in rows:
        done = f" (dealt with by {row.dismissed_by})" if row.dismissed_at else ""
        sender = f"{row.calling_ae_title}@{row.peer_address}"
        told = f"0x{row.dicom_status:04X}"
        table.add_row(str(row.id), f"{row.at:%Y-%m-%d %H:%M:%S}", sender, told, str(row.size), row.reason + done)
    Console().print(table if rows else "Nothing waits in quarantine.")


@app.command()
def retry(ids: Ids, data: Data = None, as_json: AsJson = False) -> None:
    """Feed entries through intake again, for instance after an upgrade. Exit status 1 when one is still not taken.

    Example: `firstread quarantine retry 12 13`
    """
    from workers.quarantine import retry as again  # noqa: PLC0415

    bench = _bench(data)
    outcomes = [again(bench, number, who=getpass.getuser()) for number in ids]
    if as_json:
        Console().print_json(data=[asdict(outcome) for outcome in outcomes])
    else:
        for outcome in outcomes:
            result = outcome.problem or f"is now in the archive as {outcome.sop_instance_uid}"
            Console().print(f"{outcome.id}: {result}", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(any(outcome.problem for outcome in outcomes))


@app.command()
def dismiss(
    ids: Ids,
    data: Data = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the bytes too; nobody else may have them.")] = False,
) -> None:
    """Take entries off the list: somebody has dealt with them.

    Example: `firstread quarantine dismiss 12`
    """
    from workers.quarantine import dismiss as take_off  # noqa: PLC0415

    bench = _bench(data)
    for number in ids:
        take_off(bench, number, who=getpass.getuser(), remove=remove)
        Console().print(f"{number}: dealt with{', bytes removed' if remove else ''}", highlight=False)
