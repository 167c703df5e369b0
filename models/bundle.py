"""A model is a directory: weights, graph, what it says about itself, and the checksums that bind them.

========================  ================================================================================
``metadata.json``         :class:`~models.metadata.BundleMetadata`, with the SHA-256 of every other file
``weights.safetensors``   the weights; their SHA-256 is the identity of the model in every result
``network.onnx``          exported from the weights: "image" → "logits", "features" (:mod:`models.networks`)
``evaluation.json``       measured figures
``MODEL_CARD.md``         for people
``selftest.json``         a computed input and the logits it must give
``guard.safetensors``     optional: which features are usual (:mod:`models.guard`)
========================  ================================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from models.ct.slices import series_parameters
from models.metadata import BundleMetadata, FindingSpec, InputSpec, RoutingConditions
from models.preprocessing import PREPROCESSING_VERSION
from triage.errors import BundleError
from triage.findings import Algorithm, Urgency

__all__ = [
    "Bundle",
    "BundleMetadata",
    "FindingSpec",
    "InputSpec",
    "Override",
    "RoutingConditions",
]

METADATA = "metadata.json"
WEIGHTS = "weights.safetensors"
NETWORK = "network.onnx"
EVALUATION = "evaluation.json"
CARD = "MODEL_CARD.md"
SELF_TEST = "selftest.json"
FILES = (WEIGHTS, NETWORK, EVALUATION, CARD, SELF_TEST)
METADATA_LIMIT = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """A site's own word on one finding: which class a positive asks for, where the operating point lies.

    Raises
    ------
    BundleError
        The threshold is outside [0, 1].
    """

    urgency: Urgency | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise BundleError(
                f"a threshold of {self.threshold!r} is not within [0, 1].", next_step="Give a score from 0 to 1."
            )


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose metadata has been read and checked. The other files are :func:`models.self_test.verify`'s.

    Attributes
    ----------
    digest : str
        SHA-256 of ``metadata.json``, which has the checksums of all other files: the identity of the whole bundle.
    """

    directory: Path
    metadata: BundleMetadata
    digest: str = ""

    @classmethod
    def load(cls, directory: Path) -> Bundle:
        """Read ``metadata.json`` strictly.

        Raises
        ------
        BundleError
            A file is missing, or a field is unknown, missing or invalid: the message names it.
        """
        path = directory / METADATA
        try:
            if path.stat().st_size > METADATA_LIMIT:
                raise BundleError(f"{path} is larger than {METADATA_LIMIT} bytes.")
            content = path.read_bytes()
            metadata = BundleMetadata.model_validate_json(content, strict=True)
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            raise BundleError(f"{path}: {_first_problem(error)}.") from error
        for name in FILES:
            if name not in metadata.files:
                raise BundleError(f"{path}: files has no checksum for {name}.")
        for name in metadata.files:
            if not (directory / name).is_file():
                raise BundleError(f"{directory / name} is missing.")
        return cls(directory, metadata, hashlib.sha256(content).hexdigest())

    @property
    def weights(self) -> Path:
        return self.directory / WEIGHTS

    @property
    def network(self) -> Path:
        return self.directory / NETWORK

    def check_files(self) -> None:
        """Compare every file with its checksum.

        Raises
        ------
        BundleError
            A file differs from the one that was written.
        """
        for name, expected in self.metadata.files.items():
            if file_digest(self.directory / name) != expected:
                raise BundleError(f"{self.directory / name} does not have its checksum.")

    def head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight (K, C) and bias (K,) of the linear layer, float32, read without torch.

        Raises
        ------
        BundleError
            The weights file is not a safetensors file or has no such tensors.
        """
        found = self._linear("classifier")
        if found is None:
            raise BundleError(f"{self.weights} cannot be read as weights of a network: it has no classifier.weight.")
        return found

    def rest(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Weight (R, C) and bias (R,) of the classes that are no findings, where all share one softmax; else None."""
        return self._linear("rest")

    def _linear(self, layer: str) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        try:
            with safe_open(self.weights, framework="numpy") as tensors:
                if f"{layer}.weight" not in tensors.keys():  # noqa: SIM118 - a file, not a mapping
                    return None
                weight = tensors.get_tensor(f"{layer}.weight").astype(np.float32)
                bias = tensors.get_tensor(f"{layer}.bias").astype(np.float32)
        except (OSError, SafetensorError) as error:
            raise BundleError(f"{self.weights} cannot be read as weights of a network: {error}.") from error
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise BundleError(f"{self.weights}: {layer}.weight is not a matrix with one bias per row.")
        return weight, bias

    def algorithm(self) -> Algorithm:
        """Identity for reports and rows (TID 4019); everything that changes a score is in it."""
        m = self.metadata
        return Algorithm(
            name=m.name,
            version=m.version,
            manufacturer=m.manufacturer,
            weights_sha256=m.files[WEIGHTS],
            research=m.research,
            disclaimer=m.disclaimer,
            parameters=(
                f"architecture={m.architecture}",
                f"input={m.input.height}x{m.input.width} {m.input.fit}",
                f"normalisation={_normalisation(m.input)}",
                f"preprocessing={PREPROCESSING_VERSION}",
                f"calibration={m.calibration.score_kind} {m.calibration.method}",
                f"explanation={m.explanation}",
                *(f"{f.key} temperature={f.temperature:g} bias={f.bias:g}" for f in m.findings),
                *(() if m.series is None else (series_parameters(m.series),)),
            ),
            limits=m.limits,
            calibration=m.calibration.method,
        )

    def with_overrides(self, overrides: Mapping[str, Override]) -> Bundle:
        """The same bundle under a site's own urgencies and thresholds.

        Parameters
        ----------
        overrides : mapping of str to Override
            By "bundle name.finding key"; entries for other bundles are left alone.

        Raises
        ------
        BundleError
            An entry names a finding that this bundle does not have.
        """
        prefix = f"{self.metadata.name}."
        ours = {key.removeprefix(prefix): value for key, value in overrides.items() if key.startswith(prefix)}
        unknown = ours.keys() - {finding.key for finding in self.metadata.findings}
        if unknown:
            raise BundleError(f"bundle {self.metadata.name} has no finding {', '.join(sorted(unknown))}.")
        findings = tuple(_overridden(finding, ours.get(finding.key)) for finding in self.metadata.findings)
        # model_copy skips the rule that research leaves urgency alone: the site has just said otherwise.
        return replace(self, metadata=self.metadata.model_copy(update={"findings": findings}))


def _normalisation(spec: InputSpec) -> str:
    text = f"mean {spec.mean:g} std {spec.std:g}"
    if spec.value_range != "0..1":
        text = f"values {spec.value_range} {text}"
    if spec.channel_mean is None or spec.channel_std is None:
        return text if spec.channels == 1 else f"{text} in {spec.channels} channels"
    mean, std = ("/".join(f"{value:g}" for value in values) for values in (spec.channel_mean, spec.channel_std))
    return f"{text} channels mean {mean} std {std}"


def _overridden(finding: FindingSpec, override: Override | None) -> FindingSpec:
    if override is None:
        return finding
    update = {name: getattr(override, name) for name in ("urgency", "threshold")}
    return finding.model_copy(update={name: value for name, value in update.items() if value is not None})


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "metadata"
    return f"field {where}: {first['msg']}"


def file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
