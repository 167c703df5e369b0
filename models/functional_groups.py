"""The header of one frame: what an enhanced object says of it in its functional groups (PS3.3 C.7.6.16), laid flat.

A classic object says everything of all its frames at once; its header is every frame's.
"""

from __future__ import annotations

from typing import Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

_PIXEL_DATA: Final = 0x7FE00010
_SHARED: Final = "SharedFunctionalGroupsSequence"
_PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"
_GROUPS: Final = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
)  # fmt: skip
"""Those that say how the pixels are seen and where they lie."""


def header_of(dataset: Dataset, number: int) -> Dataset:
    """The header of a frame as a classic object would have it.

    Parameters
    ----------
    dataset : Dataset
        Of one or many frames; left as it is.
    number : int
        Of the frame, from 1.

    Returns
    -------
    Dataset
        What a frame's own groups say stands above what is shared, and that above the rest. Nothing is to be read from
        its Pixel Data. A classic object itself.
    """
    if _SHARED not in dataset and _PER_FRAME not in dataset:
        return dataset
    flat = Dataset()
    implicit, little = dataset.original_encoding
    flat.set_original_encoding(implicit, little, dataset.original_character_set)
    if hasattr(dataset, "file_meta"):
        flat.file_meta = dataset.file_meta  # says the byte order of look-up tables
    left_out = {_PIXEL_DATA, tag_for_keyword(_SHARED), tag_for_keyword(_PER_FRAME)}
    for tag in list(dataset.keys()):
        if tag not in left_out and not tag.is_private:
            flat[tag] = dataset.get_item(tag)
    for groups in (*_items(dataset, _SHARED)[:1], *_items(dataset, _PER_FRAME)[number - 1 : number]):
        for keyword in _GROUPS:
            for group in _items(groups, keyword)[:1]:
                flat.update(group)
    return flat


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence; none where there is no such sequence, or it is something else."""
    value = dataset.get(keyword)
    return list(value) if isinstance(value, Sequence) else []
