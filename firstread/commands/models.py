"""``firstread models …``: the bundles of this installation; what a site decides about them is in `site`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from firstread.commands import evaluation, explanation, gate, importing, site
from firstread.commands.site import AsJson, Data, Name
from firstread.commands.training import train
from triage.errors import BundleError, SettingsError

app = typer.Typer(
    help="Bundles: import, train, evaluate, add and enable them. Guide: docs/models.md.", no_args_is_help=True
)
for command in (site.add, site.remove, site.accept, site.enable, site.disable, site.thresholds):
    app.command()(command)
importing.register(app)
app.command(name="evaluate")(evaluation.evaluate)
app.add_typer(explanation.app)


def _registry(data: Path | None, *, check_files: bool = True) -> Any:
    from models.registry import Registry  # noqa: PLC0415

    return Registry.of_site(site.settings_of(data).site_bundles, check_files=check_files)


@app.command(name="list")
def list_(data: Data = None, as_json: AsJson = False) -> None:
    """List bundles in the order in which they are asked for an image, and which of them read.

    Example: `firstread models list`
    """
    from firstread.bundle_tables import draw  # noqa: PLC0415
    from models.listing import as_row  # noqa: PLC0415
    from models.site import SiteState, read_state  # noqa: PLC0415

    entries = _registry(data).entries
    try:
        state = read_state(site.settings_of(data).site_bundles)
    except BundleError:
        state = SiteState()  # every entry says that it cannot be read
    if as_json:
        Console().print_json(data=[as_row(entry, state) for entry in entries])
    else:
        Console().print(draw(entries, state))


@app.command()
def show(name: Name, data: Data = None) -> None:
    """Print everything a bundle says about itself, under the site's operating points, as JSON.

    Example: `firstread models show phantom-cxr`
    """
    Console().print_json(_registry(data, check_files=False).entry(name).bundle.metadata.model_dump_json())


@app.command()
def card(name: Name, data: Data = None) -> None:
    """Print a bundle's model card: what it is for, what it is not, what was measured.

    Example: `firstread models card phantom-cxr`
    """
    from rich.markdown import Markdown  # noqa: PLC0415

    from models.bundle import CARD  # noqa: PLC0415

    path = _registry(data, check_files=False).entry(name).directory / CARD
    try:
        text = path.read_text(encoding="utf-8", errors="replace")  # its maker's text editor may not know UTF-8
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
    Console().print(Markdown(text))


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="All bundles by default.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Check checksums, shapes and the self-test, of graph and weights, here. Exit status 1 when one cannot be used.

    Example: `firstread models verify`
    """
    from models import self_test  # noqa: PLC0415

    problems: dict[str, str] = {}
    for entry in _registry(data).entries:
        title = entry.bundle.metadata.name if entry.bundle else entry.directory.name
        if name not in (None, title):
            continue
        problem = entry.problem
        if entry.bundle is not None and not problem:
            try:
                self_test.verify(entry.bundle)
                self_test.verify_architecture(entry.bundle)
            except BundleError as error:
                problem = str(error)
        problems[title] = problems.get(title) or problem
    if name is not None and name not in problems:
        raise BundleError(f"there is no bundle {name}.", next_step="`firstread models list` names them.")
    if as_json:
        Console().print_json(data=[{"name": n, "sound": not p, "problem": p} for n, p in problems.items()])
    else:
        for title, problem in problems.items():
            line = f"[red]✗[/] {title}: {escape(problem)}" if problem else f"[green]✓[/] {title}"
            Console().print(line, highlight=False)
    bad = [title for title, problem in problems.items() if problem]
    if bad:
        raise BundleError(
            f"{', '.join(bad)} cannot be used: its images are received and listed as not analysed.",
            next_step="Restore its files from a backup, or bring a sound copy: `firstread models add … --replace`.",
        )


app.command()(train)
app.command(name="train-gate")(gate.train_gate)
app.command(name="train-guard")(gate.train_guard)


class PhantomKind(StrEnum):
    """What a phantom is a picture of."""

    CHEST = "chest"
    HEAD_CT = "head-ct"


_LARGEST_CT = 1024


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    count: Annotated[int, typer.Option("--count", min=1, help="How many patients.")] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same patients.")] = 0,
    size: Annotated[int | None, typer.Option("--size", min=256, max=4096, help="Longer side in pixels.")] = None,
    kind: Annotated[PhantomKind, typer.Option("--kind", help="Chest radiographs, or head CTs slice by slice.")] = (
        PhantomKind.CHEST
    ),
    unseen_scanner: Annotated[
        bool, typer.Option("--unseen-scanner", help="The same patients on a scanner that no training of ours saw.")
    ] = False,
) -> None:
    """Write synthetic chest radiographs or head CTs as DICOM, with `truth.csv` and the true masks beside them.

    A head CT is a folder of slices; `slices.csv` says which of them show blood.

    Example: `firstread phantom phantoms --count 20 --seed 1`
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    from rich.progress import Progress  # noqa: PLC0415

    from models.phantom import write_head_cts, write_phantoms  # noqa: PLC0415

    if kind is PhantomKind.HEAD_CT and size is not None and size > _LARGEST_CT:
        raise SettingsError(
            f"A slice of {size} pixels is larger than any CT makes.", next_step=f"Give --size up to {_LARGEST_CT}."
        )

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("Drawing", total=count)

        def drawn(done: int, _total: int) -> None:
            bar.update(task, completed=done)

        now = datetime.now(UTC)
        if kind is PhantomKind.HEAD_CT:
            truth = write_head_cts(
                out, count, seed, taken_at=now, size=size or 512, unseen=unseen_scanner, progress=drawn
            )
        else:
            truth = write_phantoms(out, count, seed, taken_at=now, size=size, unseen=unseen_scanner, progress=drawn)
    what = "head CTs" if kind is PhantomKind.HEAD_CT else "radiographs"
    Console().print(f"{count} {what} in {out}, what they show in {truth}.", highlight=False)
