"""The command line. Each command is a few lines around a module of its own."""

from __future__ import annotations

import gc
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from firstread.commands import keeping, models, quarantine, results, rules, tokens, users
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
database_commands = typer.Typer(help="The database: upgrade and status.", no_args_is_help=True)
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

Tls = Annotated[
    bool | None,
    typer.Option(
        "--tls/--plain", help="With the dicom_tls_… files; by default as the settings say of this destination."
    ),
]
PeerCertificate = Annotated[
    str | None,
    typer.Option("--certificate", help="What the peer's certificate must say: DNS:…, IP:…, URI:…, CN:… or SHA256:…"),
]


def settings_of(**overrides: Any) -> Any:
    from triage.settings import load_settings  # noqa: PLC0415 - commands that need no settings start faster

    return load_settings({name: value for name, value in overrides.items() if value not in (None, [])})


@app.command(rich_help_panel="Start here")
def demo(
    once: Annotated[bool, typer.Option("--once", help="End when every study is through.")] = False,
) -> None:
    """Show the whole product: a stand-in PACS, synthetic patients with known truth, reports and heat maps coming back.

    Example: `firstread demo --once`
    """
    from firstread.demo import run_demo  # noqa: PLC0415
    from triage.logging import configure  # noqa: PLC0415

    configure(part="demo", as_json=False, level="ERROR")
    run_demo(settings_of(), Console(), once=once)


@app.command(rich_help_panel="Start here")
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

    chosen = settings_of(
        data=data, ae_title=ae_title, bind=bind, dicom_port=dicom_port, http_port=http_port,
        destinations=destination, calling_ae_titles=calling_ae_title,
    )  # fmt: skip
    configure(part="up", as_json=chosen.log_json)
    supervisor = Supervisor(chosen)
    try:
        supervisor.start()
        supervisor.wait_until_ready()
        print_addresses(chosen, Console())
        supervisor.run()
    finally:
        supervisor.stop()  # whatever went wrong: no part outlives its supervisor


@app.command(rich_help_panel="Start here")
def doctor(data: Data = None, destination: Destinations = None) -> None:
    """Check settings, disk, database, ports, bundles and each destination, and say what to do about each failure.

    Example: `firstread doctor`
    """
    from firstread.doctor import report  # noqa: PLC0415
    from triage.logging import configure  # noqa: PLC0415

    configure(part="doctor", as_json=False, level="CRITICAL")
    if not report(settings_of(data=data, destinations=destination), Console()):
        raise typer.Exit(1)


@app.command(rich_help_panel="Parts, for scaled deployments")
def listen() -> None:
    """Run the DICOM listener alone (scaled deployments). Settings from firstread.toml and FIRSTREAD_*.

    Example: `FIRSTREAD_DATABASE_URL=postgresql://… firstread listen`
    """
    from firstread.listening import listen as run_listener  # noqa: PLC0415

    run_listener(settings_of())


@app.command(rich_help_panel="Parts, for scaled deployments")
def orders() -> None:
    """Take orders alone: HL7 messages and worklists that are asked (scaled deployments, docs/orders.md).

    Example: `FIRSTREAD_ORDER_FEEDS=RIS@10.0.0.7:104 firstread orders`
    """
    from firstread.ordering import run_orders  # noqa: PLC0415

    run_orders(settings_of())


@app.command(rich_help_panel="Parts, for scaled deployments")
def work(
    queue: Annotated[
        list[str] | None,
        typer.Option("--queue", help="analysis, delivery or housekeeping; repeatable; all by default."),
    ] = None,
) -> None:
    """Run a Celery worker alone (scaled deployments). It rings itself when rows are due.

    Example: `FIRSTREAD_BROKER_URL=redis://… firstread work --queue analysis`
    """
    gc.disable()  # looking for garbage in what is loaded now takes a tenth of the start; the worker enables it
    from firstread import parts  # noqa: PLC0415
    from workers.names import Queue  # noqa: PLC0415

    try:
        queues = frozenset(Queue(name) for name in queue) if queue else frozenset(Queue)
    except ValueError as error:
        raise SettingsError(f"{error}: queues are {', '.join(Queue)}.") from None
    parts.work(settings_of(), queues)


@app.command(rich_help_panel="Parts, for scaled deployments")
def serve() -> None:
    """Run page and API alone (scaled deployments).

    Example: `FIRSTREAD_HTTP_PORT=9000 firstread serve`
    """
    from firstread import parts  # noqa: PLC0415

    parts.serve(settings_of())


@app.command(rich_help_panel="Daily use")
def send(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    to: Annotated[str, typer.Option("--to", help="AET@HOST:PORT")],
    ae_title: AeTitle = None,
    tls: Tls = None,
    certificate: PeerCertificate = None,
) -> None:
    """Send DICOM files to a peer, with a progress bar. Exit status 1 when anything was not stored.

    Example: `firstread send studies/ --to FIRSTREAD@127.0.0.1:11112`
    """
    from firstread.transfers import send_files  # noqa: PLC0415
    from triage.identifiers import PeerAddress  # noqa: PLC0415
    from workers.transport import tls_for_address  # noqa: PLC0415

    chosen, peer = settings_of(ae_title=ae_title), PeerAddress.parse(to)
    secured = tls_for_address(chosen, peer, datetime.now(UTC), tls=tls, certificate=certificate)
    send_files(paths, peer, calling_ae_title=chosen.ae_title, console=Console(), tls=secured)


@app.command(rich_help_panel="Daily use")
def echo(
    peer: Annotated[str, typer.Argument(help="AET@HOST:PORT")],
    ae_title: AeTitle = None,
    tls: Tls = None,
    certificate: PeerCertificate = None,
) -> None:
    """Ask a peer by C-ECHO whether it is there and knows us.

    Example: `firstread echo PACS@10.0.0.5:104`
    """
    from firstread.transfers import echo_peer  # noqa: PLC0415
    from triage.identifiers import PeerAddress  # noqa: PLC0415
    from workers.transport import tls_for_address  # noqa: PLC0415

    chosen, address = settings_of(ae_title=ae_title), PeerAddress.parse(peer)
    secured = tls_for_address(chosen, address, datetime.now(UTC), tls=tls, certificate=certificate)
    echo_peer(address, calling_ae_title=chosen.ae_title, console=Console(), tls=secured)


@app.command(rich_help_panel="Daily use")
def worklist(
    data: Data = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How many cases.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Print the reading worklist in the terminal, most urgent first.

    Example: `firstread worklist --limit 10`
    """
    from firstread import worklist_table  # noqa: PLC0415
    from triage.database import Database  # noqa: PLC0415

    database = Database(settings_of(data=data).database)
    database.require_current()
    cases = worklist_table.read_list(database, limit)
    if as_json:
        Console().print_json(data=worklist_table.as_json(cases))
    else:
        Console().print(worklist_table.draw(cases, datetime.now(UTC)))


@app.command(rich_help_panel="Daily use")
def simulate(
    scenario: Annotated[str, typer.Option("--scenario", help="A synthetic department: chest or head.")] = "chest",
    history: Annotated[bool, typer.Option("--history", help="This site's own cases instead.")] = False,
    days: Annotated[int, typer.Option("--days", min=1, max=1000, help="How many days.")] = 60,
    readers: Annotated[int | None, typer.Option("--readers", min=1, max=100, help="How many people read.")] = None,
    sensitivity: Annotated[float | None, typer.Option("--sensitivity", min=0, max=1, help="Of the model.")] = None,
    specificity: Annotated[float | None, typer.Option("--specificity", min=0, max=1, help="Of the model.")] = None,
    reading_minutes: Annotated[
        float, typer.Option("--reading-minutes", min=0.1, max=600, help="With --history: where no claim says it.")
    ] = 5.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same days.")] = 1,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Compare waits: first-in-first-out, by class alone, and in the order of this product; gain and harm.

    Example: `firstread simulate --scenario chest --sensitivity 0.9 --specificity 0.95`
    """
    from firstread import simulating  # noqa: PLC0415

    settings = settings_of(data=data)
    if history:
        rows = simulating.own_history(settings, days=days, readers=readers or 1, reading_minutes=reading_minutes)
    else:
        rows = simulating.synthetic(
            scenario, days=days, seed=seed, targets=settings.targets, sensitivity=sensitivity,
            specificity=specificity, readers=readers,
        )  # fmt: skip
    if as_json:
        Console().print_json(data=simulating.as_json(rows))
    else:
        Console().print(simulating.draw_table(rows))


@app.command(rich_help_panel="Daily use")
def fsck(
    data: Data = None,
    deep: Annotated[bool, typer.Option("--deep/--quick", help="Read every file again; else names and rows.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended; nothing is deleted.")] = False,
    reindex: Annotated[bool, typer.Option("--reindex", help="Fill an empty database from the archive.")] = False,
    resend_results: Annotated[
        bool, typer.Option("--resend-results", help="With --reindex: owe the reports found to the destinations again.")
    ] = False,
    phi: Annotated[
        list[Path] | None, typer.Option("--phi", help="Log file to search for patients of the database; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Check that every promise is kept: files against rows, rows against rules. Runs beside a live system.

    Exit status 0: all is well; 1: something is left, with what to do and what has to be sent again; 2: it cannot run.

    Example: `firstread fsck --deep --repair`
    """
    from firstread import fsck as custody  # noqa: PLC0415
    from triage.logging import configure  # noqa: PLC0415

    configure(part="fsck", as_json=False, level="CRITICAL")
    chosen = settings_of(data=data)
    try:
        if reindex:
            status = custody.reindex(chosen, resend_results=resend_results, as_json=as_json)
        else:
            status = custody.run(chosen, deep=deep, repair=repair, logs=phi or (), as_json=as_json)
    except FirstreadError as error:
        status = custody.cannot_run(error, as_json=as_json)
    raise typer.Exit(status)


@app.command(rich_help_panel="Models and documents")
def conformance() -> None:
    """Print the DICOM Conformance Statement from the tables the code uses.

    Example: `firstread conformance > docs/CONFORMANCE.md`
    """
    from dicom_node.conformance import statement  # noqa: PLC0415
    from firstread.listening import listener_config  # noqa: PLC0415

    sys.stdout.write(statement(listener_config(settings_of())))


@app.command(rich_help_panel="Models and documents")
def settings() -> None:
    """Print every setting with its default and what it is for, as Markdown.

    Example: `firstread settings`
    """
    from firstread.settings_reference import reference  # noqa: PLC0415

    sys.stdout.write(reference())


@database_commands.command()
def upgrade(
    data: Data = None,
    backed_up: Annotated[
        bool, typer.Option("--backed-up", help="There is a backup; needed on PostgreSQL, SQLite is copied first.")
    ] = False,
) -> None:
    """Bring the database to this version's schema; makes it when there is none. Stop the node before.

    Example: `firstread db upgrade`
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    from firstread import ground, schema  # noqa: PLC0415

    chosen, now = settings_of(data=data), datetime.now(UTC)
    ground.require_sane_clock(now)
    ground.make_folders(chosen)
    copy = schema.upgrade(chosen, now=now, backed_up=backed_up)
    if copy is not None:
        Console().print(f"The database as it was: {copy}", highlight=False, soft_wrap=True)


@database_commands.command()
def status(data: Data = None) -> None:
    """Print the schema of the database and the one that this version needs.

    Example: `firstread db status`
    """
    from triage.database import Database  # noqa: PLC0415

    found, needed = Database(settings_of(data=data).database).revision()
    Console().print(f"schema {found or 'none'}, needed {needed}", highlight=False)


app.command(rich_help_panel="Daily use")(keeping.backup)
app.command(rich_help_panel="Daily use")(keeping.restore)
app.add_typer(quarantine.app, name="quarantine", rich_help_panel="Daily use")
app.add_typer(rules.app, name="rules", rich_help_panel="Daily use")
app.add_typer(users.app, name="users", rich_help_panel="Daily use")
app.add_typer(tokens.app, name="tokens", rich_help_panel="Daily use")
app.add_typer(database_commands, name="db", rich_help_panel="Parts, for scaled deployments")
app.add_typer(results.app, name="results", rich_help_panel="Daily use")
app.add_typer(models.app, name="models", rich_help_panel="Models and documents")
app.command(rich_help_panel="Models and documents")(models.phantom)


def main() -> None:
    """Entry point: errors of ours become one line that says what to do, and an exit status."""
    try:
        app()
    except SettingsError as error:
        Console(stderr=True).print(error.advice(), style="bold red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(EX_CONFIG)
    except FirstreadError as error:
        Console(stderr=True).print(error.advice(), style="bold red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
