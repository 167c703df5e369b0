"""One image from its data set to the network's input, or the reason why it has no score."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from models.codecs import Codec, decode_here
from models.decoding import decode, has_pixel_data
from models.gate import Gate
from models.metadata import InputSpec
from models.preprocessing import Float32, Placement, display_image, network_input, pixel_aspect, unlike_an_image
from models.routing import Refusal
from triage.errors import DecodeMemoryError, DecoderCrashError, DecodeTimeoutError, PixelError
from triage.findings import NotAnalysedReason

_REASONS = {
    DecoderCrashError: NotAnalysedReason.DECODER_CRASH,
    DecodeTimeoutError: NotAnalysedReason.DECODE_TIMEOUT,
    DecodeMemoryError: NotAnalysedReason.OUT_OF_MEMORY,
}


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An image ready for the network.

    Attributes
    ----------
    display : ndarray
        float32 (rows, columns) in [0, 1], 1 is white: what previews are drawn from.
    image : ndarray
        float32 (channels, height, width): one entry of the batch for :meth:`models.inference.Predictor.predict`.
    placement : Placement
        Where the source lies in ``image``.
    """

    display: Float32
    image: Float32
    placement: Placement


def refusal_of(error: PixelError) -> Refusal:
    """The reason that pixels which cannot be decoded give."""
    return Refusal(_REASONS.get(type(error), NotAnalysedReason.DECODE_ERROR), str(error))


def prepare(
    dataset: Dataset, spec: InputSpec, codec: Codec = decode_here, gate: Gate | None = None
) -> Prepared | Refusal:
    """Decode, window and fit an image that :func:`models.routing.screen` let through.

    Parameters
    ----------
    dataset : Dataset
        Whole object, from :func:`models.decoding.read`.
    codec : callable
        For compressed pixels; the default decodes in this process.
    gate : Gate, optional
        Looks at the picture before it is fitted, where the bundle asks for it (``routing.asks_gate``).

    Raises
    ------
    DecoderUnavailableError
        The codec could not be reached, which says nothing about the image.
    InferenceError
        The gate's output is unusable.
    """
    if not has_pixel_data(dataset):
        return Refusal(NotAnalysedReason.NO_PIXELS)
    try:
        display = display_image(dataset, decode(dataset, codec))
    except PixelError as error:
        return refusal_of(error)
    problem = unlike_an_image(display)
    if problem is not None:
        return Refusal(NotAnalysedReason.OUT_OF_DISTRIBUTION, problem)
    aspect = pixel_aspect(dataset)
    refused = gate.refusal(display, pixel_aspect=aspect) if gate is not None else None
    if refused is not None:
        return refused
    image, placement = network_input(display, spec, pixel_aspect=aspect)
    return Prepared(display, image, placement)
