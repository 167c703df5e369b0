"""Text of a result written anew in another character set, for systems that read nothing else (PS3.3 C.12.1.1.2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from dicom_node.header import codecs_of, verbatim
from dicom_node.results.transliteration import spelled, spelled_name
from triage.errors import ResultError
from triage.profiles import CharacterSet

_TERMS: Final = {"utf-8": "ISO_IR 192", "latin-1": "ISO_IR 100", "ascii": ""}
_LONGEST: Final = {"SH": 16, "LO": 64, "PN": 64 * 3 + 2, "ST": 1024, "LT": 10240}
"""Characters of one value (PS3.5 6.2); a spelling may be longer than the letters it stands for."""
_TEXT: Final = frozenset((*_LONGEST, "UC", "UT"))
"""VRs whose text is in Specific Character Set (PS3.5 6.1.2.2)."""
_SINGLE: Final = frozenset(("ST", "LT", "UT"))
"""VRs with one value, in which a backslash is a character."""
_SPECIFIC_CHARACTER_SET: Final = Tag(0x0008, 0x0005)
_IDENTIFIERS: Final = {
    Tag(0x0010, 0x0020): "Patient ID",
    Tag(0x0010, 0x0021): "Issuer of Patient ID",
    Tag(0x0008, 0x0050): "Accession Number",
}
"""What says whose result it is: spelled otherwise it would be somebody else's."""

_Spell = Callable[[bytes, str], bytes]


def recode(dataset: Dataset, character_set: CharacterSet) -> None:
    """Write all text of a data set that was read from its encoding in UTF-8, Latin-1 or ASCII, in place.

    Raises
    ------
    ResultError
        An identifier has characters that the set does not have.
    """
    _recode(dataset, character_set, b"")
    term = _TERMS[character_set]
    if term:
        dataset.SpecificCharacterSet = term


def _recode(dataset: Dataset, character_set: CharacterSet, inherited: bytes) -> None:
    own = _bytes(dataset, _SPECIFIC_CHARACTER_SET) if _SPECIFIC_CHARACTER_SET in dataset else inherited
    spell = partial(_spelled, encodings=codecs_of(own), character_set=character_set)
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if str(element.VR) == "SQ":
            items = list(dataset[tag].value)
            for item in items:
                _recode(item, character_set, own)
            dataset[tag] = DataElement(tag, "SQ", Sequence(items))
        elif str(element.VR) in _TEXT:
            value = _bytes(dataset, BaseTag(tag))
            new = spell(value, vr=str(element.VR))
            if tag in _IDENTIFIERS and new.rstrip() != value.rstrip() and character_set != "utf-8":
                _refuse_another(value, new, spell.keywords["encodings"], BaseTag(tag), character_set)
            dataset[tag] = RawDataElement(BaseTag(tag), str(element.VR), len(new), new, 0, False, True)
    if _SPECIFIC_CHARACTER_SET in dataset:
        del dataset[_SPECIFIC_CHARACTER_SET]


def _refuse_another(value: bytes, new: bytes, encodings: list[str], tag: BaseTag, character_set: CharacterSet) -> None:
    if new.decode("latin-1").rstrip() != verbatim(value, encodings).rstrip():
        raise ResultError(
            f"{_IDENTIFIERS[tag]} has characters that {character_set} does not have.",
            next_step="Give this destination another character_set; an identifier is never spelled otherwise.",
        )


def _spelled(value: bytes, *, vr: str, encodings: list[str], character_set: CharacterSet) -> bytes:
    text = verbatim(value, encodings)
    values = [text] if vr in _SINGLE else text.split("\\")
    spell = spelled_name if vr == "PN" else spelled
    made = "\\".join(_cut(spell(one, character_set), one, vr) for one in values)
    return made.encode(character_set if character_set != "source" else "ascii")


def _cut(made: str, original: str, vr: str) -> str:
    """No longer than the VR allows, unless the original was."""
    return made[: max(_LONGEST.get(vr, len(made)), len(original))]


def _bytes(dataset: Dataset, tag: BaseTag) -> bytes:
    """An element's encoded value; what pydicom has decoded by itself, as it does the character set, is ASCII."""
    element: DataElement | RawDataElement = dataset.get_item(tag)
    value = element.value
    if isinstance(element, RawDataElement):
        return bytes(value or b"")
    values = value if isinstance(value, MultiValue) else [value]
    return "\\".join(str(each or "") for each in values).encode("ascii")
