"""What a bundle says about itself: the content of its ``metadata.json``, strictly checked.

Every field is required unless a default stands beside it; an unknown field is an error, so that a typing
mistake cannot silently change what a model reads or when it alarms.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from triage.findings import Code, Laterality, ScoreKind, Urgency

FORMAT_VERSION = 1
PHANTOM_MANUFACTURER = "firstread phantom"
"""Manufacturer (0008,0070) of synthetic radiographs: no patient stands behind them."""

CR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
ONNX = "onnx"
"""Architecture of a bundle whose graph was not made from a network of :mod:`models.networks`."""

Ascii = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]*$", strict=True)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40, strict=True)]
Key = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40, strict=True)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", strict=True)]


def _whole_code(value: object) -> object:
    """A code in JSON has exactly its three parts (the plain dataclass would ignore a fourth)."""
    if isinstance(value, dict) and set(value) != {"value", "scheme", "meaning"}:
        raise ValueError("a code has exactly value, scheme and meaning")
    return value


CodeField = Annotated[Code, BeforeValidator(_whole_code)]


class Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


Channels = tuple[float, float, float]


class InputSpec(Frozen):
    """The network's input: float32 (N, channels, height, width), by :func:`models.preprocessing.normalise`.

    The fitted display in [0, 1] is spread over ``value_range``, then (value - mean) / std. With three channels the
    grey value stands in each, then (value - channel_mean) / channel_std per channel, where they are given.
    """

    height: int = Field(ge=32, le=4096)
    """Rows of the input, pixels."""
    width: int = Field(ge=32, le=4096)
    """Columns of the input, pixels."""
    mean: float
    std: float = Field(gt=0)
    fit: Literal["letterbox", "centre_crop", "stretch"] = "letterbox"
    """"letterbox": whole image, aspect ratio kept, centred on black. "centre_crop": the largest part in the middle
    that has the input's proportions; what lies outside is not seen. "stretch": whole image, aspect ratio given up."""
    channels: Literal[1, 3] = 1
    """3: for networks made for colour pictures."""
    value_range: Literal["0..1", "-1024..1024", "0..255"] = "0..1"
    """Values of black and white before mean and std."""
    channel_mean: Channels | None = None
    """ImageNet: (0.485, 0.456, 0.406), with mean 0 and std 1."""
    channel_std: Channels | None = None

    @model_validator(mode="after")
    def _channels_fit(self) -> Self:
        if (self.channel_mean is None) != (self.channel_std is None):
            raise ValueError("channel_mean and channel_std come together")
        if self.channel_std is not None and (self.channels != 3 or min(self.channel_std) <= 0):
            raise ValueError("channel_std belongs to three channels and is greater than 0")
        return self

    @property
    def black_and_white(self) -> tuple[float, float]:
        """The values of black and of white before mean and std."""
        low, high = self.value_range.split("..")
        return float(low), float(high)

    def as_display(self, step: int = 1) -> InputSpec:
        """The same fit in one channel of plain display values, on a grid ``step`` times as coarse."""
        return InputSpec(height=self.height // step, width=self.width // step, mean=0.0, std=1.0, fit=self.fit)


class FindingSpec(Frozen):
    """One output of the network. Score = sigmoid(logit / temperature + bias), positive at ``threshold``."""

    key: Key
    code: CodeField
    site: CodeField | None = None
    laterality: Laterality | None = None
    """"R", "L" or "B" where the output is about that side of ``site``; None where it does not know the side."""
    urgency: Urgency = Urgency.ROUTINE
    threshold: float = Field(ge=0, le=1)
    temperature: float = Field(default=1.0, gt=0)
    bias: float = 0.0

    @model_validator(mode="after")
    def _a_side_of_something(self) -> Self:
        if self.laterality is not None and self.site is None:
            raise ValueError("laterality: the side of which site? name one")
        return self


class Calibration(Frozen):
    """How temperature and bias of the findings came about, and what the scores are because of it."""

    score_kind: ScoreKind
    method: Ascii
    """"temperature and bias on 64 held-out images", "none", ..."""


class RoutingConditions(Frozen):
    """Which images the bundle reads; every condition must hold (:mod:`models.routing`)."""

    sop_classes: tuple[str, ...] = (CR_IMAGE_STORAGE, DX_FOR_PRESENTATION)
    """SOP Class UIDs (0008,0016). Secondary Capture only where it is listed here."""
    modalities: tuple[str, ...] = ("CR", "DX")
    body_parts: tuple[str, ...] = ("CHEST",)
    """Keys of :data:`models.vocabulary.REGIONS`."""
    views: tuple[str, ...] = ("PA", "AP")
    allow_missing_view: bool = True
    """True: an image whose header names no view is read when nothing says lateral; the route records it."""
    allow_missing_body_part: bool = False
    """True: an image whose header says nowhere what it shows is read; the route records it."""
    manufacturer_equals: tuple[str, ...] = ()
    """Only images of these makers (0008,0070), compared without case; empty: any."""
    manufacturer_not: tuple[str, ...] = ()
    min_age_years: float | None = Field(default=None, ge=0)
    """Youngest patient the model claims; an unknown age passes and is recorded."""
    max_age_years: float | None = Field(default=None, ge=0)
    min_side: int = Field(default=256, ge=1)
    """Shortest side of the image, pixels."""
    rank: int = 0
    """Among bundles that take an image the highest rank reads it; site bundles come before shipped ones."""
    max_side_ratio: float = Field(default=2.0, ge=1)
    """Longer over shorter side of the image: longer ones are strips, stitched spines or damage."""
    min_bits_stored: int | None = Field(default=None, ge=1, le=16)
    """Fewest bits (0028,0101) of an image: 8-bit exports have lost what a model of 12-bit images may need."""
    min_pixel_spacing: float | None = Field(default=None, gt=0)
    """Finest pixel spacing, mm; an unknown one passes and is recorded, here and in the next."""
    max_pixel_spacing: float | None = Field(default=None, gt=0)
    """Coarsest pixel spacing, mm."""
    calling_ae_titles: tuple[str, ...] = ()
    """Only images that these senders brought, by their calling AE title; empty: any."""
    gate: Literal["frontal-chest", "none"] = "frontal-chest"
    """The network that looks at an image's pixels before the bundle does (:mod:`models.gate`). It is asked only by
    bundles of radiographs of the chest in frontal views; "none": by this one not either."""

    @property
    def asks_gate(self) -> bool:
        """Whether the gate looks at an image before the bundle does."""
        chests = (
            self.body_parts == ("CHEST",) and set(self.modalities) <= {"CR", "DX"} and set(self.views) <= {"PA", "AP"}
        )
        return chests and self.gate != "none"

    @property
    def phantoms_only(self) -> bool:
        return self.manufacturer_equals == (PHANTOM_MANUFACTURER,)


class TrainingSummary(Frozen):
    """Where the weights come from, in one place for the model card and the admin page."""

    data: str
    """Name, version and licence of the training data."""
    images: int = Field(ge=0)
    seed: int
    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    notes: str = ""


class WindowSpec(Frozen):
    """One channel of a slice: HU from centre - width / 2 to centre + width / 2 become 0 to 1 (LINEAR_EXACT)."""

    centre: float
    width: float = Field(gt=0)


class SeriesSpec(Frozen):
    """A bundle that reads series of slices: how a series must lie, what the network sees, how a study's score arises.

    The network takes float32 (N, channels, height, width), one entry per slice: the slices of the slab from below to
    above, each in every window. A finding's logit for the series is the mean of the ``top`` highest of its slices.
    """

    windows: tuple[WindowSpec, ...] = Field(min_length=1, max_length=8)
    """The first one is what pictures of a slice show."""
    slab: int = Field(default=1, ge=1, le=9)
    """Neighbouring slices that the network sees together, an odd number; beyond the ends the last slice repeats."""
    top: int = Field(default=2, ge=1, le=20)
    min_slices: int = Field(default=12, ge=3)
    max_slices: int = Field(default=600, le=2000)
    min_extent_mm: float = Field(default=80.0, ge=0)
    """From the first slice to the last, along their normal."""
    max_spacing_mm: float = Field(default=8.0, gt=0)
    spacing_tolerance: float = Field(default=0.1, gt=0, lt=0.5)
    """How far the distance of two neighbours may lie from the median, as a share of it."""
    max_angle_degrees: float = Field(default=35.0, ge=0, le=90)
    """Between slices and the axial plane; a tilted gantry or a bent neck makes some."""
    min_field_mm: float | None = Field(default=None, gt=0)
    max_field_mm: float | None = Field(default=None, gt=0)
    """Longer side of a slice. The network sees the whole field: in one twice as wide everything is half as large."""
    contrast: bool = False
    """True: series with contrast medium are read too."""

    @field_validator("slab")
    @classmethod
    def _has_a_middle(cls, slab: int) -> int:
        if slab % 2 == 0:
            raise ValueError("a slab has a slice in its middle: an odd number")
        return slab

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return len(self.windows) * self.slab


class FindingCriteria(Frozen):
    """What one finding has to reach; what is None is not asked for. Rates are taken at the operating point."""

    min_auc_low: float | None = Field(default=None, ge=0.5, le=1)
    """Lower end of the 95 % interval of the AUC."""
    min_sensitivity: float | None = Field(default=None, ge=0, le=1)
    min_specificity: float | None = Field(default=None, ge=0, le=1)
    max_calibration_error: float | None = Field(default=None, ge=0, le=1)
    """Expected calibration error."""
    min_pointing_game: float | None = Field(default=None, ge=0, le=1)
    """Share of heat maps whose peak lies inside the true mask."""


class AcceptanceCriteria(Frozen):
    """What has to be measured before the bundle goes live. The self-test on the machine itself always belongs to it."""

    measured_on: Literal["bundle", "installation"] = "bundle"
    """"bundle": the maker's figures in ``evaluation.json`` are enough; "installation": the site has to measure."""
    min_images: int = Field(default=1, ge=1)
    """Fewest images that the figures come from."""
    every_finding: FindingCriteria = FindingCriteria()
    findings: dict[Key, FindingCriteria] = Field(default_factory=dict)
    """By key, instead of ``every_finding``."""


class BundleMetadata(Frozen):
    """Everything a bundle states about itself."""

    format_version: Literal[1]
    name: Name
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+([-+][0-9A-Za-z.-]+)?$", max_length=32)]
    manufacturer: Annotated[Ascii, Field(min_length=1, max_length=64)]
    licence: Annotated[str, Field(min_length=1)]
    """SPDX expression for the weights."""
    intended_use: Annotated[str, Field(min_length=1)]
    limits: tuple[str, ...] = Field(min_length=1)
    """What the model cannot do, one sentence each."""
    research: bool
    disclaimer: Annotated[Ascii, Field(max_length=64)]
    architecture: Annotated[str, Field(min_length=1)]
    """A name that :func:`models.networks.build` knows, or "onnx": ``network.onnx`` is all there is."""
    input: InputSpec
    findings: tuple[FindingSpec, ...] = Field(min_length=1)
    """In the order of the network's outputs."""
    calibration: Calibration
    routing: RoutingConditions
    training: TrainingSummary
    files: dict[str, Sha256] = Field(default_factory=dict)
    """SHA-256 of every other file of the bundle; filled by :func:`models.bundle_writer.write_bundle`."""
    explanation: Literal["cam", "grad-cam", "grad-cam++", "hirescam", "occlusion", "integrated-gradients", "none"] = (
        "cam"
    )
    """How its heat maps are made (:mod:`models.explaining.methods`). "cam" is exact where each class is its row of the
    head times the mean of ``features``; "none" where maps were tried and say nothing true."""
    acceptance: AcceptanceCriteria = AcceptanceCriteria()
    """What `firstread models enable` asks for; by default measured figures of every finding, whatever they are."""
    series: SeriesSpec | None = None
    """Of a bundle that reads series of slices; None: it reads single images."""

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return self.series.channels if self.series is not None else self.input.channels

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if name != PurePosixPath(name).name or name in {"", ".", "..", "metadata.json"} or "\\" in name:
                raise ValueError(f"{name!r} is not the plain name of another file of the bundle")
        return files

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        keys = [finding.key for finding in self.findings]
        if len(set(keys)) != len(keys):
            raise ValueError("findings: two findings share a key")
        if self.research and not self.disclaimer:
            raise ValueError("disclaimer: a research bundle needs one")
        strangers = self.acceptance.findings.keys() - set(keys)
        if strangers:
            raise ValueError(f"acceptance: there is no finding {', '.join(sorted(strangers))}")
        if self.series is not None and self.input.channels != 1:
            raise ValueError("series: its windows make the channels; input.channels stays 1")
        raising = [f.key for f in self.findings if f.urgency is not Urgency.ROUTINE]
        if self.research and raising and not self.routing.phantoms_only:
            # Research software does not reorder a hospital's list by itself: a site says so (Override).
            raise ValueError(f"findings: a research bundle leaves urgency ROUTINE, not so: {', '.join(raising)}")
        return self
