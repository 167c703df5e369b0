"""What a person sees when the product has started: where it listens, where results go, what is open."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from firstread.way_in import asks
from triage.database import Database
from triage.settings import Settings


def print_addresses(settings: Settings, console: Console) -> None:
    """Print where everything is, and the warning that loopback mode asks nobody who they are."""
    grid = Table.grid(padding=(0, 2))
    for port, how in ((settings.plain_port, ""), (settings.dicom_tls_port, " over TLS")):
        if port is not None:
            grid.add_row("Send studies to", f"[bold]{settings.ae_title}@{settings.bind}:{port}[/]{how}")
    grid.add_row("Reading worklist", f"[bold]http://{settings.bind}:{settings.http_port}/[/]")
    where = ", ".join(destination.address for destination in settings.destinations)
    grid.add_row("Results go to", where or "[yellow]nowhere yet: add --destination AET@HOST:PORT[/]")
    grid.add_row("Data", str(settings.data))
    console.print("\n[bold green]firstread is up.[/] Ctrl-C stops it.")
    console.print(grid)
    if settings.on_loopback:
        database = Database(settings.database)
        people = "people sign in" if asks(settings, database) else "nobody signs in"
        database.dispose()
        senders = "only listed calling AE titles are" if settings.calling_ae_titles else "any calling AE title is"
        console.print(f"[dim]Bound to loopback: {senders} admitted and {people}.[/]")
    console.print()
