"""``firstread models train-gate`` and ``train-guard``: what keeps images from a network, made again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def train_guard(
    name: Annotated[str, typer.Argument(help="phantom-cxr or nih-cxr-research.")],
    run: Annotated[Path, typer.Option("--run", help="Folder for prepared images.")],
    out: Annotated[Path, typer.Option("--out", help="Folder that receives the bundle with its guard.")],
    images: Annotated[Path | None, typer.Option("--images", help="Folder of NIH images.")] = None,
    table: Annotated[Path | None, typer.Option("--table", help="Their labels.")] = None,
) -> None:
    """Fit the guard of a shipped bundle again; its weights stay. `firstread models train` fits one by itself.

    Example: `firstread models train-guard phantom-cxr --run runs/guard --out runs/phantom-cxr`
    """
    from models.training.shipped_guards import guard_shipped  # noqa: PLC0415

    console = Console()
    today = datetime.now(UTC).date().isoformat()
    made = guard_shipped(name, run, out, images=images, table=table, date=today, report=lambda _event, _figures: None)
    console.print(f"Bundle in {made.directory}; read {made.directory / 'MODEL_CARD.md'}.", highlight=False)


def train_gate(
    images: Annotated[Path, typer.Option("--images", help="Folder of frontal chests of adults: PNG or JPEG.")],
    table: Annotated[
        Path, typer.Option("--table", help="CSV with file, patient and, if there is one, official_split.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder that receives the gate.")],
    seed: Annotated[int, typer.Option("--seed", help="The same seed on a CPU gives the same weights.")] = 1,
) -> None:
    """Train the gate that ships: real frontal chests, phantoms, and drawings of everything else. Some CPU-minutes.

    Example: `firstread models train-gate --images nih-320 --table nih_labels.csv --out gate`
    """
    from models.training.gate.plan import GatePlan  # noqa: PLC0415
    from models.training.gate.run import train_gate as run  # noqa: PLC0415

    console = Console()
    today = datetime.now(UTC).date().isoformat()
    made = run(
        images, table, out, GatePlan(seed=seed), date=today, report=lambda text: console.print(text, markup=False)
    )
    console.print(f"Gate in {made}; read {made / 'MODEL_CARD.md'}.", highlight=False)
