"""Stored pixel values of one frame, whatever the transfer syntax. Nothing is allocated before it is checked.

Networks read grey images of one frame (:func:`decode`); people look at any frame of any image (:func:`decode_frame`),
of which only that one is read.

Uncompressed pixels are read here, with sizes checked. Compressed ones go to a :data:`~models.codecs.Codec` after their
headers were compared with the attributes; in the product it decodes in another process (:mod:`models.decoder`).
Whatever goes wrong is a :class:`~triage.errors.PixelError` with a reason.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_preamble

from models.codecs import RLE, SYNTAXES, Codec, Frame, decode_here
from models.codestreams import codestream_size, jpeg_is_ybr, require_end, require_rle_segments
from models.encapsulation import frame_bytes
from models.layout import YBR_422, Colour, Layout, layout_of
from triage.errors import DicomError, FirstreadError, PixelError

MAX_INFLATED_BYTES = 1 << 29
"""Largest data set that a deflated file may unfold to."""
_LARGEST_EXPANSION = 2
_HEADER_ROOM = 1 << 20
_LEFT_IN_FILE = 1 << 16
"""Bytes; longer values are read when they are asked for."""
_PIXEL_DATA = 0x7FE00010
_UNDEFINED = 0xFFFFFFFF

Pixels = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded frame: :attr:`samples` as :func:`decode` gives them, (rows, columns, 3) where ``colour`` has three."""

    samples: Pixels
    colour: Colour


def read(path: Path) -> Dataset:
    """Read a DICOM file, forgiving what can be forgiven (no preamble, no file meta information).

    Pixel data stay in the file until they are asked for: a header of a gigabyte's object costs no gigabyte.

    Raises
    ------
    DicomError
        Not readable as DICOM, or a deflated data set beyond :data:`MAX_INFLATED_BYTES`.
    """
    try:
        with path.open("rb") as file:
            read_preamble(file, force=True)
            meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
            if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
                dataset = read_dataset(io.BytesIO(_inflate(file.read())), False, True)
                return _with_meta(dataset, meta)
        return pydicom.dcmread(path, force=True, defer_size=_LEFT_IN_FILE)
    except (DicomError, OSError):
        raise
    except Exception as error:
        raise DicomError(f"the file cannot be read as DICOM ({type(error).__name__}).") from error


def has_pixel_data(dataset: Dataset) -> bool:
    """Whether there is a picture to decode: integer Pixel Data with at least one byte."""
    return _PIXEL_DATA in dataset and (_bytes_left_in_file(dataset) > 0 or bool(dataset.PixelData))


def decode(dataset: Dataset, codec: Codec = decode_here) -> Pixels:
    """Decode the stored values of a grey image with one frame.

    Parameters
    ----------
    dataset : Dataset
        With Pixel Data and, unless it was written without, file meta information.
    codec : callable
        Decodes the frame where it is compressed; the default does it in this process.

    Returns
    -------
    ndarray
        (rows, columns), little endian, uint8, uint16 or uint32 (int8, int16, int32 where Pixel Representation
        is 1). Bits above Bits Stored are cleared or sign-extended. May be read-only, and overwritten by the codec's
        next call.

    Raises
    ------
    PixelError
        No pixel data, attributes that :mod:`models.layout` refuses or the codestream contradicts,
        a transfer syntax without decoder, damaged or cut off data.
    """
    return _decode(dataset, codec, 1, only_grey=True).samples


def decode_frame(dataset: Dataset, number: int, codec: Codec = decode_here) -> Picture:
    """Decode one frame of a grey, palette or colour image; the others are not read.

    Parameters
    ----------
    number : int
        Of the frame, from 1.

    Raises
    ------
    PixelError
        As :func:`decode`, or there is no such frame.
    """
    return _decode(dataset, codec, number, only_grey=False)


def _decode(dataset: Dataset, codec: Codec, number: int, *, only_grey: bool) -> Picture:
    try:
        if not has_pixel_data(dataset):
            raise PixelError("the object has no pixel data.")
        layout = layout_of(dataset, only_grey=only_grey)
        if not 1 <= number <= layout.frames:
            raise PixelError(f"the image has {layout.frames} frames; there is no frame {number}.")
        syntax = _transfer_syntax(dataset)
        if _bytes_left_in_file(dataset) > _LARGEST_EXPANSION * layout.size * layout.frames + _HEADER_ROOM:
            raise PixelError("there is more pixel data than any picture of this size has.")
        if syntax.is_encapsulated:
            return _compressed(dataset, syntax, layout, codec, number)
        return Picture(_native(dataset, syntax, layout, number), layout.colour)
    except FirstreadError:
        raise
    except Exception as error:
        raise PixelError(f"the pixel data cannot be decoded ({type(error).__name__}).") from error


def _bytes_left_in_file(dataset: Dataset) -> int:
    """Length of pixel data that have not been read yet, at most; 0 when they are in memory."""
    element: Any = dataset.get_item(_PIXEL_DATA, keep_deferred=True)
    if not isinstance(element, RawDataElement) or element.value is not None:
        return 0
    if element.length != _UNDEFINED:
        return element.length
    return Path(str(dataset.filename)).stat().st_size - element.value_tell


def _transfer_syntax(dataset: Dataset) -> uid.UID:
    meta = getattr(dataset, "file_meta", None)
    stated = meta.get("TransferSyntaxUID") if meta is not None else None
    if stated:
        syntax = uid.UID(str(stated))
        if syntax.is_private or not syntax.is_transfer_syntax:
            raise PixelError("the transfer syntax is not one of the standard.")
        return syntax
    implicit, little = dataset.original_encoding
    if little is False:
        return uid.ExplicitVRBigEndian
    return uid.ImplicitVRLittleEndian if implicit is not False else uid.ExplicitVRLittleEndian


# --- native ---


def _native(dataset: Dataset, syntax: uid.UID, layout: Layout, number: int) -> Pixels:
    begin = (number - 1) * layout.size
    available = _native_length(dataset) - begin
    if available < layout.size:
        raise PixelError(f"the pixel data has {max(0, available)} bytes of {layout.size}: it is cut off.")
    order = layout.unsigned_dtype
    if not syntax.is_little_endian and layout.allocated == 8 and _vr_of_pixels(dataset) == "OW":
        # Two pixels in one big endian word (PS3.5 8.1.1 and annex A.3).
        odd = begin % 2
        data = _native_bytes(dataset, begin - odd, odd + layout.size + (odd + layout.size) % 2)
        data = np.frombuffer(data, dtype=">u2").astype("<u2").tobytes()[odd:]
    else:
        data = _native_bytes(dataset, begin, layout.size)
        if not syntax.is_little_endian:
            order = order.newbyteorder(">")
    frame = np.frombuffer(data, dtype=order, count=layout.size // order.itemsize)
    return _as_stored(_by_pixel(frame.astype(layout.unsigned_dtype, copy=False), layout), layout)


def _by_pixel(frame: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Samples as they lie in the file → (rows, columns) or (rows, columns, 3)."""
    if layout.samples == 1:
        return frame.reshape(layout.shape)
    if layout.photometric == YBR_422:
        if layout.columns % 2:
            raise PixelError("an odd number of columns cannot share its chrominance.")
        pairs = frame.reshape(layout.rows, layout.columns // 2, 4)  # Y1 Y2 CB CR
        whole = np.empty(layout.shape, frame.dtype)
        whole[:, 0::2, 0], whole[:, 1::2, 0] = pairs[..., 0], pairs[..., 1]
        whole[:, 0::2, 1:] = whole[:, 1::2, 1:] = pairs[..., 2:]
        return whole
    if layout.by_plane:
        return np.ascontiguousarray(frame.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0))
    return frame.reshape(layout.shape)


def _native_length(dataset: Dataset) -> int:
    left = _bytes_left_in_file(dataset)
    return left if left else len(dataset.PixelData)


def _native_bytes(dataset: Dataset, begin: int, length: int) -> bytes | NDArray[np.uint8]:
    """Of uncompressed pixel data; what has not been read yet stays in the file."""
    element: Any = dataset.get_item(_PIXEL_DATA, keep_deferred=True)
    if not _bytes_left_in_file(dataset) or element.length == _UNDEFINED:
        whole: bytes = dataset.PixelData
        return whole[begin : begin + length]
    # Not mapped: a file that is shortened meanwhile would end this process. Numpy's memory comes in large pages, and is
    # written once.
    data = np.empty(length, np.uint8)
    with Path(str(dataset.filename)).open("rb", buffering=0) as file:
        file.seek(element.value_tell + begin)
        got = 0
        while got < length and (portion := file.readinto(data.data[got:])):
            got += portion
    if got < length:
        raise PixelError(f"the pixel data has {got} bytes of {length}: it is cut off.")
    return data


def _vr_of_pixels(dataset: Dataset) -> str:
    vr = dataset.get_item(_PIXEL_DATA, keep_deferred=True).VR
    return str(vr or "OW")


DECODABLE = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
        *SYNTAXES,
    }
)
"""UIDs of the transfer syntaxes that :func:`decode` handles."""


def _as_stored(frame: NDArray[Any], layout: Layout) -> Pixels:
    """Unsigned words as they lie in the file → values: overlay bits cleared, sign extended, of the layout's shape."""
    spare = layout.allocated - layout.stored
    values = frame.reshape(layout.shape)
    if not spare:
        return values.view(layout.dtype)
    if layout.signed:
        extended: Pixels = np.right_shift(np.left_shift(values.view(layout.dtype), spare), spare)
        return extended
    if int(values.max()) >> layout.stored:
        cleared: Pixels = np.bitwise_and(values, layout.unsigned_dtype.type((1 << layout.stored) - 1))
        return cleared
    return values


# --- compressed ---


def _compressed(dataset: Dataset, syntax: uid.UID, layout: Layout, codec: Codec, number: int) -> Picture:
    if syntax not in DECODABLE:
        raise PixelError(f"there is no decoder for transfer syntax {syntax}.")
    data = _codestream(dataset, layout, number)
    if not data:
        raise PixelError("the pixel data has no frame.")
    colour = layout.colour
    if syntax == RLE:
        require_rle_segments(data, layout.samples * layout.allocated // 8)
        fits = True
    else:
        fits = _check_codestream(data, layout)
        if layout.samples == 3 and data.startswith(b"\xff\xd8") and (ybr := jpeg_is_ybr(data)) is not None:
            colour = Colour.YBR if ybr else Colour.RGB  # the codestream knows better than the attributes
    frame = Frame(
        syntax=str(syntax),
        data=data,
        rows=layout.rows,
        columns=layout.columns,
        itemsize=layout.allocated // 8,
        samples=layout.samples,
        fits=fits,
    )
    return Picture(_as_stored(codec(frame), layout), colour)


def _codestream(dataset: Dataset, layout: Layout, number: int) -> bytes:
    element: Any = dataset.get_item(_PIXEL_DATA, keep_deferred=True)
    extended = dataset.get("ExtendedOffsetTable") or b""
    offsets = np.frombuffer(extended, "<u8").tolist() if len(extended) == 8 * layout.frames else ()
    most = _LARGEST_EXPANSION * layout.size + _HEADER_ROOM
    if not _bytes_left_in_file(dataset):
        return frame_bytes(io.BytesIO(dataset.PixelData), number, layout.frames, most=most, offsets=offsets)
    with Path(str(dataset.filename)).open("rb") as file:
        file.seek(element.value_tell)
        return frame_bytes(file, number, layout.frames, most=most, offsets=offsets)


def _check_codestream(data: bytes, layout: Layout) -> bool:
    """Compare the codestream's own header with the attributes; True when its samples are the words of the layout."""
    size = codestream_size(data)
    if (size.rows, size.columns) != (layout.rows, layout.columns):
        raise PixelError(
            f"the codestream holds {size.rows} x {size.columns} pixels, "
            f"the attributes say {layout.rows} x {layout.columns}."
        )
    if size.samples != layout.samples:
        raise PixelError(f"the codestream has {size.samples} samples per pixel, the attributes say {layout.samples}.")
    if size.precision > layout.allocated:
        raise PixelError(f"the codestream has {size.precision} bits, Bits Allocated says {layout.allocated}.")
    require_end(data)
    plain = layout.samples == 1 and not size.signed and layout.allocated <= 16
    return plain and size.precision > layout.allocated // 2


# --- deflated data sets ---


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(data, MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise DicomError("the deflated data set unfolds to more than is read.")
    return plain


def _with_meta(dataset: Dataset, meta: Dataset) -> Dataset:
    dataset.file_meta = FileMetaDataset(meta)
    return dataset
