"""``firstread models evaluate``: what a bundle is worth on one's own images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from firstread.bundle_argument import bundle_named
from triage.errors import SettingsError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from models.evaluating.labelled import LabelledSource
    from models.evaluating.run import Division, PhantomSeries

_SEE_HELP = "See `firstread models evaluate --help`."


class IntervalChoice(StrEnum):
    """How the interval of the AUC is made."""

    AUTO = "auto"
    DELONG = "delong"
    BOOTSTRAP = "bootstrap"


def evaluate(
    name: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name of a bundle, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for report.html, report.json, MODEL_CARD.md.")],
    images: Annotated[Path | None, typer.Option("--images", help="Folder of DICOM, PNG or JPEG files.")] = None,
    table: Annotated[Path | None, typer.Option("--table", help="CSV with a row of labels per image.")] = None,
    external: Annotated[Path | None, typer.Option("--external", help="Folder of images from another place.")] = None,
    external_table: Annotated[Path | None, typer.Option("--external-table", help="CSV of their labels.")] = None,
    phantoms: Annotated[int | None, typer.Option("--phantoms", min=1, help="Instead of --images: so many.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Series of the phantoms.")] = 1000,
    unseen_scanner: Annotated[
        bool, typer.Option("--unseen-scanner", help="With --phantoms: taken on a scanner that no training of ours saw.")
    ] = False,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="finding=NAME[,NAME]: what the tables call it; repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="COLUMN=VALUE: rows of --table left out; repeatable.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="COLUMN of the tables: figures for each value; repeatable.")
    ] = None,
    validation: Annotated[
        str | None, typer.Option("--validation", help="COLUMN=VALUE: rows on which thresholds are chosen.")
    ] = None,
    test: Annotated[
        str | None, typer.Option("--test", help="COLUMN=VALUE: rows that are measured; else all that remain.")
    ] = None,
    validation_share: Annotated[
        float, typer.Option("--validation-share", min=0, max=0.9, help="Of the patients, without --validation.")
    ] = 0.3,
    as_trained: Annotated[
        bool, typer.Option("--as-trained", help="The bundle was trained on this table: only patients it held out.")
    ] = False,
    prevalence: Annotated[
        list[str] | None, typer.Option("--prevalence", help="finding=0.02: how common it is at your place; repeatable.")
    ] = None,
    target_sensitivity: Annotated[
        float, typer.Option("--target-sensitivity", min=0.01, max=1, help="Of the threshold that is proposed.")
    ] = 0.95,
    label_error: Annotated[
        list[float] | None, typer.Option("--label-error", min=0, max=0.49, help="Share of wrong labels; repeatable.")
    ] = None,
    interval: Annotated[IntervalChoice, typer.Option("--interval", help="Of the AUC.")] = IntervalChoice.AUTO,
    routing: Annotated[
        bool, typer.Option("--routing/--no-routing", help="Leave out what the bundle would refuse in service.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="A summary for programs.")] = False,
) -> None:
    """Measure a bundle on labelled images, on the product's own path, and write the report and a model card.

    Thresholds are chosen on other patients than they are measured on. Predictions are kept in --out: called again
    after a kill, it goes on.

    The table is NIH ChestX-ray14's (`Image Index`, `Finding Labels`, `Patient ID`), the same as `file`, `label`,
    `patient`, or `file` with a column of 0 and 1 per finding; columns of age, sex, view and manufacturer are taken
    where they are, and from DICOM headers else. Where images come from several places, give that column as --group.

    Example: `firstread models evaluate phantom-cxr --phantoms 200 --out runs/phantom-cxr`

    Example: `firstread models evaluate my-bundle --images cxr --table labels.csv --prevalence pneumothorax=0.02
    --out runs/mine`
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    from models.decoder import Decoder  # noqa: PLC0415
    from models.evaluating.figures import USUAL_LABEL_ERRORS, Choices  # noqa: PLC0415
    from models.evaluating.report import write  # noqa: PLC0415
    from models.evaluating.run import Request  # noqa: PLC0415
    from models.evaluating.run import evaluate as measure  # noqa: PLC0415
    from triage.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    bundle = bundle_named(name, settings)
    keys = [finding.key for finding in bundle.metadata.findings]
    labels = {key: tuple(part.strip() for part in text.split(",")) for key, text in _pairs("--label", label, keys)}
    request = Request(
        bundle=bundle,
        internal=_internal(images, table, _series(phantoms, seed, unseen_scanner), labels, exclude, group),
        external=_folder("--external", external, external_table, labels, {}, group),
        division=_division(validation, test, validation_share, as_trained=as_trained, phantoms=phantoms is not None),
        routing=routing,
        choices=Choices(
            interval=interval.value,
            target_sensitivity=target_sensitivity,
            prevalence={key: _share(key, text) for key, text in _pairs("--prevalence", prevalence, keys)},
            label_errors=tuple(label_error or USUAL_LABEL_ERRORS),
        ),
    )
    decoder = Decoder(megabytes=settings.decoder_megabytes, seconds=settings.decoder_seconds)
    try:
        with _progress() as progress:
            report = measure(request, out, now=datetime.now(UTC), codec=decoder.decode, progress=progress)
    finally:
        decoder.close()
    written = write(report, bundle.metadata, out)
    if as_json:
        Console().print_json(data={**_summary(report), "files": [str(path) for path in written]})
    else:
        _print(report, written)


def _internal(
    images: Path | None, table: Path | None, phantoms: PhantomSeries | None,
    labels: Mapping[str, tuple[str, ...]], exclude: list[str] | None, groups: list[str] | None,
) -> LabelledSource | PhantomSeries:  # fmt: skip
    source = _folder("--images", images, table, labels, dict(_pairs("--exclude", exclude)), groups) or phantoms
    if source is None or (images is not None and phantoms is not None):
        raise SettingsError("--images with --table, or --phantoms: one of them is needed.", next_step=_SEE_HELP)
    return source


def _series(count: int | None, seed: int, unseen: bool) -> PhantomSeries | None:
    from models.evaluating.run import PhantomSeries  # noqa: PLC0415

    if count is None and unseen:
        raise SettingsError("the unseen scanner is one of the phantoms.", next_step="Give --phantoms, or leave it out.")
    return None if count is None else PhantomSeries(count=count, seed=seed, unseen=unseen)


def _folder(
    option: str, images: Path | None, table: Path | None,
    labels: Mapping[str, tuple[str, ...]], exclude: Mapping[str, str], groups: list[str] | None,
) -> LabelledSource | None:  # fmt: skip
    from models.evaluating.labelled import LabelledSource  # noqa: PLC0415

    if images is None and table is None:
        return None
    if images is None or table is None:
        raise SettingsError(f"{option} needs a folder and a table of labels, both.", next_step=_SEE_HELP)
    if not images.is_dir():
        raise SettingsError(f"{option}: {images} is not a folder.", next_step="Name the folder of the images.")
    return LabelledSource(images=images, table=table, labels=labels, exclude=exclude, groups=tuple(groups or ()))


def _division(validation: str | None, test: str | None, share: float, *, as_trained: bool, phantoms: bool) -> Division:
    from models.evaluating.run import Division  # noqa: PLC0415

    if as_trained and (validation or test or phantoms):
        raise SettingsError(
            "--as-trained already says which patients are validation and test.",
            next_step="Leave out --validation, --test and --phantoms, or --as-trained.",
        )
    if phantoms and (validation or test):
        raise SettingsError("phantoms have no table whose column could say which are validation.", next_step=_SEE_HELP)
    return Division(
        validation=next(_pairs("--validation", [validation]), None) if validation else None,
        test=next(_pairs("--test", [test]), None) if test else None,
        share=share,
        as_trained=as_trained,
    )


def _pairs(option: str, texts: list[str] | None, keys: Sequence[str] | None = None) -> Iterator[tuple[str, str]]:
    for text in texts or ():
        key, sign, value = text.partition("=")
        if not sign or not key or not value:
            raise SettingsError(f"{option} {text!r} is not NAME=VALUE.", next_step=_SEE_HELP)
        if keys is not None and key not in keys:
            raise SettingsError(
                f"{option}: the bundle has no finding {key}.", next_step=f"Its findings are {', '.join(keys)}."
            )
        yield key, value


def _share(key: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise SettingsError(
            f"--prevalence {key}={text} is not a share between 0 and 1.", next_step="For 2 % give 0.02."
        )
    return share


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, one line per step of the work."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield show


def _summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that a program asks for first; all are in report.json."""
    names = ("positives", "negatives", "auc", "threshold", "sensitivity", "specificity", "ppv", "npv",
             "expected_calibration_error", "brier_score", "notes")  # fmt: skip
    return {
        "bundle": report["bundle"]["name"],
        "version": report["bundle"]["version"],
        "images": report["test"]["images"],
        "left_out": {name: side["left_out"] for name, side in report["left_out"].items()},
        "missing_images": report["missing_images"],
        "findings": {
            key: {name: figures[name] for name in names} for key, figures in report["test"]["findings"].items()
        },
        "notes": report["notes"],
    }


def _print(report: Mapping[str, Any], written: Sequence[Path]) -> None:
    table = Table(Column("Finding", overflow="fold"), "+ / −", "AUC", "Sensitivity", "Specificity", "ECE")
    for key, figures in report["test"]["findings"].items():
        error = figures["expected_calibration_error"]
        rates = (_interval(figures[name]) for name in ("auc", "sensitivity", "specificity"))
        counts = f"{figures['positives']} / {figures['negatives']}"
        table.add_row(key, counts, *rates, "–" if error is None else f"{error:.3f}")
    console = Console()
    console.print(table)
    for name, side in report["left_out"].items():
        console.print(
            f"{name}: {side['analysed']} of {side['images']} images analysed, {side['left_out']} left out",
            highlight=False,
        )
    for note in report["notes"]:
        console.print(f"Note: {note}", highlight=False, markup=False)
    console.print(f"Read {written[0]}; the same figures are in {written[1]}.", highlight=False, soft_wrap=True)


def _interval(figure: Mapping[str, float] | None) -> str:
    return "–" if figure is None else f"{figure['value']:.3f}\n{figure['low']:.3f} to {figure['high']:.3f}"
