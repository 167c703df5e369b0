"""What the node accepts: SOP classes x transfer syntaxes.

The listener negotiates from these lists and the conformance statement prints them.

A sender that batches a study aborts the whole association when one class is refused, so everything that can be
kept is kept: every storage class of the standard, retired and private ones too. What cannot be analysed is said so
later; it is never a reason to refuse custody.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from pydicom.config import IGNORE
from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.sop_class import (
    ModalityWorklistInformationFind,
    PatientRootQueryRetrieveInformationModelFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from triage.services import PeerService

VERIFICATION: Final = str(Verification)
STORAGE_COMMITMENT: Final = str(StorageCommitmentPushModel)
STUDY_ROOT_FIND: Final = str(StudyRootQueryRetrieveInformationModelFind)
PATIENT_ROOT_FIND: Final = str(PatientRootQueryRetrieveInformationModelFind)
MODALITY_WORKLIST_FIND: Final = str(ModalityWorklistInformationFind)

STORAGE_SOP_CLASSES: Final[tuple[str, ...]] = tuple(str(c.abstract_syntax) for c in AllStoragePresentationContexts)
"""The storage classes that the conformance statement lists by name (PS3.4 Table B.5-1 and retired ones)."""

_KNOWN_STORAGE: Final = frozenset(STORAGE_SOP_CLASSES)
STANDARD_ROOT: Final = "1.2.840.10008."
_STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"

COMPRESSED_TRANSFER_SYNTAXES: Final[tuple[str, ...]] = (
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K RPCL Lossless
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.110",  # JPEG XL Lossless
    "1.2.840.10008.1.2.4.92",  # JPEG 2000 multi-component lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.93",  # JPEG 2000 multi-component
    "1.2.840.10008.1.2.4.203",  # HTJ2K
    "1.2.840.10008.1.2.4.111",  # JPEG XL JPEG Recompression
    "1.2.840.10008.1.2.4.112",  # JPEG XL
    "1.2.840.10008.1.2.4.51",  # JPEG Extended 12 bit
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    *(f"1.2.840.10008.1.2.4.{number}" for number in (52, 53, 54, 55, 56)),  # retired JPEG processes
    *(f"1.2.840.10008.1.2.4.{number}" for number in (58, 59, 60, 61, 62, 63, 64, 65, 66)),
    "1.2.840.10008.1.2.4.100",  # MPEG2
    "1.2.840.10008.1.2.4.100.1",
    "1.2.840.10008.1.2.4.101",
    "1.2.840.10008.1.2.4.101.1",
    "1.2.840.10008.1.2.4.102",  # MPEG-4 AVC/H.264
    "1.2.840.10008.1.2.4.102.1",
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.103.1",
    "1.2.840.10008.1.2.4.104",
    "1.2.840.10008.1.2.4.104.1",
    "1.2.840.10008.1.2.4.105",
    "1.2.840.10008.1.2.4.105.1",
    "1.2.840.10008.1.2.4.106",
    "1.2.840.10008.1.2.4.106.1",
    "1.2.840.10008.1.2.4.107",  # HEVC/H.265
    "1.2.840.10008.1.2.4.108",
    "1.2.840.10008.1.2.8.1",  # Deflated Image Frame: only the frames are deflated, the header is not
)

TRANSFER_SYNTAXES: Final[tuple[str, ...]] = (
    *COMPRESSED_TRANSFER_SYNTAXES,
    EXPLICIT_VR_LITTLE_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
)
"""In the order of choice: the first of these that a context offers is accepted.

Compressed before uncompressed and Explicit before Implicit keeps objects as the sender holds them: a sender that
offers several syntaxes in one context would convert to whatever we pick. The deflated syntax is accepted because
the node never inflates more than a fixed bound of it (:data:`dicom_node.elements.INFLATE_LIMIT`); big endian and
video are stored as received. Not accepted: JPIP (the pixels are somewhere else) and SMPTE (a live stream).
"""

_PURPOSES: Final = {
    STUDY_ROOT_FIND: PeerService.FIND,
    PATIENT_ROOT_FIND: PeerService.FIND,
    MODALITY_WORKLIST_FIND: PeerService.WORKLIST,
}
_ORDER: Final = {uid: rank for rank, uid in enumerate(TRANSFER_SYNTAXES)}


class ContextResult(IntEnum):
    """Result/Reason of a presentation context item (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class ContextAnswer:
    """The answer to one proposed presentation context; ``transfer_syntax`` is "" unless accepted."""

    result: ContextResult
    transfer_syntax: str = ""


def is_storage(sop_class_uid: str) -> bool:
    """True for a SOP class whose instances the node keeps.

    Known storage classes; unknown ones below the standard's storage root (newer than this software, or retired);
    private ones, which can be nothing else on a storage port. Other services of the standard are not.
    """
    if sop_class_uid in _KNOWN_STORAGE:
        return True
    uid = UID(sop_class_uid, validation_mode=IGNORE)  # what a peer proposes is not for the log
    if not uid.startswith(STANDARD_ROOT):
        return uid.is_valid
    # The dictionary has query classes ("... - FIND") below the storage root too; a UID unknown to it is its own name.
    return uid.is_valid and uid.startswith(_STORAGE_ROOT) and ("Storage" in uid.name or uid.name in ("", uid))


def purpose(sop_class_uid: str) -> PeerService | None:
    """What a presentation context is for, where a site may allow or forbid that; None for what every peer may do."""
    return _PURPOSES.get(sop_class_uid) or (PeerService.STORE if is_storage(sop_class_uid) else None)


def answer(abstract_syntax: str, offered: Iterable[str], *, services: Container[str] = ()) -> ContextAnswer:
    """Accept or refuse one proposed presentation context (PS3.8 9.3.3.2).

    Parameters
    ----------
    abstract_syntax : str
        SOP class UID.
    offered : iterable of str
        Transfer syntax UIDs of the proposal, in any order.
    services : container of str
        SOP classes that this listener serves besides Storage and Verification.
    """
    supported = (uid for uid in offered if uid in _ORDER)
    if abstract_syntax == VERIFICATION or abstract_syntax in services:
        supported = (uid for uid in supported if uid in (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))
    elif not is_storage(abstract_syntax):
        return ContextAnswer(ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED)
    chosen = min(supported, key=_ORDER.__getitem__, default=None)
    if chosen is None:
        return ContextAnswer(ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)
    return ContextAnswer(ContextResult.ACCEPTANCE, chosen)


def is_encapsulated(transfer_syntax_uid: str) -> bool:
    """True where Pixel Data is a sequence of fragments (PS3.5 A.4)."""
    return transfer_syntax_uid in COMPRESSED_TRANSFER_SYNTAXES
