"""The decoders of compressed frames, one per transfer syntax: the only place where codecs meet received bytes.

In the product they run in a process of their own (:mod:`models.decoder`). Tools that read files of their owner's
choice may call :func:`decode_here`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

THREADS: Final = min(os.cpu_count() or 1, 8)
"""For JPEG 2000, the one decoder that uses several; each costs address space."""

Words = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """One compressed frame whose header agrees with the attributes.

    Attributes
    ----------
    syntax : str
        UID of the transfer syntax, one of :data:`SYNTAXES`.
    data : bytes-like
        The codestream.
    itemsize : int
        Bytes per sample, 1, 2 or 4: Bits Allocated / 8.
    samples : int
        Samples per pixel: 1, or 3 of a colour image.
    fits : bool
        The codestream's samples are unsigned and need just these bytes: a decoder may write them in place.
    """

    syntax: str
    data: bytes | memoryview
    rows: int
    columns: int
    itemsize: int
    fits: bool
    samples: int = 1

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"<u{self.itemsize}")

    @property
    def size(self) -> int:
        """Bytes of the decoded frame."""
        return self.rows * self.columns * self.samples * self.itemsize

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the decoded frame: (rows, columns), or (rows, columns, 3) of a colour image."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)


Codec = Callable[[Frame], Words]
"""Decodes a frame to words of its shape and dtype, in the colour space in which they are stored: YCbCr stays YCbCr. Of
JPEG 2000, the codestream's own colour transform is undone. The array may be overwritten by the next call."""

_Decoder = Callable[[Any, Words | None], Any]


def _jpeg(data: Any, out: Words | None) -> Any:
    return imagecodecs.jpeg8_decode(data, out=out)


def _colour_jpeg(data: Any, out: Words | None) -> Any:
    # With the same name on both sides the samples are left as they are; without one the library guesses.
    return imagecodecs.jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB", out=out)


def _jpeg_ls(data: Any, out: Words | None) -> Any:
    return imagecodecs.jpegls_decode(data, out=out)


def _jpeg_2000(data: Any, out: Words | None) -> Any:
    return imagecodecs.jpeg2k_decode(data, numthreads=THREADS, out=out)


def _htj2k(data: Any, out: Words | None) -> Any:
    return imagecodecs.htj2k_decode(data, out=out)


RLE: Final = "1.2.840.10008.1.2.5"
_DECODERS: Final[Mapping[str, _Decoder]] = {
    "1.2.840.10008.1.2.4.50": _jpeg,  # baseline
    "1.2.840.10008.1.2.4.51": _jpeg,  # extended, 12 bit
    "1.2.840.10008.1.2.4.53": _jpeg,  # spectral selection, retired
    "1.2.840.10008.1.2.4.55": _jpeg,  # full progression, retired
    "1.2.840.10008.1.2.4.57": _jpeg,  # lossless
    "1.2.840.10008.1.2.4.70": _jpeg,  # lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": _jpeg_ls,
    "1.2.840.10008.1.2.4.81": _jpeg_ls,  # near lossless
    "1.2.840.10008.1.2.4.90": _jpeg_2000,  # lossless
    "1.2.840.10008.1.2.4.91": _jpeg_2000,
    "1.2.840.10008.1.2.4.201": _htj2k,  # lossless
    "1.2.840.10008.1.2.4.202": _htj2k,  # lossless, RPCL
    "1.2.840.10008.1.2.4.203": _htj2k,
}
SYNTAXES: Final = frozenset({RLE, *_DECODERS})
"""UIDs of the compressed transfer syntaxes that are decoded."""


def decode_into(frame: Frame, out: Words) -> None:
    """Decode a frame.

    Parameters
    ----------
    out : ndarray
        Of the frame's shape and dtype; holds zeros.

    Raises
    ------
    Exception
        Of any class, as the codec has it: the codestream is damaged, or holds another picture than its header says.
    """
    if frame.syntax == RLE:
        data: Any = frame.data
        by_plane = out if frame.samples == 1 else np.zeros((frame.samples, *out.shape[:2]), frame.dtype)
        plain: Any = by_plane.reshape(-1).view(np.uint8)
        written = imagecodecs.dicomrle_decode(data, frame.dtype, out=plain)
        if len(written) != frame.size:
            raise ValueError("the segments hold another number of pixels than the attributes state")
        if by_plane is not out:
            np.copyto(out, by_plane.transpose(1, 2, 0))
        return
    decoder = _DECODERS[frame.syntax]
    if decoder is _jpeg and frame.samples > 1:
        decoder = _colour_jpeg
    if frame.fits:
        decoder(frame.data, out)
        return
    decoded = np.asarray(decoder(frame.data, None))
    if decoded.shape == (frame.samples, *out.shape[:2]) and frame.samples > 1:
        decoded = decoded.transpose(1, 2, 0)
    if decoded.shape != out.shape or decoded.dtype.kind not in "iu":
        raise ValueError("the decoder gave another array than the attributes state")
    # Two's complement survives the change of width both ways; Bits Stored settles the sign later.
    np.copyto(out, decoded, casting="unsafe")


def decode_here(frame: Frame) -> Words:
    """The :data:`Codec` of this process: for bytes that may be trusted, since a codec that crashes ends the process."""
    out = np.zeros(frame.shape, frame.dtype)
    decode_into(frame, out)
    return out


def load() -> None:
    """Load every codec's library, so that none is looked for when the first image comes."""
    for decoder in ("jpeg8", "jpegls", "jpeg2k", "htj2k", "dicomrle"):
        getattr(imagecodecs, f"{decoder}_decode")
