"""A file of elsewhere and its description → a bundle on disk, verified. Needs torch but for ONNX files.

Every imported bundle is written as research: nothing was measured here, so no positive moves a case by itself
(urgency ROUTINE) and no score is called calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from models import card
from models.bundle import Bundle, file_digest
from models.bundle_writer import write_bundle
from models.importing import checkpoint, graph, layouts, monai, surgery
from models.importing.checkpoint import Checkpoint, digest_names
from models.importing.description import Description, agreed_labels, described_findings
from models.importing.layouts import Recognised
from models.importing.proof import check_scores
from models.metadata import ONNX, BundleMetadata, Calibration, FindingSpec, InputSpec, TrainingSummary
from triage.errors import ForeignModelError
from triage.findings import ScoreKind

if TYPE_CHECKING:
    from torch import Tensor

Arrays = Mapping[str, NDArray[Any]]
_DISCLAIMER = "IMPORTED RESEARCH MODEL - NOT FOR DIAGNOSIS"
_PLACEHOLDERS = "as described, else 0.5 for want of better"
_LIMITS = (
    "Imported: nothing was measured on this installation's images; its thresholds and scores are those of its source.",
    "Its scores are not calibrated.",
)
_FIT_LIMITS = {
    "centre_crop": "It sees the middle of the image only: what lies outside the central part is not looked at.",
    "stretch": "Images are stretched to its input: proportions (heart size) look other than they are.",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """What the kinds of files have in common once they are understood."""

    architecture: str
    input: InputSpec
    findings: tuple[FindingSpec, ...]
    labels: tuple[str, ...]
    outputs: tuple[int, ...]
    tensors: Mapping[str, Tensor]
    explanation: Literal["cam", "occlusion"]
    thresholds: str
    source: Path
    graph: bytes | None = None


def import_model(source: Path, directory: Path, description: Description, *, today: str) -> Bundle:
    """Turn a file, or a MONAI bundle directory, into a bundle.

    Parameters
    ----------
    source : Path
        Checkpoint, ``.onnx`` file or MONAI bundle directory.
    directory : Path
        The bundle is written to ``directory/<name>``.
    today : str
        YYYY-MM-DD, stated in the bundle.

    Raises
    ------
    ForeignModelError
        The source is unsafe, unreadable, or not what its description says.
    BundleError
        It cannot be written or does not verify.
    """
    if source.is_dir():
        parts = _from_monai(source, description)
    elif source.suffix.lower() == ".onnx":
        parts = _from_graph(source, description)
    else:
        parts = _from_checkpoint(source, checkpoint.read(source), description)
    digest = file_digest(parts.source)
    metadata = _metadata(parts, description, digest, today)
    imported = {
        "file": parts.source.name,
        "sha256": digest,
        "convention": description.convention or "as described",
        "labels": list(parts.labels),
    }
    evaluation = {"imported": imported}
    names = tuple(parts.labels[number] for number in parts.outputs)
    return write_bundle(
        directory / description.name,
        metadata,
        parts.tensors,
        evaluation=evaluation,
        model_card=card.render(metadata, evaluation),
        graph=parts.graph,
        proof=lambda written: check_scores(written, names, description.check, parts.source.name),
    )


def _from_checkpoint(source: Path, held: Checkpoint, description: Description) -> _Parts:
    recognised = layouts.recognise(held.tensors, source.name)
    if description.transposed:
        recognised = layouts.transposed(recognised)
    architecture = fitting_architecture(recognised, description.architecture, source.name)
    labels = agreed_labels(description, held.labels, recognised.classes, source.name)
    if held.thresholds is not None and len(held.thresholds) != len(labels):
        raise ForeignModelError(f"{source.name} has {len(held.thresholds)} op_threshs for {len(labels)} outputs.")
    outputs, findings = described_findings(description, labels, held.thresholds)
    rule = description.score_rule()
    if rule == "operating-point":
        raise ForeignModelError(
            f"{source.name} holds weights, whose outputs are logits; operating-point scores come from ONNX graphs.",
            next_step='Write scores = "sigmoid"; operating points in the checkpoint become the thresholds.',
        )
    weight, bias = recognised.weight, recognised.bias
    tensors = {**recognised.body, **_head(weight, bias, outputs, exclusive=rule == "softmax", where=source.name)}
    from models import networks  # noqa: PLC0415 - torch only where a network is made

    return _Parts(
        architecture=architecture,
        input=description.input_for(recognised.family, recognised.channels),
        findings=findings,
        labels=labels,
        outputs=outputs,
        tensors=networks.as_tensors(tensors),
        explanation="occlusion" if recognised.family == "vit" else "cam",
        thresholds=_PLACEHOLDERS if held.thresholds is None else "operating points of the checkpoint",
        source=source,
    )


def _from_monai(directory: Path, description: Description) -> _Parts:
    found = monai.read(directory)
    if description.transposed is None:
        raise ForeignModelError(
            f"nothing says whether {directory.name} was trained on images with rows and columns exchanged.",
            next_step="MONAI's LoadImage exchanges them unless a Transpose follows: write transposed = true, or false, "
            "into the description.",
        )
    spec = found.input
    if description.transposed:
        spec = spec.model_copy(update={"height": spec.width, "width": spec.height})
    if any(found.labels):
        # The bundle's own names count as the file's: a description that differs is refused.
        weights = Checkpoint(found.weights.tensors, found.labels, found.weights.thresholds)
    else:
        weights = found.weights
    described = description if description.input else description.model_copy(update={"input": spec})
    return _from_checkpoint(directory / monai.WEIGHTS, weights, described)


def _from_graph(source: Path, description: Description) -> _Parts:
    if description.transposed:
        raise ForeignModelError(
            f"{source.name} is a graph: its rows and columns cannot be exchanged here.",
            next_step="Put the transposition into the network before it is exported, and leave transposed out.",
        )
    foreign = graph.read(source)
    labels = agreed_labels(description, (), foreign.classes, source.name)
    outputs, findings = described_findings(description, labels, None)
    rule = description.score_rule()
    if rule == "softmax":
        _check_rest(outputs, foreign.classes, source.name)
    spec = description.input_for(ONNX, foreign.input.channels)
    fixed = foreign.input.height or spec.height, foreign.input.width or spec.width
    if fixed != (spec.height, spec.width):
        raise ForeignModelError(
            f"{source.name} takes images of {fixed[0]} x {fixed[1]}, described are {spec.height} x {spec.width}.",
            next_step="Correct height and width in [input].",
        )
    made = surgery.to_bundle_graph(foreign, outputs, rule, (spec.channels, spec.height, spec.width))
    from models import networks  # noqa: PLC0415

    return _Parts(
        architecture=ONNX,
        input=spec,
        findings=findings,
        labels=labels,
        outputs=outputs,
        tensors=networks.as_tensors(made.tensors),
        explanation=made.explanation,
        thresholds=_PLACEHOLDERS,
        source=source,
        graph=made.content,
    )


def fitting_architecture(recognised: Recognised, wanted: str | None, where: str) -> str:
    """The architecture whose tensors these are, name by name and shape by shape.

    Raises
    ------
    ForeignModelError
        None fits: the message names what is missing, left over or of another shape in the nearest.
    """
    from models import networks  # noqa: PLC0415

    family = networks.FAMILIES[recognised.family]
    if wanted is not None and networks.family(wanted) != recognised.family:
        raise ForeignModelError(
            f"{where} is a {recognised.family}, described as {wanted}.", next_step="Correct architecture."
        )
    found = {name: array.shape for name, array in recognised.body.items()}
    nearest: tuple[int, str, list[str]] | None = None
    for architecture in (wanted,) if wanted else family:
        expected = networks.body_shapes(
            architecture, channels=recognised.channels, side=recognised.side, maps=recognised.classes
        )
        problems = [
            f"{what} {digest_names(names)}"
            for what, names in (
                ("missing are", [name for name in expected if name not in found]),
                ("too many are", [name for name in found if name not in expected]),
                ("of another shape are", [n for n in expected if n in found and found[n] != expected[n]]),
            )
            if names
        ]
        if not problems:
            return architecture
        distance = len(expected.items() ^ found.items())
        if nearest is None or distance < nearest[0]:
            nearest = distance, architecture, problems
    _, architecture, problems = nearest or (0, "", [])
    raise ForeignModelError(
        f"{where} does not hold the weights of a {architecture}: {'; '.join(problems)}.",
        next_step="A network with a layer of chance numbers still gives scores, so it is not completed here: find the "
        "whole checkpoint, or export the model to ONNX.",
    )


def _head(
    weight: NDArray[np.float32], bias: NDArray[np.float32], outputs: tuple[int, ...], *, exclusive: bool, where: str
) -> dict[str, NDArray[np.float32]]:
    """The last layer for the findings alone; of a softmax also what the findings compete with."""
    rows = list(outputs)
    if not exclusive:
        return {"classifier.weight": weight[rows], "classifier.bias": bias[rows]}
    rest = _check_rest(outputs, len(bias), where)
    if len(rows) == len(rest) == 1:
        # softmax of two is the sigmoid of their difference: an ordinary head, with an exact activation map.
        return {"classifier.weight": weight[rows] - weight[rest], "classifier.bias": bias[rows] - bias[rest]}
    return {
        "classifier.weight": weight[rows],
        "classifier.bias": bias[rows],
        "rest.weight": weight[rest],
        "rest.bias": bias[rest],
    }


def _check_rest(outputs: tuple[int, ...], classes: int, where: str) -> list[int]:
    rest = [number for number in range(classes) if number not in outputs]
    if not rest:
        raise ForeignModelError(
            f"{where}: of classes that exclude each other every one is called a finding.",
            next_step='Name the class that stands for "nothing found" in no_findings.',
        )
    return rest


def _metadata(parts: _Parts, description: Description, digest: str, today: str) -> BundleMetadata:
    limits = [*description.limits, *_LIMITS]
    if parts.input.fit in _FIT_LIMITS:
        limits.append(_FIT_LIMITS[parts.input.fit])
    if parts.explanation == "occlusion":
        limits.append("It has no map of where it looked: that shows only by covering parts of the image.")
    operating = description.scores == "operating-point"
    kind = ScoreKind.OPERATING_POINT if operating else ScoreKind.UNCALIBRATED_PROBABILITY
    return BundleMetadata(
        format_version=1,
        name=description.name,
        version=description.version,
        manufacturer=description.manufacturer,
        licence=description.licence,
        intended_use=description.intended_use,
        limits=tuple(limits),
        research=True,
        disclaimer=_DISCLAIMER,
        architecture=parts.architecture,
        input=parts.input,
        findings=parts.findings,
        calibration=Calibration(score_kind=kind, method=f"none, not calibrated; thresholds: {parts.thresholds}"),
        routing=description.routing,
        training=TrainingSummary(
            data=description.training.data,
            images=description.training.images,
            seed=0,
            date=today,
            notes=f"Imported from {parts.source.name} (sha256 {digest}); the seed is not known",
        ),
        explanation=parts.explanation,
    )
