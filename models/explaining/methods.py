"""The method that a bundle names in its ``explanation``, ready to be called.

The closed forms cost one matrix product on the feature map that the forward pass has given anyway; occlusion runs the
network again and again; integrated gradients load torch at their first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from models.explaining.activation import Float32, class_activation_map, to_peak
from models.explaining.gradients import (
    Weigh,
    grad_cam,
    grad_cam_plus_plus,
    head_gradients,
    hirescam,
    pooled_linear_gradients,
)
from models.explaining.integrated import integrated_gradients
from models.explaining.occlusion import occlusion_maps
from models.inference import Predictor
from models.preprocessing import normalise
from triage.errors import BundleError, ExplanationError

if TYPE_CHECKING:
    from torch import Tensor

    from models.networks import Network

Explain = Callable[[Float32, Float32, Sequence[int]], Float32]
"""(image float32 (1, H, W), features float32 (C, h, w), rows of the logits) → maps float32 (n, h', w') in [0, 1].

Each map spans the whole input. Raises ExplanationError where a map cannot be made; the score stands without it.
"""

GRADIENTS: Final[Mapping[str, Weigh]] = {
    "grad-cam": grad_cam,
    "grad-cam++": grad_cam_plus_plus,
    "hirescam": hirescam,
}
METHODS: Final = ("cam", *GRADIENTS, "occlusion", "integrated-gradients")
"""Every method but "none"."""


def explainer(
    predictor: Predictor,
    method: str | None = None,
    *,
    head: Callable[[Tensor], Tensor] | None = None,
    network: Network | None = None,
) -> Explain | None:
    """How the predictor's bundle wants its scores explained; None where it wants no heat maps.

    Parameters
    ----------
    method : str, optional
        One of :data:`METHODS` or "none", in place of the bundle's own.
    head : callable, optional
        Tensor (1, C, h, w) → logits (1, K), for the gradient methods on a network that does not end in global average
        pooling and one linear layer. Without it that ending is taken for granted, as the self-test of a bundle proves
        it (:mod:`models.self_test`), and no torch is needed.
    network : Network, optional
        For integrated gradients, in evaluation mode on the CPU; the bundle's own weights by default.

    Raises
    ------
    ExplanationError
        There is no such method.
    """
    method = predictor.bundle.metadata.explanation if method is None else method
    if method == "none":
        return None
    if method == "cam":
        return lambda _image, features, rows: class_activation_map(features, predictor.class_weights[list(rows)])
    if method in GRADIENTS:
        return _weighed(GRADIENTS[method], predictor, head)
    if method == "occlusion":
        return lambda image, _features, rows: to_peak(
            occlusion_maps(lambda batch: predictor.predict(batch).logits, image)[list(rows)]
        )
    if method == "integrated-gradients":
        return _integrated(predictor, network)
    raise ExplanationError(f"there is no method {method!r}; known are {', '.join(METHODS)}.")


def _weighed(weigh: Weigh, predictor: Predictor, head: Callable[[Tensor], Tensor] | None) -> Explain:
    def gradients(features: Float32, row: int) -> Float32:
        if head is not None:
            return head_gradients(head, features, row)
        return pooled_linear_gradients(predictor.class_weights[row], *features.shape[1:])

    return lambda _image, features, rows: np.stack([weigh(features, gradients(features, row)) for row in rows])


def _integrated(predictor: Predictor, network: Network | None) -> Explain:
    metadata = predictor.bundle.metadata
    black = normalise(np.zeros((1, 1), np.float32), metadata.input)

    @cache
    def loaded() -> Network:
        if network is not None:
            return network
        try:
            from models import networks  # noqa: PLC0415 - torch, only where a bundle asks for this method
        except ImportError as error:
            raise ExplanationError("integrated gradients need torch, which is not installed.") from error
        try:
            return networks.restore(metadata.architecture, len(metadata.findings), predictor.bundle.weights)
        except BundleError as error:  # a graph has none; the score must not be lost with the map
            raise ExplanationError(
                f"integrated gradients need the network's weights, and the bundle gives none that can be used: {error}"
            ) from error

    def logits(images: Tensor) -> Tensor:
        found: Tensor = loaded()(images)[0]
        return found

    def explain(image: Float32, _features: Float32, rows: Sequence[int]) -> Float32:
        return np.stack([integrated_gradients(logits, image, row, baseline=black).heat() for row in rows])

    return explain
