"""The command line. Each command is a few lines around a module of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from triage.errors import FirstreadError, SettingsError

app = typer.Typer(
    name="firstread",
    help="AI triage beside the PACS: studies in over DICOM, reports and heat maps back, urgent cases first.\n\n"
    "New here? `firstread demo` shows everything; `firstread up` runs it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
EX_CONFIG = 78

Data = Annotated[Path | None, typer.Option("--data", help="Directory of archive, results and database.")]
AeTitle = Annotated[str | None, typer.Option("--ae-title", help="Our AE title.")]
Bind = Annotated[str | None, typer.Option("--bind", help="Address to listen on (default 127.0.0.1).")]
DicomPort = Annotated[int | None, typer.Option("--dicom-port", help="DICOM port (default 11112; 0: any free one).")]
HttpPort = Annotated[int | None, typer.Option("--http-port", help="Port of page and API (default 8080).")]
Destinations = Annotated[
    list[str] | None, typer.Option("--destination", help="AET@HOST:PORT that gets the results; repeatable.")
]
Calling = Annotated[
    list[str] | None, typer.Option("--calling-ae-title", help="AET or AET@NETWORK that may send; repeatable.")
]


def settings_of(**overrides: Any) -> Any:
    from triage.settings import load_settings  # noqa: PLC0415 - commands that need no settings start faster

    return load_settings({name: value for name, value in overrides.items() if value not in (None, [])})


@app.command()
def up(
    data: Data = None,
    ae_title: AeTitle = None,
    bind: Bind = None,
    dicom_port: DicomPort = None,
    http_port: HttpPort = None,
    destination: Destinations = None,
    calling_ae_title: Calling = None,
) -> None:
    """Run the whole product: listener, workers, page. Ctrl-C stops it in order.

    Example: `firstread up --data /srv/firstread --destination PACS@10.0.0.5:104`
    """
    from firstread.greeting import print_addresses  # noqa: PLC0415
    from firstread.up import Supervisor  # noqa: PLC0415
    from triage.logging import configure  # noqa: PLC0415

    settings = settings_of(
        data=data, ae_title=ae_title, bind=bind, dicom_port=dicom_port, http_port=http_port,
        destinations=destination, calling_ae_titles=calling_ae_title,
    )  # fmt: skip
    configure(part="up", as_json=settings.log_json)
    supervisor = Supervisor(settings)
    supervisor.start()
    try:
        supervisor.wait_until_ready()
    except FirstreadError:
        supervisor.stop()
        raise
    print_addresses(settings, Console())
    supervisor.run()


@app.command()
def listen() -> None:
    """Run the DICOM listener alone (scaled deployments). Settings from firstread.toml and FIRSTREAD_*.

    Example: `FIRSTREAD_DATABASE_URL=postgresql://… firstread listen`
    """
    from firstread import parts  # noqa: PLC0415

    parts.listen(settings_of())


@app.command()
def work(
    queue: Annotated[
        list[str] | None,
        typer.Option("--queue", help="analysis, delivery or housekeeping; repeatable; all by default."),
    ] = None,
) -> None:
    """Run a Celery worker alone (scaled deployments). It rings itself when rows are due.

    Example: `FIRSTREAD_BROKER_URL=redis://… firstread work --queue analysis`
    """
    from firstread import parts  # noqa: PLC0415
    from workers.names import Queue  # noqa: PLC0415

    try:
        queues = frozenset(Queue(name) for name in queue) if queue else frozenset(Queue)
    except ValueError as error:
        raise SettingsError(f"{error}: queues are {', '.join(Queue)}.") from None
    parts.work(settings_of(), queues)


@app.command()
def serve() -> None:
    """Run page and API alone (scaled deployments).

    Example: `FIRSTREAD_HTTP_PORT=9000 firstread serve`
    """
    from firstread import parts  # noqa: PLC0415

    parts.serve(settings_of())


def main() -> None:
    """Entry point: errors of ours become one line that says what to do, and an exit status."""
    try:
        app()
    except SettingsError as error:
        Console(stderr=True).print(f"[bold red]{error.advice()}[/]", highlight=False, soft_wrap=True)
        sys.exit(EX_CONFIG)
    except FirstreadError as error:
        Console(stderr=True).print(f"[bold red]{error.advice()}[/]", highlight=False, soft_wrap=True)
        sys.exit(1)
