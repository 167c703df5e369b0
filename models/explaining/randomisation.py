"""Does a map need what the network has learned? The sanity check by weight randomisation (Adebayo et al. 2018).

Stage after stage, from the head down, the weights lose their places: every tensor of the stage is shuffled, so its
values keep their distribution and mean nothing any more. A map that stays as it was shows the image, not the network.
Needs torch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from models.bundle import Bundle
from models.inference import Outputs, Predictor

if TYPE_CHECKING:
    from torch import nn

    from models.networks import Network


def stages(network: Network) -> tuple[tuple[str, nn.Module], ...]:
    """The parts of a network that have weights, head first: the classifier, then the feature extractor's children."""
    children = [(f"features.{name}", child) for name, child in network.features.named_children()]
    weighted = [(name, child) for name, child in children if next(child.parameters(), None) is not None]
    return (("classifier", network.classifier), *reversed(weighted))


def cascade(network: Network, seed: int) -> Iterator[tuple[str, Network]]:
    """The network after each stage, from the head down, has been shuffled as well.

    Yields
    ------
    (str, Network)
        The stage's name, and one copy that is changed from stage to stage; ``network`` stays as it is.
    """
    import torch  # noqa: PLC0415

    generator = torch.Generator().manual_seed(seed)
    changed = copy.deepcopy(network).eval()
    for name, stage in stages(changed):
        with torch.no_grad():
            for tensor in (*stage.parameters(), *stage.buffers()):
                if tensor.is_floating_point():
                    shuffled = tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)]
                    tensor.copy_(shuffled.view_as(tensor))
        yield name, changed


def predictor_of(bundle: Bundle, network: Network) -> Predictor:
    """The bundle with another network in its place: what :func:`models.explaining.methods.explainer` wants."""
    import torch  # noqa: PLC0415

    def run(images: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Outputs:
        with torch.inference_mode():
            logits, features = network(torch.from_numpy(images))
        return Outputs(logits.numpy(), features.numpy())

    return Predictor(bundle, "cpu", network.classifier.weight.detach().numpy().copy(), run)
