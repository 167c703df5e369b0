"""What no file of weights says by itself: what the outputs mean, what the input is, who answers for it.

A description is a small TOML or JSON file (``docs/importing.md`` has one in full). What it leaves out comes from the
convention that it names, else from the file; what nobody says is asked for, never guessed: a wrong normalisation
gives plausible scores.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from models.importing import labels as known
from models.importing.labels import MEANINGS, NO_FINDINGS, key_of
from models.metadata import (
    PHANTOM_MANUFACTURER,
    Ascii,
    CodeField,
    FindingSpec,
    Frozen,
    InputSpec,
    Key,
    Name,
    RoutingConditions,
)
from triage.errors import ForeignModelError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Convention = Literal["torchvision", "torchxrayvision", "chexnet"]
Scores = Literal["sigmoid", "softmax", "operating-point"]
_CONVENTIONAL_LABELS = {"torchxrayvision": known.XRV_18, "chexnet": known.NIH_14}
_SIZE_LIMIT = 1 << 20


class FindingDescription(Frozen):
    """What is to be known about one label, where the built-in list does not know it or the site knows better."""

    key: Key | None = None
    code: CodeField | None = None
    site: CodeField | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)


class TrainingDescription(Frozen):
    data: str = "not stated by the source"
    images: int = Field(default=0, ge=0)


class Description(Frozen):
    """The content of a description file."""

    name: Name
    version: str = "1.0.0"
    manufacturer: Annotated[Ascii, Field(min_length=1, max_length=64)] = "unknown"
    licence: Annotated[str, StringConstraints(min_length=1)] = "not stated"
    intended_use: Annotated[str, StringConstraints(min_length=1)] = (
        "Research: scores of an imported network beside the reading list. Nothing was measured on this installation."
    )
    limits: tuple[str, ...] = ()
    convention: Convention | None = None
    """Whose preprocessing and label order the model follows."""
    architecture: str | None = None
    """One of :data:`models.networks.ARCHITECTURES`; found by the tensors where it is left out."""
    labels: Literal["nih-14", "xrv-18"] | tuple[str, ...] | None = None
    """One name per output, in the network's order; "" for an output that means nothing."""
    scores: Scores | None = None
    """"sigmoid": each class by itself. "softmax": the classes exclude each other. "operating-point": numbers from 0 to
    1 that were rescaled so that 0.5 is the operating point (ONNX graphs that end so)."""
    transposed: bool | None = None
    """True: the network was trained on images with rows and columns exchanged, as MONAI's LoadImage hands them."""
    input: InputSpec | None = None
    findings: Mapping[str, FindingDescription] = Field(default_factory=dict)
    """By label."""
    no_findings: tuple[str, ...] = ()
    """Labels of classes that are no finding, besides "Normal" and "No Finding"."""
    routing: RoutingConditions = RoutingConditions(manufacturer_not=(PHANTOM_MANUFACTURER,), min_age_years=18)
    training: TrainingDescription = TrainingDescription()
    check: Mapping[str, float] = Field(default_factory=dict)
    """Label → score that the original library gives for the self-test picture: proves labels and weights together."""

    def label_list(self) -> tuple[str, ...] | None:
        """The labels that the description itself states."""
        return known.LISTS[self.labels] if isinstance(self.labels, str) else self.labels

    def score_rule(self) -> Scores:
        """How outputs become scores.

        Raises
        ------
        ForeignModelError
            Nobody says it.
        """
        rule = self.scores
        if rule is None and self.convention in {"torchxrayvision", "chexnet"}:
            return "sigmoid"
        if rule is None:
            raise ForeignModelError(
                f"nothing says how the outputs of {self.name} become scores.",
                next_step='Write scores = "sigmoid" (each class by itself, trained with binary cross entropy) or '
                'scores = "softmax" (one class excludes the others, trained with cross entropy) into the description.',
            )
        return rule

    def input_for(self, family: str, channels: int) -> InputSpec:
        """The input of a network of this family.

        Raises
        ------
        ForeignModelError
            Nobody states it, or another number of channels than the network takes.
        """
        spec = self.input or _conventional(self.convention, family, channels)
        if spec is None:
            raise ForeignModelError(
                f"nothing says what the input of {self.name} looks like.",
                next_step="Write an [input] table (height, width, mean, std, …) or a convention into the description.",
            )
        if spec.channels != channels:
            raise ForeignModelError(
                f"{self.name} is described with {spec.channels} input channels, its first layer takes {channels}.",
                next_step="Correct channels in [input].",
            )
        return spec


def _conventional(convention: Convention | None, family: str, channels: int) -> InputSpec | None:
    """The input that everybody who follows a convention uses; None where it says nothing for this network."""
    if convention == "torchxrayvision" and channels == 1:
        side = 512 if family == "resnet" else 224
        return InputSpec(
            height=side, width=side, mean=0.0, std=1.0, value_range="-1024..1024", fit="centre_crop", channels=1
        )
    if convention in {"torchvision", "chexnet"} and channels == 3:
        return InputSpec(
            height=224, width=224, mean=0.0, std=1.0, channels=3, channel_mean=IMAGENET_MEAN, channel_std=IMAGENET_STD,
            # NIH images are square: CheXNet never saw what a fit does, and a letterbox leaves nothing out.
            fit="letterbox" if convention == "chexnet" else "stretch",
        )  # fmt: skip
    return None


def load(path: Path) -> Description:
    """Read a description file, TOML or JSON.

    Raises
    ------
    ForeignModelError
        Unreadable, or a field is unknown, missing or invalid: the message names it.
    """
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise ForeignModelError(f"{path} is larger than {_SIZE_LIMIT} bytes.")
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ForeignModelError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ForeignModelError(f"{path} is no valid {path.suffix.lstrip('.').upper() or 'TOML'}: {error}.") from error
    return parse(content, str(path))


def parse(content: Mapping[str, Any], where: str) -> Description:
    """A description from plain data."""
    try:
        # Through JSON, where strict checking still takes a list for a tuple; TOML's dates become text.
        return Description.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "description"
        raise ForeignModelError(
            f"{where}: field {place}: {first['msg']}.",
            next_step="Correct the description; docs/importing.md lists its fields.",
        ) from error


def agreed_labels(description: Description, stated: tuple[str, ...], outputs: int, where: str) -> tuple[str, ...]:
    """The label of every output.

    Parameters
    ----------
    stated : tuple of str
        What the file itself says; empty where it says nothing.

    Raises
    ------
    ForeignModelError
        Nobody names them, the number is not that of the outputs, or file and description disagree.
    """
    labels = description.label_list() or stated or _CONVENTIONAL_LABELS.get(description.convention or "", ())
    if not labels:
        raise ForeignModelError(
            f"nothing says what the {outputs} outputs of {where} mean.",
            next_step="Write labels into the description: a list in the network's own order, or one of "
            f"{', '.join(known.LISTS)}.",
        )
    if len(labels) != outputs:
        raise ForeignModelError(
            f"{where} has {outputs} outputs, {len(labels)} labels are given for it.",
            next_step="Correct labels in the description: one per output, in the network's order.",
        )
    if stated and len(stated) != outputs:
        raise ForeignModelError(f"{where} has {outputs} outputs and a list of {len(stated)} labels inside.")
    for number, (said, written) in enumerate(zip(labels, stated or labels, strict=True)):
        if said and key_of(said) != key_of(written):
            raise ForeignModelError(
                f"output {number} is {said!r} in the description and {written!r} in {where}: labels are swapped.",
                next_step="Find out which order the network was trained with; a swapped label is a wrong diagnosis.",
            )
    return labels


def described_findings(
    description: Description, labels: tuple[str, ...], thresholds: tuple[float, ...] | None
) -> tuple[tuple[int, ...], tuple[FindingSpec, ...]]:
    """Which outputs are findings, and what is known about each.

    Parameters
    ----------
    thresholds : tuple of float, optional
        Published operating points by output; NaN where there is none.

    Returns
    -------
    outputs : tuple of int
        Their numbers; those without a label, those that mean "nothing found" and those of a checkpoint with operating
        points that has none for them are left out: torchxrayvision answers 0.5 for these, whatever the image.
    findings : tuple of FindingSpec

    Raises
    ------
    ForeignModelError
        A label without a code, a key twice, or a description of a label that is not there.
    """
    unknown = [label for label in (*description.findings, *description.check) if label not in labels]
    if unknown:
        raise ForeignModelError(f"the description speaks of {unknown[0]!r}, which is none of the labels.")
    outputs, specs = [], []
    for number, label in enumerate(labels):
        if not label or label in description.no_findings or key_of(label) in NO_FINDINGS:
            continue
        if _without_point(thresholds, number) and _threshold(description.findings.get(label)) is None:
            continue
        outputs.append(number)
        specs.append(_finding(label, description.findings.get(label), thresholds, number))
    if not specs:
        raise ForeignModelError("none of the labels is a finding.")
    keys = [spec.key for spec in specs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise ForeignModelError(f"two outputs are called {twice}.", next_step="Give them keys in [findings].")
    return tuple(outputs), tuple(specs)


def _without_point(thresholds: tuple[float, ...] | None, number: int) -> bool:
    return thresholds is not None and math.isnan(thresholds[number])


def _threshold(described: FindingDescription | None) -> float | None:
    return described.threshold if described else None


def _finding(
    label: str, described: FindingDescription | None, thresholds: tuple[float, ...] | None, number: int
) -> FindingSpec:
    described = described or FindingDescription()
    key = described.key or key_of(label)
    meaning = MEANINGS.get(key)
    code = described.code or (meaning.code if meaning else None)
    if code is None:
        raise ForeignModelError(
            f"label {label!r} has no code.",
            next_step=f'Write [findings."{label}"] with code = {{value = "…", scheme = "SCT", meaning = "…"}}, or put '
            '"" in its place among the labels where the output is not to be used.',
        )
    published = None if thresholds is None else thresholds[number]
    threshold = described.threshold
    if threshold is None:
        threshold = published if published is not None and 0.0 <= published <= 1.0 else 0.5
    site = described.site or (meaning.site if meaning and described.code is None else None)
    try:
        return FindingSpec(key=key, code=code, site=site, threshold=threshold)
    except ValidationError as error:
        raise ForeignModelError(
            f"label {label!r} makes no usable key ({key!r}).", next_step=f'Write [findings."{label}"] with key = "…".'
        ) from error
