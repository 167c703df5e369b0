"""What a training run does, as plain data that is written beside its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.metadata import InputSpec, RoutingConditions
from triage.findings import Code, Urgency

DEFAULT_INPUT = InputSpec(height=320, width=320, mean=0.5, std=0.25)
"""A lung nodule of 8 mm still covers 6 pixels, and the class activation map has 10 x 10 cells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomSource:
    """Synthetic radiographs made for the run: training, validation and test come from three unrelated seeds.

    Attributes
    ----------
    train, validation, test : int
        Number of phantoms.
    seed : int
        Training uses it, validation seed + 1, the test set seed + 2.
    size : int
        Longer side in pixels before they are fitted to the network's input.
    test_seed : int, optional
        Another series for the test set, where an earlier stage was already measured on seed + 2.
    emphasis : str
        Finding that every second training phantom shows besides its own; empty for none. Validation and test keep
        the phantoms' own shares, and so does the calibration.
    """

    train: int = 6000
    validation: int = 1000
    test: int = 1500
    seed: int = 1
    size: int = 640
    test_seed: int | None = None
    emphasis: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSource:
    """Radiographs in a folder with a table of labels; split by patient.

    The table is CSV in one of three layouts: NIH ChestX-ray14 (``Image Index``, ``Finding Labels``, ``Patient ID``),
    the same with the columns ``file``, ``label``, ``patient``, or ``file`` with a column of 0, 1 or nothing (unknown)
    per finding.

    Attributes
    ----------
    images : Path
        Folder of PNG, JPEG or DICOM files.
    table : Path
        The CSV file.
    labels : mapping of str to tuple of str
        Finding key → the labels of the table that mean it.
    exclude : mapping of str to str
        Column → value: rows with it are left out of training, validation and test alike.
    validation, test : float
        Share of the patients.
    """

    images: Path
    table: Path
    labels: Mapping[str, tuple[str, ...]]
    exclude: Mapping[str, str] = field(default_factory=dict)
    validation: float = 0.2
    test: float = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingPlan:
    """A finding to learn: what it is called and which class of the reading list a positive asks for."""

    key: str
    code: Code
    site: Code | None = None
    urgency: Urgency = Urgency.ROUTINE


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What the bundle will say about itself and no measurement can know."""

    name: str
    version: str
    manufacturer: str
    licence: str
    intended_use: str
    limits: tuple[str, ...]
    disclaimer: str
    research: bool
    data: str
    notes: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """One training run from data to bundle.

    Attributes
    ----------
    source : PhantomSource or FolderSource
    findings : tuple of FindingPlan
        In the order of the network's outputs.
    architecture : str
        Of :data:`models.networks.ARCHITECTURES`.
    input : InputSpec
    start_from : Path, optional
        Directory of a bundle of the same architecture whose features are the starting point (transfer).
    keep_head : bool
        With `start_from`: the head is taken over too, because the findings are the same; False begins with a new one
        and lets the features learn ten times slower than it.
    frozen_epochs : int
        First epochs in which only the new head learns (with `start_from`).
    learns : tuple of str
        Beginnings of the names of the parameters that learn; empty for all. The last stages alone learn several times
        faster than the whole network.
    epochs : int
        At most so many; fewer when `patience` epochs bring no better validation AUC.
    localisation_weight : float
        Weight of the loss that draws the class activation map onto the true mask, where masks exist.
    min_specificity : float
        Thresholds must reach it on the validation set; among those that do, Youden's is taken.
    seed : int
        Of weights, order and augmentation.
    threads : int
        Of the CPU.
    date : str
        YYYY-MM-DD, stated in the bundle.
    """

    source: PhantomSource | FolderSource
    findings: tuple[FindingPlan, ...]
    describe: Description
    routing: RoutingConditions
    architecture: str = "shufflenet_v2_x1_0"
    input: InputSpec = DEFAULT_INPUT
    start_from: Path | None = None
    keep_head: bool = False
    frozen_epochs: int = 0
    learns: tuple[str, ...] = ()
    epochs: int = 8
    patience: int = 4
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    localisation_weight: float = 0.3
    min_specificity: float = 0.98
    seed: int = 0
    threads: int = 2
    date: str

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(finding.key for finding in self.findings)
