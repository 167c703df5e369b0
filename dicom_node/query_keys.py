"""The identifier of a C-FIND request, read: which attributes are asked for, and what each has to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from dicom_node.contexts import IMPLICIT_VR_LITTLE_ENDIAN
from dicom_node.elements import walk
from dicom_node.header import SPECIFIC_CHARACTER_SET, codecs_of, verbatim
from triage.errors import DicomError

MAXIMUM_IDENTIFIER: Final = 256 * 1024
"""Bytes of an identifier; a list of a thousand UIDs has 64 KiB."""
MAXIMUM_KEYS: Final = 1000
_ITEM: Final = b"\xfe\xff\x00\xe0"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one level of nesting, by tag: text without padding, or the keys of a sequence's item.

    Attributes
    ----------
    several : frozenset of int
        Sequences that came with more than one item, which means nothing (PS3.4 C.2.2.2.6).
    """

    values: Mapping[int, str | Keys]
    several: frozenset[int] = frozenset()

    def text(self, tag: int) -> str:
        """Value of a key, "" where it is not asked for or has none."""
        value = self.values.get(tag, "")
        return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class Identifier:
    """The keys of a request and the Specific Character Set that they came in."""

    keys: Keys
    character_set: str


def read_identifier(data: bytes, transfer_syntax_uid: str) -> Identifier:
    """Read the data set of a C-FIND request.

    Raises
    ------
    DicomError
        Not a data set, or too large for a question. Names no value.
    """
    if len(data) > MAXIMUM_IDENTIFIER or data.count(_ITEM) > MAXIMUM_KEYS:
        raise DicomError("The identifier is too large for a query.")
    # The walk also because pydicom reads damaged lengths in silence, and nests as deep as it can.
    character_set = walk(data, transfer_syntax_uid, (SPECIFIC_CHARACTER_SET,)).values.get(SPECIFIC_CHARACTER_SET, b"")
    try:
        dataset = read_dataset(BytesIO(data), transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN, True)
        keys = _keys(dataset, codecs_of(character_set))
    except Exception as error:  # the parser raises what it likes on damaged bytes, and its texts may hold values
        raise DicomError(f"The identifier cannot be read ({type(error).__name__}).") from error
    return Identifier(keys, character_set.decode("ascii", errors="replace").strip(" \0"))


def _keys(dataset: Dataset, codecs: list[str]) -> Keys:
    if len(dataset) > MAXIMUM_KEYS:
        raise DicomError("The identifier has too many keys.")
    values: dict[int, str | Keys] = {}
    several = set()
    for tag in dataset.keys():  # noqa: SIM118 - iterating a Dataset converts its elements
        number = int(tag)
        if number & 0xFFFF == 0:  # a group length
            continue
        if _is_sequence(dataset, tag):
            items = dataset[tag].value
            if len(items) > 1:
                several.add(number)
            values[number] = _keys(items[0], codecs) if items else Keys({})
        else:
            values[number] = _text(dataset, tag, codecs)
    return Keys(values, frozenset(several))


def _is_sequence(dataset: Dataset, tag: BaseTag) -> bool:
    vr = getattr(dataset.get_item(tag), "VR", None)
    if vr is None:  # implicit: what the dictionary says
        vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
    return str(vr) == "SQ"


def _text(dataset: Dataset, tag: BaseTag, codecs: list[str]) -> str:
    value = getattr(dataset.get_item(tag), "value", b"")
    return verbatim(value, codecs).strip(" \0") if isinstance(value, bytes) else ""
