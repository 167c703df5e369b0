"""The spellings of the field → the names of :class:`models.networks.Network`.

===================  ================================================================================
torchvision          ``features.…``, ``layer1.…``, ``conv_proj.…``; head ``classifier``, ``fc``, ``heads.head``
torchxrayvision      torchvision's, DenseNet bare and ResNet below ``model.``, one input channel
CheXNet              ``module.densenet121.…`` (DataParallel), ``norm.1`` for ``norm1``, head in a Sequential
MONAI                DenseNet with ``layers.`` between, head ``class_layers.out``
===================  ================================================================================

A tensor that is missing, left over or of another shape ends the import: a network with one layer of chance numbers
still gives scores.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.importing.checkpoint import digest_names
from triage.errors import ForeignModelError

Arrays = Mapping[str, NDArray[Any]]

_WRAPPERS = (
    "module",
    "model",
    "net",
    "network",
    "backbone",
    "encoder_q",
    "_orig_mod",
    "densenet121",
    "densenet",
    "resnet",
)
_OLD_DENSENET = re.compile(r"(denselayer\d+)\.(norm|conv)\.([12])\.")
_HEAD = re.compile(r"(?:classifier|fc|_fc|heads\.head|heads|head|class_layers\.out)(?:\.(\d+))?\.(weight|bias)")
_OWN_BEFORE_HEAD = {"convnext": "classifier.0.", "squeezenet": "classifier.1."}
_BODIES: Mapping[str, tuple[str, str]] = {
    # family: (beginning of its tensors, what we put there instead)
    "densenet": ("features.", "features."),
    "efficientnet": ("features.", "features."),
    "convnext": ("features.", "features.body."),
    "squeezenet": ("features.", "features.body."),
    "resnet": ("", "features."),
    "shufflenet": ("", "features."),
    "vit": ("", "features."),
}
_TELLING: tuple[tuple[str, str], ...] = (
    # A tensor that only one family has.
    ("features.denseblock1.denselayer1.norm1.weight", "densenet"),
    ("encoder.pos_embedding", "vit"),
    ("features.3.squeeze.weight", "squeezenet"),
    ("features.1.0.layer_scale", "convnext"),
    ("features.1.0.block.0.0.weight", "efficientnet"),
    ("stage2.0.branch1.0.weight", "shufflenet"),
    ("layer1.0.conv1.weight", "resnet"),
)
FIRST_CONVOLUTION: Mapping[str, str] = {
    "densenet": "features.conv0.weight",
    "efficientnet": "features.0.0.weight",
    "convnext": "features.body.0.0.weight",
    "squeezenet": "features.body.0.weight",
    "resnet": "features.conv1.weight",
    "shufflenet": "features.conv1.0.weight",
    "vit": "features.conv_proj.weight",
}
_PATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Recognised:
    """A foreign state dict in our names.

    Attributes
    ----------
    family : str
        Key of :data:`models.networks.FAMILIES`.
    body : mapping of str to ndarray
        ``features.…``, float32 but for counters.
    weight, bias : ndarray
        The head: float32 (classes, C) and (classes,).
    """

    family: str
    body: Arrays
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    @property
    def classes(self) -> int:
        return len(self.bias)

    @property
    def channels(self) -> int:
        """Of the input: what the first convolution takes; 1 where the file has none."""
        first = self.body.get(FIRST_CONVOLUTION[self.family])
        return 3 if first is not None and first.ndim == 4 and first.shape[1] == 3 else 1

    @property
    def side(self) -> int:
        """Pixels of the input that a transformer's positions are for; 224 for every other network."""
        positions = self.body.get("features.encoder.pos_embedding")
        return (
            _PATCH * math.isqrt(max(0, positions.shape[1] - 1))
            if positions is not None and positions.ndim == 3
            else 224
        )


def recognise(tensors: Arrays, where: str) -> Recognised:
    """Tell the family by its tensors and rename them.

    Raises
    ------
    ForeignModelError
        No known family, or a head that is not one linear layer.
    """
    plain = _plain(tensors, where)
    family = next((family for name, family in _TELLING if name in plain), None)
    if family is None:
        raise ForeignModelError(
            f"{where} is of no architecture that is known here; its tensors are called {digest_names(list(plain))}.",
            next_step="Export the model to ONNX and import that file.",
        )
    own = _OWN_BEFORE_HEAD.get(family)
    heads = {name: _HEAD.fullmatch(name) for name in plain if own is None or not name.startswith(own)}
    head = {name: match for name, match in heads.items() if match is not None}
    body = {_renamed(name, family, own): array for name, array in plain.items() if name not in head}
    if family == "squeezenet":
        count = len(body["features.score.weight"]) if "features.score.weight" in body else 0
        return Recognised(family, _filled(body), np.eye(count, dtype=np.float32), np.zeros(count, np.float32))
    weight = [plain[name] for name, match in head.items() if match[2] == "weight"]
    bias = [plain[name] for name, match in head.items() if match[2] == "bias"]
    if len(weight) != 1 or len(bias) != 1 or weight[0].ndim != 2 or bias[0].shape != weight[0].shape[:1]:
        raise ForeignModelError(
            f"{where}: the head of this {family} is not one linear layer with a bias "
            f"({digest_names(list(head)) or 'there is none'}).",
            next_step="Export the model to ONNX and import that file.",
        )
    return Recognised(family, _filled(body), weight[0].astype(np.float32), bias[0].astype(np.float32))


def transposed(source: Recognised) -> Recognised:
    """The network that gives for an image what ``source`` gives for the image with rows and columns exchanged.

    A convolution commutes with the exchange if its kernel is exchanged too; nothing else in these networks knows
    rows from columns.

    Raises
    ------
    ForeignModelError
        A transformer: its positions are numbered along the rows.
    """
    if source.family == "vit":
        raise ForeignModelError(
            "rows and columns of a transformer's input cannot be exchanged in its weights.",
            next_step="Put the transposition into the network and export it to ONNX.",
        )
    body = {name: array.swapaxes(2, 3) if array.ndim == 4 else array for name, array in source.body.items()}
    return replace(source, body=body)


def _plain(tensors: Arrays, where: str) -> dict[str, NDArray[Any]]:
    """Without the wrappers around every name, and in today's spelling."""
    names = {name: name for name in tensors}
    while True:
        beginnings = {name.partition(".")[0] for name in names.values()}
        if len(beginnings) != 1 or (wrapper := beginnings.pop()) not in _WRAPPERS:
            break
        names = {name: plain.removeprefix(f"{wrapper}.") for name, plain in names.items()}
    spelt: dict[str, NDArray[Any]] = {}
    for name, plain in names.items():
        today = _OLD_DENSENET.sub(r"\1.\2\3.", plain)
        if "denseblock" in today:
            today = today.replace(".layers.", ".")
        if today in spelt:
            raise ForeignModelError(f"{where} has {today} twice, in two spellings.")
        spelt[today] = tensors[name]
    return spelt


def _renamed(name: str, family: str, own: str | None) -> str:
    if own is not None and name.startswith(own):
        return name.replace(own, "features.norm." if family == "convnext" else "features.score.", 1)
    before, after = _BODIES[family]
    return after + name.removeprefix(before) if name.startswith(before) else name


def _filled(body: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """float32, and the batch counters that torch before 0.4.1 did not keep (they change no number in service)."""
    full = {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in body.items()}
    for name in body:
        if name.endswith(".running_mean"):
            full.setdefault(name.replace(".running_mean", ".num_batches_tracked"), np.array(0, dtype=np.int64))
    return full
