"""``firstread models import``: a model of elsewhere becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table


def register(app: typer.Typer) -> None:
    """Add ``import`` to the commands of ``firstread models``."""
    app.command(name="import")(import_)


def import_(
    source: Annotated[
        Path, typer.Argument(help=".pt, .pth, .pth.tar, .safetensors, .onnx, or a MONAI bundle's folder.")
    ],
    describe: Annotated[Path, typer.Option("--describe", help="TOML or JSON: what the file does not say by itself.")],
    out: Annotated[Path, typer.Option("--out", help="The bundle becomes a directory in here.")] = Path("bundles"),
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Turn a local model file into a bundle; nothing that the file holds is ever run.

    The description names the model, its labels in the network's order, and its input, or the convention that it
    follows (torchvision, torchxrayvision, chexnet); docs/importing.md shows one. The bundle is research: ROUTINE, not
    calibrated, until it is measured here.

    Example: `firstread models import chexnet.pth.tar --describe chexnet.toml --out imported`
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    from models.importing import description  # noqa: PLC0415
    from models.importing.assemble import import_model  # noqa: PLC0415

    described = description.load(describe)
    bundle = import_model(source, out, described, today=datetime.now(UTC).date().isoformat())
    if as_json:
        Console().print_json(data={"directory": str(bundle.directory), "name": bundle.metadata.name})
        return
    _print(bundle)


def _print(bundle: Any) -> None:
    m, console = bundle.metadata, Console()
    table = Table("Finding", "Code", "Threshold")
    for finding in m.findings:
        code = f"{finding.code.value} {finding.code.scheme} ({finding.code.meaning})"
        table.add_row(finding.key, code, f"{finding.threshold:.4g}")
    console.print(table)
    kind = m.calibration.score_kind.value.replace("_", " ").lower()
    console.print(
        f"{m.name} {m.version}: {m.architecture}, {m.input.channels} x {m.input.height} x {m.input.width} "
        f"({m.input.fit}), scores are {kind}, heat map: {m.explanation}.",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"Bundle in {bundle.directory}, self-test passed. Read {bundle.directory / 'MODEL_CARD.md'}, then "
        f"`firstread models add {bundle.directory}`.",
        highlight=False,
        soft_wrap=True,
    )
