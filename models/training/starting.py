"""What a network knows before it learns: the features of a bundle, or of a safetensors file. Needs torch."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models import networks
from models.bundle import Bundle
from models.training.plan import TrainingPlan
from triage.errors import BundleError

_WRAPPERS = ("module.", "model.", "backbone.")
"""Beginnings that DataParallel and training scripts put before the names of parameters."""
_COUNTERS = "num_batches_tracked"


def start_from(network: networks.Network, path: Path, plan: TrainingPlan) -> None:
    """Take the features of another network, and its head if the plan says so.

    Parameters
    ----------
    path : Path
        Directory of a bundle of the plan's architecture, or safetensors with torchvision's names for it (ImageNet
        weights): three channels become one by their sum, which answers to grey as they did to equal channels.

    Raises
    ------
    BundleError
        Another architecture, other findings where the head is to be kept, or tensors that do not fit.
    """
    if path.is_dir():
        _from_bundle(network, path, plan)
    elif path.suffix == ".safetensors":
        _from_file(network, path, plan)
    else:
        raise BundleError(
            f"{path} is neither a bundle nor safetensors.",
            next_step="Pickled checkpoints are never opened here: convert the file to safetensors where it was made.",
        )


def _from_bundle(network: networks.Network, directory: Path, plan: TrainingPlan) -> None:
    source = Bundle.load(directory)
    if source.metadata.architecture != plan.architecture:
        raise BundleError(f"{directory} is a {source.metadata.architecture}, not a {plan.architecture}.")
    trained = networks.restore(plan.architecture, len(source.metadata.findings), source.weights)
    ours = network.features.state_dict()
    given = {name: _grey(tensor, ours[name]) for name, tensor in trained.features.state_dict().items()}
    fitted = {name: tensor for name, tensor in given.items() if tensor is not None}
    if len(fitted) < len(given):
        raise BundleError(f"{directory} reads images of other channels than this plan.")
    network.features.load_state_dict(fitted)
    if plan.keep_head:
        if tuple(finding.key for finding in source.metadata.findings) != plan.keys:
            raise BundleError(f"{directory} has other findings: its head cannot be kept.")
        network.classifier.load_state_dict(trained.classifier.state_dict())


def _from_file(network: networks.Network, path: Path, plan: TrainingPlan) -> None:
    if plan.keep_head:
        raise BundleError(f"{path} is not a bundle: which findings its head knows is not stated, so it is not kept.")
    try:
        given = {_plain(name): tensor for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} cannot be read as safetensors ({error}).") from error
    ours = network.features.state_dict()
    state, problems = {}, []
    for name, tensor in ours.items():
        found = given.get(f"features.{name}", given.get(name))
        if found is None and name.endswith(_COUNTERS):
            found = tensor
        fitted = None if found is None else _grey(found, tensor)
        if fitted is None:
            problems.append(name)
        else:
            state[name] = fitted
    if problems:
        raise BundleError(
            f"{path} does not hold the features of {plan.architecture}: {len(problems)} of {len(ours)} tensors are "
            f"missing or of another shape, {', '.join(problems[:3])} among them."
        )
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise BundleError(f"{path} holds weights that are not finite.")
    network.features.load_state_dict(state)


def _plain(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _grey(found: Tensor, wanted: Tensor) -> Tensor | None:
    """The tensor as this network needs it, or None."""
    if found.ndim == 4 and found.shape[1] == 3 and wanted.shape[1] == 1:
        found = found.sum(dim=1, keepdim=True)
    return found.to(wanted.dtype) if found.shape == wanted.shape else None
