"""Pixels of a picture as a destination wants them: native, or in one of three codecs (PS3.5 annexes A.4.1 to A.4.4)."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from dicom_node.results.identity import SourceHeader
from triage.profiles import Compression

JPEG_QUALITY: Final = 90
"""Keeps the legend free of visible ringing."""
JPEG_METHOD: Final = "ISO_10918_1"
"""ISO/IEC 10918-1 (PS3.3 C.7.6.1.1.5.1)."""


def put_picture(target: Dataset, picture: npt.NDArray[np.uint8], compression: Compression) -> str:
    """Set the Image Pixel module (PS3.3 C.7.6.3) of an RGB picture; returns the Transfer Syntax UID.

    Parameters
    ----------
    target : Dataset
        What it says of lossy compression before ours is kept, and goes on.
    picture : ndarray of uint8, shape (rows, columns, 3), RGB
    """
    target.Rows, target.Columns = picture.shape[:2]
    target.SamplesPerPixel = 3
    target.PlanarConfiguration = 0
    target.BitsAllocated = target.BitsStored = 8
    target.HighBit = 7
    target.PixelRepresentation = 0
    raw = np.ascontiguousarray(picture)
    if compression == "none":
        target.PhotometricInterpretation = "RGB"
        target.add_new("PixelData", "OB", raw.tobytes())
        return str(ExplicitVRLittleEndian)
    if compression == "jpeg":
        import imagecodecs  # noqa: PLC0415 - only destinations that ask for compression need codecs

        stream = imagecodecs.jpeg8_encode(raw, level=JPEG_QUALITY, subsampling="422")
        target.PhotometricInterpretation, syntax = "YBR_FULL_422", JPEGBaseline8Bit
        target.LossyImageCompressionRatio = [
            *_values(target, "LossyImageCompressionRatio"),
            f"{raw.size / len(stream):.2f}",
        ]
        target.LossyImageCompressionMethod = [*_values(target, "LossyImageCompressionMethod"), JPEG_METHOD]
        target.LossyImageCompression = "01"
    else:
        stream, syntax = lossless(raw, compression)
        target.PhotometricInterpretation = "YBR_RCT" if syntax == JPEG2000Lossless else "RGB"
    target.add_new("PixelData", "OB", encapsulate([bytes(stream)]))
    target["PixelData"].is_undefined_length = True
    return str(syntax)


def lossless(pixels: npt.NDArray[np.uint8], compression: Literal["jpeg-2000", "rle"]) -> tuple[bytes, UID]:
    """One frame, encoded without loss, and the transfer syntax.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (rows, columns) grey or (rows, columns, 3) RGB
    """
    if compression == "jpeg-2000":
        import imagecodecs  # noqa: PLC0415 - as above

        coloured = pixels.ndim == 3
        stream = imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True, mct=coloured)
        return bytes(stream), JPEG2000Lossless
    from rle.utils import encode_pixel_data  # noqa: PLC0415 - pydicom's own takes two seconds for a megapixel

    rows, columns, *samples = pixels.shape
    stream = encode_pixel_data(
        pixels.tobytes(), rows=rows, columns=columns, samples_per_pixel=samples[0] if samples else 1,
        bits_allocated=8, number_of_frames=1, planar_configuration=0, byteorder="<",
    )  # fmt: skip
    return bytes(stream), RLELossless


def _values(target: Dataset, keyword: str) -> list[str]:
    """The steps of lossy compression before ours (multi-valued in order, PS3.3 C.7.6.1.1.5)."""
    return [str(value) for value in SourceHeader(target).texts(keyword)]
