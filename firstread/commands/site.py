"""``firstread models add | remove | accept | enable | disable | thresholds``: what a site decides about its bundles.

Each change stands in the history of ``site.json`` and, where there is a database, in its audit trail.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from triage.errors import BundleError, FirstreadError
from triage.findings import Urgency

if TYPE_CHECKING:
    from models.site import Acceptance, Change
    from triage.settings import Settings
    from workers.bundle_store import BundleStore

Data = Annotated[Path | None, typer.Option("--data", help="Directory of archive, results and database.")]
Name = Annotated[str, typer.Argument(help="As `firstread models list` has it.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Why = Annotated[str, typer.Option("--reason", help="One line for the history; no patient data.")]
Evaluation = Annotated[
    Path | None, typer.Option("--evaluation", help="Report of `firstread models evaluate` about this bundle (JSON).")
]
Described = Annotated[str, typer.Option("--images", help="Which images the report is about, in words.")]
ShippedOne = Annotated[bool, typer.Option("--shipped", help="The shipped bundle, where the site has one of this name.")]


def settings_of(data: Path | None) -> Settings:
    from triage.settings import load_settings  # noqa: PLC0415

    return load_settings({} if data is None else {"data": data})


def add(
    source: Annotated[Path, typer.Argument(help="Folder or zip file of a bundle.")],
    data: Data = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of the version that is here.")] = False,
    enable_: Annotated[bool, typer.Option("--enable", help="And let it read, if it meets its criteria.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take in a bundle that passes its checksums, shapes and self-test on this machine. It reads once it is enabled.

    A version that is replaced is kept aside: analyses that it began are finished by it.

    Example: `firstread models add hospital-cxr-1.0.0.zip`
    """
    settings = settings_of(data)
    store = _store(settings)
    with _audited(settings, store):
        added = store.add(source, replace=replace, enable=enable_)
        name = added.bundle.metadata.name
        if added.known and enable_:
            store.accept(name, evaluation=None)
            store.enable(name)
    title = f"{name} {added.bundle.metadata.version}"
    if as_json:
        row = {"name": name, "version": added.bundle.metadata.version, "directory": str(added.bundle.directory)}
        kept = str(added.kept) if added.kept else None
        Console().print_json(data={**row, "known": added.known, "enabled": enable_, "kept": kept})
        return
    _say(f"{title} is here already." if added.known else f"{title} is in {added.bundle.directory}.")
    if added.kept:
        _say(f"What was there before is kept in {added.kept}.")
    if added.lapsed:
        _say(f"The site's thresholds of {', '.join(added.lapsed)} were set for other weights and have no effect on it.")
    _say("It reads from now on." if enable_ else f"It does not read yet: `firstread models enable {name}`.")


def remove(name: Name, data: Data = None, reason: Why = "") -> None:
    """Take a disabled bundle of the site away. Its files are kept aside, because reports of before name it.

    Refused for a bundle that is enabled, so that no image waits for it, and for those that ship with firstread.

    Example: `firstread models remove hospital-cxr --reason "replaced by hospital-cxr-2"`
    """
    settings = settings_of(data)
    store = _store(settings)
    with _audited(settings, store):
        kept = store.remove(name, reason=reason)
    _say(f"{name} is gone; its files are kept in {kept}.")


def accept(
    name: Name,
    data: Data = None,
    evaluation: Evaluation = None,
    images: Described = "",
    shipped: ShippedOne = False,
    as_json: AsJson = False,
) -> None:
    """Hold a bundle against its acceptance criteria on this machine, and record what came out.

    Without a report the figures are the maker's own. Exit status 1 when a criterion is not met.

    Example: `firstread models accept hospital-cxr --evaluation report.json --images "300 radiographs of May 2026"`
    """
    settings = settings_of(data)
    store = _store(settings)
    with _audited(settings, store):
        record = store.accept(name, evaluation=evaluation, data=images, shipped=shipped)
    _show(name, record, as_json)
    if not record.met:
        raise typer.Exit(1)


def enable(
    name: Name,
    data: Data = None,
    evaluation: Evaluation = None,
    images: Described = "",
    shipped: ShippedOne = False,
    as_json: AsJson = False,
) -> None:
    """Let a bundle read, if it meets its acceptance criteria here. Running workers notice by themselves.

    Example: `firstread models enable hospital-cxr`
    """
    settings = settings_of(data)
    store = _store(settings)
    with _audited(settings, store):
        record = store.accept(name, evaluation=evaluation, data=images, shipped=shipped)
        _show(name, record, as_json)
        store.enable(name, shipped=shipped)
    if not as_json:
        _say(f"{name} {record.version} reads from now on.")


def disable(
    name: Name, reason: Annotated[str, typer.Option("--reason", help="Shown with the images.")], data: Data = None
) -> None:
    """Let a bundle read no more. What it has found stays; images for it say "not analysed" and why.

    Example: `firstread models disable phantom-cxr --reason "no phantoms here"`
    """
    settings = settings_of(data)
    store = _store(settings)
    with _audited(settings, store):
        store.disable(name, reason=reason)
    _say(f"{name} reads no more: {reason}")


def thresholds(
    name: Name,
    finding: Annotated[str | None, typer.Argument(help="Key of a finding.")] = None,
    value: Annotated[float | None, typer.Argument(help="Score from which it is positive, 0 to 1.")] = None,
    urgency: Annotated[Urgency | None, typer.Option("--urgency", help="Class that a positive asks for.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Back to the bundle's own, of FINDING or of all.")] = False,
    reason: Why = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show a bundle's operating points, or set the site's own for images that are read from now on.

    Example: `firstread models thresholds phantom-cxr pneumothorax 0.3 --urgency STAT --reason "too many alarms"`
    """
    from firstread.bundle_tables import draw_points  # noqa: PLC0415
    from models.bundle import Bundle  # noqa: PLC0415
    from models.listing import point_rows  # noqa: PLC0415

    settings = settings_of(data)
    store = _store(settings)
    changing = value is not None or urgency is not None
    if changing and (finding is None or reset):
        raise BundleError(
            "a threshold or urgency is set for one finding, and not reset in one go.",
            next_step=f"`firstread models thresholds {name} FINDING VALUE`",
        )
    with _audited(settings, store):
        if reset:
            store.reset_points(name, finding, reason=reason)
        elif changing and finding is not None:
            store.set_point(name, finding, threshold=value, urgency=urgency, reason=reason)
    rows = point_rows(Bundle.load(store.registry(check_files=False).entry(name).directory), store.state())
    if as_json:
        Console().print_json(data=rows)
        return
    Console().print(draw_points(rows))
    if value is not None:
        _say("Sensitivity and specificity of the model card were measured at the bundle's own threshold.")


def _store(settings: Settings) -> BundleStore:
    from triage.room import Room  # noqa: PLC0415
    from workers.bundle_store import BundleStore  # noqa: PLC0415

    folder = settings.site_bundles
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    reserve = settings.room_policy.lower(Room.of(there))
    return BundleStore(folder=folder, clock=lambda: datetime.now(UTC), who=getpass.getuser(), reserve=reserve)


@contextmanager
def _audited(settings: Settings, store: BundleStore) -> Iterator[None]:
    """Record what a command has changed in the database's audit trail, also when it ends with an error."""
    before = store.state().revision
    try:
        yield
    finally:
        _record(settings, store, store.state().history[before:])


def _record(settings: Settings, store: BundleStore, changes: Sequence[Change]) -> None:
    from triage.database import Database  # noqa: PLC0415
    from workers.bundle_audit import record_changes  # noqa: PLC0415

    not_made_yet = settings.database.startswith("sqlite") and not (settings.data / "firstread.sqlite").is_file()
    if not changes or not_made_yet:
        return
    database = Database(settings.database)
    try:
        database.require_current()
        with database.write() as session:
            record_changes(session, changes)
    except FirstreadError as error:
        Console(stderr=True).print(
            f"The change stands in {store.folder / 'site.json'}, not in the audit trail: {error.advice()}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
    finally:
        database.dispose()


def _show(name: str, record: Acceptance, as_json: bool) -> None:
    from firstread.bundle_tables import draw_acceptance  # noqa: PLC0415
    from models.acceptance import Proof  # noqa: PLC0415
    from models.listing import acceptance_row  # noqa: PLC0415

    if as_json:
        Console().print_json(data={"name": name, **acceptance_row(record)})
        return
    Console().print(draw_acceptance(record))
    _say(f"{'All criteria met' if record.met else 'Not met'}, by {Proof(record.proof).sentence} ({record.data}).")


def _say(line: str) -> None:
    Console().print(line, highlight=False, soft_wrap=True, markup=False)
