"""Weights of elsewhere as a start of transfer learning: the features without the head. Needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from models.importing import checkpoint, layouts
from models.importing.assemble import fitting_architecture

if TYPE_CHECKING:
    from torch import Tensor


def read_backbone(path: Path, architecture: str, *, channels: Literal[1, 3] = 1) -> dict[str, Tensor]:
    """The features of a pretrained checkpoint (ImageNet or another), for a network of ours.

    Parameters
    ----------
    path : Path
        A checkpoint with torchvision's, torchxrayvision's, CheXNet's or MONAI's names.
    architecture : str
        One of :data:`models.networks.ARCHITECTURES`; the checkpoint must be of it.
    channels : {1, 3}
        Of the network that will be trained. A first layer for three colours becomes one for grey by adding its
        kernels (what it gives for a grey picture), one for grey is spread over three by thirds.

    Returns
    -------
    dict of str to Tensor
        ``features.…`` of :func:`models.networks.build`, float32; load it with ``strict=False``, the head is missing.

    Raises
    ------
    ForeignModelError
        The file is unsafe, damaged, or not of this architecture.
    """
    from models import networks  # noqa: PLC0415

    recognised = layouts.recognise(checkpoint.read(path).tensors, path.name)
    fitting_architecture(recognised, architecture, path.name)
    body = dict(recognised.body)
    first = layouts.FIRST_CONVOLUTION[recognised.family]
    if recognised.channels != channels:
        kernel = body[first].sum(axis=1, keepdims=True)
        body[first] = kernel if channels == 1 else np.repeat(kernel / 3, 3, axis=1)
    return networks.as_tensors(body)
