"""A model is a directory: weights, graph, what it says about itself, and the checksums that bind them.

========================  ================================================================================
``metadata.json``         :class:`~models.metadata.BundleMetadata`, with the SHA-256 of every other file
``weights.safetensors``   the weights; their SHA-256 is the identity of the model in every result
``network.onnx``          exported from the weights: "image" → "logits", "features" (:mod:`models.networks`)
``evaluation.json``       measured figures
``MODEL_CARD.md``         for people
``selftest.json``         a computed input and the logits it must give
========================  ================================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from models.metadata import BundleMetadata, FindingSpec, InputSpec, RoutingConditions
from models.preprocessing import PREPROCESSING_VERSION
from triage.errors import BundleError
from triage.findings import Algorithm, Urgency

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Bundle",
    "BundleMetadata",
    "FindingSpec",
    "InputSpec",
    "Override",
    "RoutingConditions",
    "self_test_input",
    "write_bundle",
]

METADATA = "metadata.json"
WEIGHTS = "weights.safetensors"
NETWORK = "network.onnx"
EVALUATION = "evaluation.json"
CARD = "MODEL_CARD.md"
SELF_TEST = "selftest.json"
FILES = (WEIGHTS, NETWORK, EVALUATION, CARD, SELF_TEST)
_METADATA_LIMIT = 1 << 20
_SELF_TEST_TOLERANCE = 1e-3


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
            raise BundleError(f"threshold {self.threshold!r} of an override is not within [0, 1].")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose metadata has been read and checked. The other files are looked at by :meth:`verify`."""

    directory: Path
    metadata: BundleMetadata

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
            if path.stat().st_size > _METADATA_LIMIT:
                raise BundleError(f"{path} is larger than {_METADATA_LIMIT} bytes.")
            metadata = BundleMetadata.model_validate_json(path.read_bytes(), strict=True)
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
        return cls(directory, metadata)

    @property
    def weights(self) -> Path:
        return self.directory / WEIGHTS

    @property
    def network(self) -> Path:
        return self.directory / NETWORK

    def verify(self) -> None:
        """Check every byte, the shapes and the self-test. Takes about as long as loading the network.

        Raises
        ------
        BundleError
            A checksum differs, the weights do not fit the findings, or the self-test gives other logits.
        """
        self.check_files()
        head, _ = self.head()
        if head.shape[0] != len(self.metadata.findings):
            raise BundleError(f"{self.weights} has {head.shape[0]} outputs for {len(self.metadata.findings)} findings.")
        self._run_self_test()

    def check_files(self) -> None:
        """Compare every file with its checksum.

        Raises
        ------
        BundleError
            A file differs from the one that was written.
        """
        for name, expected in self.metadata.files.items():
            if _sha256(self.directory / name) != expected:
                raise BundleError(f"{self.directory / name} does not have its checksum.")

    def head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight (K, C) and bias (K,) of the linear layer, float32, read without torch.

        Raises
        ------
        BundleError
            The weights file is not a safetensors file or has no such tensors.
        """
        try:
            with safe_open(self.weights, framework="numpy") as tensors:
                weight = tensors.get_tensor("classifier.weight").astype(np.float32)
                bias = tensors.get_tensor("classifier.bias").astype(np.float32)
        except (OSError, SafetensorError) as error:
            raise BundleError(f"{self.weights} cannot be read as weights of a network: {error}.") from error
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise BundleError(f"{self.weights}: classifier.weight is not a matrix with one bias per row.")
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
                f"normalisation=mean {m.input.mean:g} std {m.input.std:g}",
                f"preprocessing={PREPROCESSING_VERSION}",
                f"calibration={m.calibration.score_kind} {m.calibration.method}",
                *(f"{f.key} temperature={f.temperature:g} bias={f.bias:g}" for f in m.findings),
            ),
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

    def _run_self_test(self) -> None:
        from models.inference import Predictor  # noqa: PLC0415 - inference imports this module

        try:
            record = json.loads((self.directory / SELF_TEST).read_bytes())
            seed, tolerance = int(record["seed"]), float(record["tolerance"])
            expected = np.asarray(record["logits"], dtype=np.float64)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{self.directory / SELF_TEST} is not a self-test: {error!r}.") from error
        prediction = Predictor.load(self, device="cpu").predict(self_test_input(self.metadata.input, seed))
        actual = prediction.logits[0].astype(np.float64)
        if actual.shape != expected.shape or not np.abs(actual - expected).max() <= tolerance:
            raise BundleError(f"{self.network} does not give the logits of its self-test.")
        # The graph is a second copy of the weights: it must be a copy of *these* weights.
        weight, bias = self.head()
        pooled = prediction.features[0].mean(axis=(1, 2))
        if weight.shape[1] != pooled.shape[0] or not np.abs(weight @ pooled + bias - actual).max() <= tolerance:
            raise BundleError(f"{self.network} and {self.weights} do not belong together.")


def self_test_input(spec: InputSpec, seed: int) -> NDArray[np.float32]:
    """A picture that every machine computes alike, as network input float32 (1, 1, height, width).

    display(r, c) = 0.5 + 0.5 sin(0.11 r + seed) cos(0.07 c), then (display - mean) / std.
    """
    rows = np.sin(0.11 * np.arange(spec.height) + seed)[:, None]
    columns = np.cos(0.07 * np.arange(spec.width))[None, :]
    display = 0.5 + 0.5 * rows * columns
    return np.asarray((display - spec.mean) / spec.std, dtype=np.float32)[None, None]


def write_bundle(
    directory: Path,
    metadata: BundleMetadata,
    state_dict: Mapping[str, Tensor],
    *,
    evaluation: Mapping[str, Any],
    model_card: str,
    extra_files: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write a bundle; its directory appears whole or not at all. Needs torch.

    Parameters
    ----------
    directory : Path
        Where the bundle will lie; an older bundle there is replaced.
    metadata : BundleMetadata
        Its ``files`` are ignored and filled here.
    state_dict : mapping of str to Tensor
        Of ``models.networks.build(metadata.architecture, len(metadata.findings))``.
    evaluation : mapping
        Measured figures, JSON without NaN.
    extra_files : mapping of str to bytes, optional
        Further files to keep and to checksum (a licence text).

    Returns
    -------
    Bundle
        Loaded back and verified.

    Raises
    ------
    BundleError
        The weights do not fit the architecture, the export differs from torch, or the directory is no bundle.
    """
    from safetensors.torch import save_file  # noqa: PLC0415 - torch only where a bundle is made

    from models import networks  # noqa: PLC0415

    if directory.exists() and not (directory / METADATA).is_file():
        raise BundleError(f"{directory} exists and is not a bundle; it is left alone.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}, work / WEIGHTS)
        network = networks.restore(metadata.architecture, len(metadata.findings), work / WEIGHTS)
        networks.export_onnx(network, metadata.input, work / NETWORK)
        (work / EVALUATION).write_text(json.dumps(evaluation, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (work / CARD).write_text(model_card, encoding="utf-8")
        _write_self_test(work, metadata.input)
        for name, content in (extra_files or {}).items():
            (work / name).write_bytes(content)
        files = {path.name: _sha256(path) for path in sorted(work.iterdir())}
        complete = BundleMetadata.model_validate({**dict(metadata), "files": files})
        (work / METADATA).write_text(complete.model_dump_json(indent=1) + "\n", encoding="utf-8")
        Bundle.load(work).verify()
        work.chmod(0o755)
        _swap(work, directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Bundle.load(directory)


def _write_self_test(work: Path, spec: InputSpec, seed: int = 7) -> None:
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(str(work / NETWORK), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": self_test_input(spec, seed)})
    record = {
        "formula": "display(r, c) = 0.5 + 0.5 sin(0.11 r + seed) cos(0.07 c); input = (display - mean) / std",
        "seed": seed,
        "logits": [float(value) for value in logits[0]],
        "tolerance": _SELF_TEST_TOLERANCE * max(1.0, float(np.abs(logits).max())),
    }
    (work / SELF_TEST).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _swap(work: Path, directory: Path) -> None:
    """Put ``work`` where ``directory`` is: a reader sees the old bundle, none, or the new one."""
    retired = work.with_name(f"{work.name}.old")
    if directory.exists():
        os.replace(directory, retired)  # noqa: PTH105 - replace of directories
    os.replace(work, directory)  # noqa: PTH105
    shutil.rmtree(retired, ignore_errors=True)


def _overridden(finding: FindingSpec, override: Override | None) -> FindingSpec:
    if override is None:
        return finding
    update = {name: getattr(override, name) for name in ("urgency", "threshold")}
    return finding.model_copy(update={name: value for name, value in update.items() if value is not None})


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "metadata"
    return f"field {where}: {first['msg']}"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
