"""``firstread results …``: where the results are, what was given up, and sending again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from triage.errors import NotFoundError, SettingsError
from triage.states import DeliveryStatus, Proof

app = typer.Typer(
    help="Results on their way: list deliveries with their proof, send again, see what a destination gets.",
    no_args_is_help=True,
)
WHO = "command line"

Data = Annotated[Path | None, typer.Option("--data", help="Directory of archive, results and database.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: the items of GET /api/v1/admin/deliveries.")]


def _database(data: Path | None) -> Any:
    from triage.database import Database  # noqa: PLC0415
    from triage.settings import load_settings  # noqa: PLC0415

    database = Database(load_settings({"data": data}).database)
    database.require_current()
    return database


@app.command(name="list")
def list_(
    status: Annotated[
        str | None, typer.Option("--status", help="PENDING, SENDING, SENT, COMMITTED or DEAD; all by default.")
    ] = None,
    destination: Annotated[str, typer.Option("--destination", help="Address of a destination.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many, newest first.")] = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List deliveries, newest first: where each stands, why, and what shows that it arrived.

    Example: `firstread results list --status DEAD`
    """
    from triage.repositories import queues  # noqa: PLC0415
    from worklist.api.deliveries import describe_delivery  # noqa: PLC0415

    chosen = _status(status)
    with _database(data).read() as session:
        rows = queues.list_deliveries(session, status=chosen, destination=destination, limit=limit)
        items = [describe_delivery(row) for row in rows]
    if as_json:
        Console().print_json(data=[item.model_dump(mode="json") for item in items])
        return
    table = Table("Id", "Kind", "Destination", "State", "Proof", "Attempts", "Reason or remark", header_style="bold")
    for item in items:
        style = {DeliveryStatus.DEAD: "red", DeliveryStatus.COMMITTED: "green"}.get(item.status, "default")
        proof = f"{_proof(item.proof)} {item.proven_at:%Y-%m-%d %H:%M}" if item.proof and item.proven_at else ""
        table.add_row(
            str(item.id), item.kind, item.destination, Text(item.status, style=style), proof, str(item.attempts),
            Text(item.reason or item.note),
        )  # fmt: skip
    Console().print(table)


@app.command()
def resend(
    ids: Annotated[list[int] | None, typer.Argument(help="Ids as `firstread results list` shows them.")] = None,
    destination: Annotated[
        str, typer.Option("--destination", help="Everything that was given up, or waits, for this address.")
    ] = "",
    confirm_identity: Annotated[
        bool,
        typer.Option("--confirm-identity", help="Send a result whose study has another identity now, as it is."),
    ] = False,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Send results again: the same bytes under the same UIDs. A running node does it within a second.

    Example: `firstread results resend --destination PACS@10.0.0.5:104`
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    from triage.repositories import deliveries, queues  # noqa: PLC0415

    if bool(ids) == bool(destination):
        raise SettingsError("Name ids or a destination.", next_step="`firstread results list --status DEAD` has both.")
    now = datetime.now(UTC)
    with _database(data).write() as session:
        if destination:
            count = deliveries.resend_dead(session, destination, at=now, who=WHO)
            if not count and destination not in queues.destinations(session):
                raise NotFoundError(f"Nothing was ever owed to {destination}.", next_step="Check its spelling.")
        else:
            for number in ids or ():
                delivery = queues.delivery_by_id(session, number)
                deliveries.resend(session, delivery, at=now, who=WHO, confirmed=confirm_identity)
            count = len(ids or ())
    if as_json:
        Console().print_json(data={"resent": count})
    else:
        Console().print(f"{count} to be sent again.", highlight=False)


@app.command()
def preview(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    to: Annotated[str, typer.Option("--to", help="Address of a destination, as in the settings.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the files, those that would have to be built too. They name a patient."),
    ] = None,
    data: Data = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs: GET /api/v1/admin/destinations/preview.")
    ] = False,
) -> None:
    """Show exactly what a destination gets of a study. Nothing is stored or sent.

    Example: `firstread results preview 1.2.3 --to PACS@10.0.0.5:104 --out /tmp/preview`
    """
    from firstread import previewing  # noqa: PLC0415

    previewing.show(data, study, to, out, as_json=as_json, console=Console())


@app.command()
def send(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    to: Annotated[str, typer.Option("--to", help="Address of a destination, as in the settings.")],
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Owe a study's results to a destination that was added, or changed its profile, after the analysis.

    What is missing in its form is built first, with the time, findings and weights of the analysis. What it was owed
    before is left alone: `firstread results resend` sends that again.

    Example: `firstread results send 1.2.3 --to fhir+https://fhir.hospital.example/R4`
    """
    from firstread import previewing  # noqa: PLC0415

    previewing.send(data, study, to, who=WHO, as_json=as_json, console=Console())


def _status(text: str | None) -> DeliveryStatus | None:
    try:
        return DeliveryStatus(text.upper()) if text else None
    except ValueError:
        raise SettingsError(f"{text} is none of {', '.join(DeliveryStatus)}.") from None


def _proof(proof: Proof) -> str:
    return {
        Proof.ANSWERED: "its answer",
        Proof.READ_BACK: "listed there",
        Proof.COMMITTED: "committed",
    }[proof]
