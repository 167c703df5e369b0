"""``firstread models train``: a shipped plan, a plan file, or a site's own images and labels."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from triage.errors import SettingsError

if TYPE_CHECKING:
    from models.training.plan import TrainingPlan

_PHANTOMS = ("phantom-cxr", "phantom-head-ct")
_NIH = "nih-cxr-research"
_SHIPPED = (*_PHANTOMS, _NIH)
_SIDES = ("train", "validation", "test")

Layout = Literal["auto", "nih", "chexpert", "mimic", "plain", "medmnist"]


def train(
    what: Annotated[
        str | None,
        typer.Argument(help=f"A plan file (plan.toml) or a shipped plan: {', '.join(_SHIPPED)}. None: your own data."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", "--run-directory", help="Curves, checkpoint, cache, the bundle; the long name for torchrun."
        ),
    ] = None,
    images: Annotated[Path | None, typer.Option("--images", help="Folder of PNG, JPEG or DICOM.")] = None,
    table: Annotated[Path | None, typer.Option("--table", help="CSV of labels; .npz for medmnist.")] = None,
    findings: Annotated[
        Path | None, typer.Option("--findings", help="findings.toml: what to learn, from which labels.")
    ] = None,
    layout: Annotated[Layout, typer.Option("--layout", help="Of the table; auto reads its columns.")] = "auto",
    name: Annotated[str, typer.Option("--name", help="Of the bundle.")] = "site-cxr",
    side: Annotated[
        list[str] | None,
        typer.Option("--side", help="SIDE=FILE, repeatable: a list or table that fixes train, validation or test."),
    ] = None,
    split_table: Annotated[Path | None, typer.Option("--split-table", help="MIMIC-CXR-JPG's split table.")] = None,
    metadata_table: Annotated[
        Path | None, typer.Option("--metadata-table", help="MIMIC-CXR-JPG's metadata table.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="COLUMN=VALUE, repeatable: rows to leave out.")
    ] = None,
    uncertain: Annotated[
        Literal["ignore", "zeros", "ones"] | None, typer.Option("--uncertain", help="What a label of -1 means.")
    ] = None,
    blanks: Annotated[
        Literal["negative", "unknown"] | None, typer.Option("--blanks", help="What an empty label means.")
    ] = None,
    unusable: Annotated[
        Literal["refuse", "skip"] | None, typer.Option("--unusable", help="Images missing or unreadable.")
    ] = None,
    shared_images: Annotated[
        Literal["refuse", "merge", "drop"] | None,
        typer.Option("--shared-images", help="One picture under two patients, or on two sides of an .npz."),
    ] = None,
    architecture: Annotated[str | None, typer.Option("--architecture", help="As `models.networks` names it.")] = None,
    size: Annotated[int, typer.Option("--size", min=32, max=4096, help="Side of the input, pixels.")] = 320,
    start_from: Annotated[
        Path | None, typer.Option("--start-from", help="Bundle, or safetensors with torchvision's names.")
    ] = None,
    frozen_epochs: Annotated[int | None, typer.Option("--frozen-epochs", help="First only the head learns.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs")] = None,
    patience: Annotated[int | None, typer.Option("--patience", help="Epochs without a better AUC.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Images in a step, over all processes.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate")] = None,
    schedule: Annotated[Literal["cosine", "plateau", "constant"] | None, typer.Option("--schedule")] = None,
    imbalance: Annotated[
        str | None, typer.Option("--imbalance", help="weights, focal, oversample, joined by commas, or none.")
    ] = None,
    precision: Annotated[Literal["float32", "bf16", "fp16"] | None, typer.Option("--precision")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option("--device")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads, and processes that read.")
    ] = None,
    folds: Annotated[int | None, typer.Option("--folds", help="k-fold cross-validation by patients.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed on a CPU gives the same weights.")] = None,
    write_plan: Annotated[bool, typer.Option("--write-plan", help="Print the plan as TOML and stop.")] = False,
) -> None:
    """Train a bundle: data, network, calibration, thresholds, measurement on unseen images, model card.

    Killed, it goes on from its last checkpoint when it is called again. A finished bundle lies in the run directory.
    Layouts of tables: NIH ChestX-ray14 (Image Index, Finding Labels, Patient ID), CheXpert (Path), MIMIC-CXR-JPG
    (subject_id, study_id), plain (file, patient, and label or a column per finding), MedMNIST (.npz). Plan files can
    say everything that options cannot: docs/training.md.

    Example: `firstread models train phantom-cxr --run runs/phantom`

    Example: `firstread models train --images nih --table Data_Entry_2017.csv --side train=train_val_list.txt
    --side test=test_list.txt --findings findings.toml --run runs/mine`

    Example: `firstread models train nih-cxr-research --images nih --table nih_labels.csv --write-plan > plan.toml`

    Example: `firstread models train plan.toml --run runs/mine`

    Example: `torchrun --nproc-per-node 4 -m firstread models train plan.toml --run-directory runs/mine`
    """
    today, console = datetime.now(UTC).date(), Console()
    given = {
        "architecture": architecture,
        "start_from": start_from,
        "frozen_epochs": frozen_epochs,
        "epochs": epochs,
        "patience": patience,
        "batch": batch,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "imbalance": _words(imbalance),
        "precision": precision,
        "device": device,
        "threads": threads,
        "folds": folds,
        "seed": seed,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    told = {
        "lists": _pairs(side, "--side", _SIDES),
        "exclude": _pairs(exclude, "--exclude"),
        "split_table": split_table,
        "metadata_table": metadata_table,
        "uncertain": uncertain,
        "blanks": blanks,
        "unusable": unusable,
        "shared_images": shared_images,
    }
    source = {key: value for key, value in told.items() if value}
    if what is not None and (source or findings):
        raise SettingsError(
            f"{what} says itself how its table is read.", next_step="Print it with --write-plan, or edit the plan file."
        )
    if what in _PHANTOMS:
        from firstread.training import train_phantoms  # noqa: PLC0415

        if write_plan or changes.keys() - {"threads"} or images or table:
            raise SettingsError(
                f"{what} is made in stages, as it shipped: its plan is neither printed nor changed.",
                next_step="Give --run, and --threads if you like; the stages stand in models/training/shipped.py.",
            )
        bundle = train_phantoms(what, _needed(run), today=today, console=console, threads=threads)
        _say_where([bundle.directory], console)
        return
    if what == _NIH:
        from firstread.training import nih_plan  # noqa: PLC0415

        plan = nih_plan(images=images, table=table, today=today, changes=changes)
    elif what is not None:
        from models.training.plan_file import read_plan  # noqa: PLC0415

        if images or table or changes:
            raise SettingsError(
                "A plan file names its own images, table and settings.", next_step="Edit the file, or leave it out."
            )
        if not Path(what).is_file():
            raise SettingsError(
                f"{what} is neither a plan file nor a shipped plan.", next_step=f"Shipped are {', '.join(_SHIPPED)}."
            )
        plan = read_plan(Path(what))
    else:
        plan = _own_plan(images, table, findings, layout, name, size, today.isoformat(), source, changes)
    if write_plan:
        from models.training.plan_file import plan_text  # noqa: PLC0415

        typer.echo(plan_text(plan), nl=False)
        return
    from firstread.training import train_plan  # noqa: PLC0415

    _say_where([bundle.directory for bundle in train_plan(plan, _needed(run), console)], console)


def _own_plan(
    images: Path | None,
    table: Path | None,
    findings: Path | None,
    layout: Layout,
    name: str,
    size: int,
    date: str,
    source: dict[str, Any],
    changes: dict[str, Any],
) -> TrainingPlan:
    from models.training.site_plan import SiteData, site_plan  # noqa: PLC0415

    if table is None or findings is None:
        raise SettingsError(
            "Training on your own data needs a table of labels and a list of findings.",
            next_step="Give --table and --findings (and --images), a plan file, or one of " + ", ".join(_SHIPPED) + ".",
        )
    data = SiteData(images=images, table=table, layout=layout, findings=findings, options=source)
    return site_plan(data, name=name, date=date, size=size, changes=changes)


def _pairs(texts: list[str] | None, option: str, names: tuple[str, ...] = ()) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not (key and equals and value) or (names and key not in names):
            wanted = f"{'|'.join(names) or 'NAME'}=VALUE"
            raise SettingsError(f"{option} {text}: expected {wanted}.", next_step=f"Write it as {wanted}.")
        pairs[key] = value
    return pairs


def _words(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(word.strip() for word in text.split(",") if word.strip() not in {"", "none"})


def _needed(run: Path | None) -> Path:
    if run is None:
        raise SettingsError("A training needs a run directory.", next_step="Give --run with a folder.")
    return run


def _say_where(bundles: list[Path], console: Console) -> None:
    for directory in bundles:
        console.print(f"Bundle in {directory}; read {directory / 'MODEL_CARD.md'}.", highlight=False)
