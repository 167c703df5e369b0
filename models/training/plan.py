"""What a training run does, as plain data that is written beside its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from models.metadata import InputSpec, Key, RoutingConditions
from triage.findings import Code, Urgency

DEFAULT_INPUT = InputSpec(height=320, width=320, mean=0.5, std=0.25)
"""A lung nodule of 8 mm still covers 6 pixels, and the class activation map has 10 x 10 cells."""

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Of plan files (:mod:`models.training.plan_file`): a mistyped key must not silently change a training."""

Side = Literal["train", "validation", "test"]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]


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
    unseen : int
        Number of test phantoms on the scanner that no training saw, of the series after the test set's.
    """

    __pydantic_config__ = _STRICT

    kind: Literal["phantoms"] = "phantoms"
    train: Count = 6000
    validation: Count = 1000
    test: Count = 1500
    seed: int = 1
    size: int = 640
    test_seed: int | None = None
    emphasis: str = ""
    unseen: Annotated[int, Field(ge=0)] = 0

    @property
    def test_series(self) -> int:
        """The seed of the test set."""
        return self.seed + 2 if self.test_seed is None else self.test_seed


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSource:
    """Radiographs in a folder with a table of labels; split by patient.

    The layouts of tables stand in :mod:`models.training.layouts`.

    Attributes
    ----------
    images : Path
        Folder of PNG, JPEG or DICOM files.
    table : Path
        The CSV file, also as ``.csv.gz``.
    labels : mapping of str to tuple of str
        Finding key → the labels of the table that mean it; a key that is not there is its own label.
    exclude : mapping of str to str
        Column → value: rows with it are left out of training, validation and test alike.
    validation, test : float
        Share of the patients, as far as no list names the side of an image.
    layout : str
        "auto" reads it from the columns.
    uncertain : str
        What a label of -1 (CheXpert, MIMIC: "the report is not sure") means: "ignore" makes it unknown, which costs
        nothing in training and counts nowhere in figures; "zeros" and "ones" are U-Zeros and U-Ones of Irvin et al.
        2019.
    blanks : str
        What an empty cell of a label column means. CheXpert's labeler leaves blank what a report does not mention:
        "negative" follows its authors. "unknown" is the careful reading of a table made by hand.
    views : tuple of str
        Only images whose table says one of these views; an image without a stated view is taken. Empty: all.
    lists : mapping of str to Path
        Side → file that names its images: one name a line (NIH's ``test_list.txt``) or a table of the same layout
        (CheXpert's ``valid.csv``). Named patients stay on that side; a side without a list is drawn from the rest.
    split_table, metadata_table : Path, optional
        MIMIC-CXR-JPG's ``split`` and ``metadata`` tables.
    unusable : str
        Images that are missing or cannot be read: "refuse", or "skip" and report how many.
    shared_images : str
        One image under two patients: "refuse", or "merge" treats them as one person in the split.
    """

    __pydantic_config__ = _STRICT

    kind: Literal["folder"] = "folder"
    images: Path
    table: Path
    labels: Mapping[str, tuple[str, ...]]
    exclude: Mapping[str, str] = field(default_factory=dict)
    validation: Share = 0.2
    test: Share = 0.3
    layout: Literal["auto", "nih", "chexpert", "mimic", "plain"] = "auto"
    uncertain: Literal["ignore", "zeros", "ones"] = "ignore"
    blanks: Literal["negative", "unknown"] = "unknown"
    views: tuple[str, ...] = ()
    lists: Mapping[Side, Path] = field(default_factory=dict)
    split_table: Path | None = None
    metadata_table: Path | None = None
    unusable: Literal["refuse", "skip"] = "refuse"
    shared_images: Literal["refuse", "merge"] = "refuse"


@dataclass(frozen=True, kw_only=True, slots=True)
class ArraysSource:
    """Images in one ``.npz`` as MedMNIST writes them: ``train_images``, ``train_labels``, ``val_…``, ``test_…``.

    Its sides are fixed by the file and it names no patients: that no patient is on two sides cannot be proven, and
    the bundle's card says so.

    Attributes
    ----------
    arrays : Path
        uint8 images (N, h, w) and labels (N, 1) or (N, K).
    labels : mapping of str to tuple of str
        Finding key → the class number or numbers that mean it ("1"); with K > 1 columns the number of its column.
    shared_images : str
        The same picture on two sides: "refuse", or "drop" it from training, then from validation.
    """

    __pydantic_config__ = _STRICT

    kind: Literal["medmnist"] = "medmnist"
    arrays: Path
    labels: Mapping[str, tuple[str, ...]]
    shared_images: Literal["refuse", "drop"] = "refuse"


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """How far a training image may differ from the file: standard deviations, or shares of the images.

    Every change is one that the same chest shows on another machine or another day. Nothing mirrors unless asked:
    situs, heart, stomach bubble and the side marker are part of the truth of a radiograph.

    Attributes
    ----------
    turn, zoom, shift : float
        Degrees, log scale, share of the side: how the patient stood.
    gamma, contrast, brightness : float
        Log exponent, log factor, offset of the display range: another window or VOI LUT.
    blur, noise : float
        Share of the images with focus or motion blur, with quantum noise.
    collimation : float
        Share of the images with borders, black (shutter) or white (collimated, not shuttered), at most 8 % a side.
    mirror : bool
        Half of the images left for right. Only for data without laterality.
    """

    __pydantic_config__ = _STRICT

    turn: NotNegative = 3.0
    zoom: NotNegative = 0.05
    shift: NotNegative = 0.025
    gamma: NotNegative = 0.22
    contrast: NotNegative = 0.12
    brightness: NotNegative = 0.05
    blur: Share = 0.25
    noise: Share = 0.35
    collimation: Share = 0.0
    mirror: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingPlan:
    """A finding to learn: what it is called and which class of the reading list a positive asks for."""

    __pydantic_config__ = _STRICT

    key: Key
    code: Code
    site: Code | None = None
    urgency: Urgency = Urgency.ROUTINE


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What the bundle will say about itself and no measurement can know."""

    __pydantic_config__ = _STRICT

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
    source : PhantomSource, FolderSource or ArraysSource
    findings : tuple of FindingPlan
        In the order of the network's outputs.
    architecture : str
        Of :data:`models.networks.ARCHITECTURES`.
    input : InputSpec
    start_from : Path, optional
        Bundle of the same architecture, or safetensors with torchvision's names (ImageNet), whose features are the
        starting point.
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
    checked_maps : int
        True positives of each finding whose heat maps are checked on the test side, at most; half as many by the slow
        curves. A bundle whose maps fail ships none.
    threads : int
        Of the CPU.
    date : str
        YYYY-MM-DD, stated in the bundle.
    augmentation : Augmentation
    imbalance : tuple of str
        What is done for rare findings: "weights" (positives weigh more in the loss), "focal" (Lin et al. 2017),
        "oversample" (images with rare findings are drawn more often). Empty: nothing.
    focal_gamma : float
        How strongly "focal" plays down what is already right.
    feature_rate : float, optional
        Learning rate of the features as a share of the head's; None: 0.1 below a new head, else 1.
    frozen_statistics : bool
        True: normalisation layers of frozen parts keep their statistics too; False: they adapt to the new images.
    dropout : float
        Before the head.
    schedule : str
        "cosine" with a linear warm-up, "plateau" (halved after `plateau` epochs without a better validation AUC), or
        "constant".
    clip : float
        Largest norm of the gradient.
    precision : str
        "float32", or "bf16" or "fp16" by autocast on a GPU; a CPU trains in float32 and says so.
    device : str
        "auto" takes the GPU where there is one.
    checkpoint_minutes : float
        A checkpoint is written after each epoch, and within it after so many minutes.
    folds : int
        0: one split. From 3 on: k-fold cross-validation by patients, a run for each fold (needs a folder).
    fold : int, optional
        Which of them this run is, counted from 0; set by the cross-validation.
    """

    __pydantic_config__ = _STRICT

    source: Annotated[PhantomSource | FolderSource | ArraysSource, Field(discriminator="kind")]
    findings: Annotated[tuple[FindingPlan, ...], Field(min_length=1)]
    describe: Description
    routing: RoutingConditions
    architecture: str = "shufflenet_v2_x1_0"
    input: InputSpec = DEFAULT_INPUT
    start_from: Path | None = None
    keep_head: bool = False
    frozen_epochs: Annotated[int, Field(ge=0)] = 0
    learns: tuple[str, ...] = ()
    epochs: Count = 8
    patience: Annotated[int, Field(ge=0)] = 4
    batch: Annotated[int, Field(ge=2)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: NotNegative = 0.02
    localisation_weight: NotNegative = 0.3
    min_specificity: Annotated[float, Field(ge=0, le=1)] = 0.98
    seed: Annotated[int, Field(ge=0)] = 0
    checked_maps: Count = 60
    threads: Count = 2
    date: str
    augmentation: Augmentation = Augmentation()
    imbalance: tuple[Literal["weights", "focal", "oversample"], ...] = ("weights",)
    focal_gamma: NotNegative = 2.0
    feature_rate: NotNegative | None = None
    frozen_statistics: bool = False
    dropout: Share = 0.2
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    plateau: Count = 3
    clip: Annotated[float, Field(gt=0)] = 5.0
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10.0
    folds: Annotated[int, Field(ge=0, le=20)] = 0
    fold: int | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(finding.key for finding in self.findings)
