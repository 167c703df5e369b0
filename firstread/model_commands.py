"""``firstread models …``: the bundles of this installation."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from triage.errors import BundleError, SettingsError

app = typer.Typer(help="Bundles: list, show, verify and train them.", no_args_is_help=True)


def _registry() -> Any:
    from models.registry import Registry  # noqa: PLC0415
    from triage.settings import load_settings  # noqa: PLC0415
    from workers.workbench import bundle_directories  # noqa: PLC0415

    return Registry.load(bundle_directories(load_settings()))


@app.command(name="list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List bundles in the order in which they are asked for an image.

    Example: `firstread models list`
    """
    entries = _registry().entries
    if as_json:
        rows = [
            {
                "directory": str(entry.directory),
                "name": entry.bundle.metadata.name if entry.bundle else None,
                "version": entry.bundle.metadata.version if entry.bundle else None,
                "available": entry.available,
                "problem": entry.problem,
            }
            for entry in entries
        ]
        Console().print_json(data=rows)
        return
    table = Table("Bundle", "Version", "Standing", "Findings", "Input", "State")
    for entry in entries:
        if entry.bundle is None:
            table.add_row(entry.directory.name, "", "", "", "", f"[red]{entry.problem}[/]")
            continue
        m = entry.bundle.metadata
        state = "[green]available[/]" if entry.available else f"[red]{entry.problem or 'disabled'}[/]"
        standing = "research only" if m.research else "product"
        findings = ", ".join(f"{f.key} ≥ {f.threshold:.2f} → {f.urgency}" for f in m.findings)
        table.add_row(m.name, m.version, standing, findings, f"{m.input.height} × {m.input.width}", state)
    Console().print(table)


@app.command()
def show(name: str) -> None:
    """Print everything a bundle says about itself, as JSON.

    Example: `firstread models show phantom-cxr`
    """
    Console().print_json(_registry().get(name).metadata.model_dump_json())


@app.command()
def card(name: str) -> None:
    """Print a bundle's model card: what it is for, what it is not, what was measured.

    Example: `firstread models card phantom-cxr`
    """
    from rich.markdown import Markdown  # noqa: PLC0415

    directory = _registry().get(name).directory
    Console().print(Markdown((directory / "MODEL_CARD.md").read_text(encoding="utf-8")))


@app.command()
def verify(name: Annotated[str | None, typer.Argument(help="All bundles by default.")] = None) -> None:
    """Check checksums, shapes and the stored self-test on this machine.

    Example: `firstread models verify`
    """
    from models import self_test  # noqa: PLC0415

    console, bad = Console(), []
    for entry in _registry().entries:
        title = entry.bundle.metadata.name if entry.bundle else entry.directory.name
        if name not in (None, title):
            continue
        problem = entry.problem
        if entry.bundle is not None and not problem:
            try:
                self_test.verify(entry.bundle)
            except BundleError as error:
                problem = str(error)
        console.print(f"[red]✗[/] {title}: {problem}" if problem else f"[green]✓[/] {title}", highlight=False)
        if problem:
            bad.append(title)
    if bad:
        raise BundleError(f"{', '.join(bad)} cannot be used.")


class Shipped(StrEnum):
    """Bundles whose training plan ships with the product."""

    PHANTOM_CXR = "phantom-cxr"
    PHANTOM_HEAD_CT = "phantom-head-ct"
    NIH_CXR_RESEARCH = "nih-cxr-research"


@app.command()
def train(
    name: Annotated[Shipped, typer.Argument(help="Which plan.")],
    run: Annotated[Path, typer.Option("--run", help="Run directory: data, curves, checkpoints, the bundle.")],
    images: Annotated[Path | None, typer.Option("--images", help="Folder of images (nih-cxr-research).")] = None,
    table: Annotated[Path | None, typer.Option("--table", help="CSV of labels (nih-cxr-research).")] = None,
) -> None:
    """Train a bundle: data, network, calibration, thresholds, measurement on unseen images, model card.

    Stopped, it goes on from its last epoch when it is called again. A finished bundle lies in the run directory; copy
    it to the site's `bundles` folder to use it.

    Example: `firstread models train phantom-cxr --run runs/phantom`
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    from firstread.training import train_shipped  # noqa: PLC0415

    bundle = train_shipped(name, run, images=images, table=table, today=datetime.now(UTC).date(), console=Console())
    Console().print(f"Bundle in {bundle.directory}; read {bundle.directory / 'MODEL_CARD.md'}.", highlight=False)


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
            truth = write_head_cts(out, count, seed, taken_at=now, size=size or 512, progress=drawn)
        else:
            truth = write_phantoms(out, count, seed, taken_at=now, size=size, progress=drawn)
    what = "head CTs" if kind is PhantomKind.HEAD_CT else "radiographs"
    Console().print(f"{count} {what} in {out}, what they show in {truth}.", highlight=False)
