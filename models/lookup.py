"""A look-up table of a Modality or VOI LUT Sequence (PS3.3 C.11.1.1 and C.11.2.1.1).

Read here and not by pydicom, whose index into a table of 8-bit entries has 8 bits itself, so that it scrambles an image
of 12 bits, and which does not know entries that are packed two to a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from models.header_values import usable_number, values_of
from triage.errors import PixelError

_BITS: Final = range(8, 17)
_WORDS: Final = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """Entries for the values from ``first`` on; what lies below has the first entry, what lies above the last.

    Attributes
    ----------
    entries : ndarray
        float64 (n,), whole numbers >= 0.
    top : int
        The highest value that an entry may have: 2^bits - 1, or more where an entry has more.
    """

    entries: NDArray[np.float64]
    first: int
    top: int

    @classmethod
    def of(cls, dataset: Dataset, keyword: str) -> LookupTable | None:
        """The first table of the sequence ``keyword``; None where there is none.

        Raises
        ------
        PixelError
            There is one, and it cannot be used.
        """
        try:
            sequence = dataset.get(keyword)
            if not sequence:
                return None
            item = sequence[0]
            data = item["LUTData"].value
            data = data if isinstance(data, bytes) else values_of(item, "LUTData")
        except Exception as error:  # pydicom parses an element when it is asked for, and may fail in any way
            raise PixelError(f"{keyword} has no table.") from error
        described = [usable_number(value) for value in values_of(item, "LUTDescriptor")]
        if len(described) != 3 or None in described:
            raise PixelError(f"{keyword} has no LUT Descriptor.")
        count, first, bits = (int(number) for number in described if number is not None)
        count %= _WORDS
        if bits not in _BITS:
            raise PixelError(f"{keyword} has entries of {bits} bits.")
        entries = _entries(data, count or _WORDS, bits, big_endian=_is_big_endian(dataset))
        if entries is None:
            raise PixelError(f"{keyword} has fewer entries than its LUT Descriptor says.")
        if first >= _WORDS // 2 and _may_be_negative(dataset):
            first -= _WORDS  # written as US where it should be SS, it means the same bits
        return cls(entries.astype(np.float64), first, max((1 << bits) - 1, int(entries.max())))

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Entries of values, which are rounded to whole ones; same shape."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        found: NDArray[np.float64] = self.entries[index]
        return found


def _entries(data: bytes | list[Any], count: int, bits: int, *, big_endian: bool) -> NDArray[Any] | None:
    """So many entries, as they lie in words or two to a word; None where there are fewer."""
    if isinstance(data, bytes):
        words = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if big_endian else "<u2")
    else:
        numbers = [usable_number(value) for value in data]
        words = np.array([0 if number is None else int(number) % _WORDS for number in numbers], "<u2")
    if len(words) >= count:
        return words[:count]
    if bits == 8 and len(words) >= (count + 1) // 2:
        return np.frombuffer(words.astype("<u2").tobytes(), np.uint8)[:count]  # the first one in the lower half
    return None


def _is_big_endian(dataset: Dataset) -> bool:
    meta = getattr(dataset, "file_meta", None)
    syntax = meta.get("TransferSyntaxUID") if meta is not None else None
    return str(syntax) == ExplicitVRBigEndian if syntax else dataset.original_encoding[1] is False


def _may_be_negative(dataset: Dataset) -> bool:
    """Whether the values that go into a table may be below 0: stored ones, or their rescaled ones at either end."""
    signed, bits, slope, intercept = (
        usable_number(next(iter(values_of(dataset, keyword)), None))
        for keyword in ("PixelRepresentation", "BitsStored", "RescaleSlope", "RescaleIntercept")
    )
    highest = 2.0 ** (16 if bits is None else bits) - 1
    return signed == 1 or (intercept or 0) + min(0.0, (slope or 0) * highest) < 0
