"""The plan of a site's own training: what a folder, a table and a list of findings leave open, filled in and stated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from models.metadata import InputSpec, RoutingConditions
from models.training.errors import PlanError, TrainingDataError
from models.training.layouts import layout_of
from models.training.plan import (
    ArraysSource,
    Augmentation,
    Description,
    FindingPlan,
    FolderSource,
    TrainingPlan,
)
from models.training.plan_file import checked, read_findings
from triage.findings import Urgency

Layout = Literal["auto", "nih", "chexpert", "mimic", "plain", "medmnist"]
FRONTAL = ("PA", "AP")
_MIMIC_TABLES = {"split_table": "mimic-cxr-2.*-split.csv*", "metadata_table": "mimic-cxr-2.*-metadata.csv*"}
_ADULT_YEARS = 18.0
_MIN_SPECIFICITY = 0.9
"""On some hundred negatives a specificity of 0.98 hangs on two of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteData:
    """What somebody names on a command line.

    Attributes
    ----------
    images : Path or None
        Folder of images; None for medmnist, whose table holds them.
    table : Path
        CSV of labels, or the ``.npz`` of the layout medmnist.
    findings : Path
        ``findings.toml``.
    options : mapping
        Fields of :class:`~models.training.plan.FolderSource` or of ArraysSource that are not to be the usual ones.
    """

    images: Path | None
    table: Path
    layout: Layout
    findings: Path
    options: Mapping[str, Any]


def site_plan(
    data: SiteData, *, name: str, date: str, size: int, changes: Mapping[str, Any], collimation: float = 0.2
) -> TrainingPlan:
    """A plan that :func:`models.training.train` runs and :func:`models.training.plan_file.plan_text` prints.

    The bundle it ends in is for research: it moves no case until somebody has measured it and says otherwise, so its
    findings are ROUTINE whatever ``findings.toml`` asks for.

    Parameters
    ----------
    size : int
        Side of the network's square input, pixels.
    changes : mapping
        Further fields of the plan.

    Raises
    ------
    PlanError
        A value out of its range, or an option that the layout does not have.
    TrainingDataError
        The table is of no known layout.
    """
    findings, labels = read_findings(data.findings)
    source = _source(data, labels)
    research = tuple(replace(finding, urgency=Urgency.ROUTINE) for finding in findings)
    # Whom an .npz shows is not stated; a folder of radiographs is taken to be of adults unless the plan says otherwise.
    youngest = None if isinstance(source, ArraysSource) else _ADULT_YEARS
    plan = TrainingPlan(
        source=source,
        findings=research,
        describe=_description(name, source, findings),
        routing=RoutingConditions(min_age_years=youngest),
        input=InputSpec(height=size, width=size, mean=0.5, std=0.25),
        min_specificity=_MIN_SPECIFICITY,
        date=date,
        augmentation=Augmentation(collimation=collimation),
    )
    try:
        return checked(replace(plan, **changes))
    except TypeError as error:
        raise PlanError(f"the plan has no such field ({error}).") from error


def _source(data: SiteData, labels: dict[str, tuple[str, ...]]) -> FolderSource | ArraysSource:
    options = dict(data.options)
    if data.layout == "medmnist" or (data.layout == "auto" and data.table.suffix == ".npz"):
        unfit = sorted(options.keys() - {"shared_images"})
        if unfit:
            raise PlanError(f"{', '.join(unfit)}: the layout medmnist has no such option.", next_step="Leave it out.")
        return ArraysSource(arrays=data.table, labels=labels, **options)
    if data.images is None:
        raise TrainingDataError("a table needs its images.", next_step="Give --images with their folder.")
    source = FolderSource(images=data.images, table=data.table, labels=labels, views=FRONTAL)
    named: dict[str, Any] = {"layout": data.layout}
    layout = layout_of(replace(source, **named))
    beside: dict[str, Any] = {"layout": layout}
    if layout == "mimic":
        beside |= {key: found for key, pattern in _MIMIC_TABLES.items() if (found := _beside(data.table, pattern))}
    if layout in {"chexpert", "mimic"}:
        # CheXpert's labeler leaves blank what a report does not mention; its authors read that as negative.
        beside["blanks"] = "negative"
    return replace(source, **{**beside, **options})


def _beside(table: Path, pattern: str) -> Any:
    return next(iter(sorted(table.parent.glob(pattern))), None)


def _description(
    name: str, source: FolderSource | ArraysSource, findings: tuple[FindingPlan, ...]
) -> Description:  # fmt: skip
    limits = [
        "It has been measured on images of the same origin as those it learned from, nowhere else.",
        "Its labels are those of its table; nobody has checked them for it.",
        f"It knows {', '.join(finding.key for finding in findings)}; everything else is invisible to it.",
    ]
    if isinstance(source, ArraysSource):
        limits.append("Its images name no patients: that none is on two sides of the split cannot be proven.")
        data, notes = f"{source.arrays.name}, layout medmnist", ""
    else:
        data = f"{source.table.name}, layout {source.layout}"
        notes = f"Split by patients; uncertain labels: {source.uncertain}, blank labels: {source.blanks}"
    return Description(
        name=name,
        version="0.1.0",
        manufacturer="this site",
        licence="LicenseRef-site",
        intended_use="Research at the site that trained it.",
        limits=tuple(limits),
        disclaimer="RESEARCH USE ONLY - NOT FOR DIAGNOSIS",
        research=True,
        data=data,
        notes=notes,
    )
