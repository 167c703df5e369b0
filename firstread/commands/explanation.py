"""``firstread models explain-check``: whether the heat maps of a bundle can be believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from firstread.bundle_argument import bundle_named
from triage.errors import BundleError, ExplanationError

if TYPE_CHECKING:
    from models.bundle import Bundle

app = typer.Typer()
"""Added to ``firstread models``."""

FIGURES = "explanation.json"


@app.command(name="explain-check")
def explain_check(
    bundle: Annotated[str, typer.Argument(help="Name of a bundle of this installation, or its directory.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the figures and the bundle that follows from them.")],
    phantoms: Annotated[int, typer.Option("--phantoms", min=1, help="How many phantoms to draw.")] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of phantoms, random maps and shuffled weights.")] = 31,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", help="Folder of pictures in place of phantoms; where a finding lies is then not measured."
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="Another method than the bundle's own, to compare.")
    ] = None,
) -> None:
    """Measure where a bundle's heat maps lie and what they depend on, and judge whether they may be shown.

    Writes `explanation.json` and, below `bundle/`, a copy of the bundle whose figures and card hold the result; a
    bundle whose maps fail ships none. Ends with status 1 when they fail. Choose a seed that training has not used.

    Example: `firstread models explain-check phantom-cxr --phantoms 200 --seed 31 --out checked`
    """
    from models.bundle_writer import write_again  # noqa: PLC0415
    from models.explaining.statement import EXPLANATION  # noqa: PLC0415
    from models.explaining.verdict import judge  # noqa: PLC0415

    console = Console()
    from triage.settings import load_settings  # noqa: PLC0415

    checked = bundle_named(bundle, load_settings())
    figures = _figures(checked, phantoms, seed, images, method)
    verdict = judge(figures)
    figures |= {"shown": verdict.shown, "failures": verdict.failures, "unjudged": verdict.unjudged}
    out.mkdir(parents=True, exist_ok=True)
    (out / FIGURES).write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    _show(console, figures)
    for line in verdict.failures:
        console.print(f"[red]✗[/] {line}", highlight=False)
    for line in verdict.unjudged:
        console.print(f"[yellow]?[/] {line}", highlight=False)
    if figures["method"] == checked.metadata.explanation:
        known = json.loads((checked.directory / "evaluation.json").read_bytes())
        copy = write_again(checked, out / "bundle" / checked.metadata.name, {**known, EXPLANATION: figures})
        console.print(f"Figures in {out / FIGURES}, the bundle with them in {copy.directory}.", highlight=False)
    else:
        console.print(f"Figures in {out / FIGURES}; the bundle's own method was not touched.", highlight=False)
    if not verdict.shown:
        console.print("[red]The heat maps fail: the bundle ships none.[/]")
        raise typer.Exit(1)
    console.print("[green]No figure misses its limit.[/]")


def _figures(bundle: Bundle, phantoms: int, seed: int, images: Path | None, method: str | None) -> dict[str, Any]:
    from models import networks  # noqa: PLC0415 - torch
    from models.explaining.cases import phantom_cases, picture_cases  # noqa: PLC0415
    from models.explaining.faithfulness import measure  # noqa: PLC0415
    from models.inference import Predictor  # noqa: PLC0415

    metadata = bundle.metadata
    if images is not None and not images.is_dir():
        raise BundleError(f"{images} is not a folder.", next_step="Give --images a folder of PNG, JPEG or DICOM files.")
    keys = [finding.key for finding in metadata.findings]
    cases = (
        phantom_cases(phantoms, seed, metadata.input, keys) if images is None else picture_cases(images, metadata.input)
    )
    network = networks.restore(metadata.architecture, len(keys), bundle.weights)
    with Console(stderr=True).status("…") as status:

        def progress(what: str, done: int) -> None:
            status.update(f"{what} {done}")

        figures = measure(
            Predictor.load(bundle, device="cpu"), cases, method=method, network=network, seed=seed, progress=progress
        )
    if not any(row["maps"] for row in figures["findings"].values()):
        raise ExplanationError(
            "none of these images has a finding that the network sees: there is no heat map to check.",
            next_step="Give more phantoms, or images that show the bundle's findings.",
        )
    source = f"{phantoms} phantoms of series {seed}" if images is None else f"the images of {images.name}"
    return {"source": source, **figures}


def _show(console: Console, figures: dict[str, Any]) -> None:
    titles = {
        "pointing": "pointing",
        "pointing_by_chance": "by chance",
        "iou": "IoU",
        "energy": "energy",
        "energy_by_chance": "by chance",
        "deletion_gain": "deletion gain",
        "insertion_gain": "insertion gain",
    }
    table = Table("Finding", "maps", *titles.values(), title=f"{figures['method']} on {figures['source']}")
    for key, row in figures["findings"].items():
        table.add_row(key, str(row["maps"]), *(_short(row.get(name)) for name in titles))
    console.print(table)
    if figures.get("randomisation"):
        table = Table("Shuffled down to", "rank correlation", "SSIM")
        for stage in figures["randomisation"]:
            table.add_row(stage["down_to"], _short(stage["rank_correlation"]), _short(stage["ssim"]))
        console.print(table)


def _short(figure: Any) -> str:
    if figure is None:
        return ""
    if isinstance(figure, dict):
        return f"{figure['value']:.2f} ({figure['low']:.2f}…{figure['high']:.2f})"
    return f"{figure:.2f}"
