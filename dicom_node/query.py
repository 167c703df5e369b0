"""Asking a peer what it holds (PS3.4 annex C, user side): C-FIND in the Study Root model, or another."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from io import BytesIO
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from dicom_node import dimse
from dicom_node.commitment import encoded
from dicom_node.contexts import IMPLICIT_VR_LITTLE_ENDIAN, STUDY_ROOT_FIND
from dicom_node.conversation import Conversation
from dicom_node.dimse import CommandField, Tag
from triage.errors import DeliveryError

PENDING: Final = (0xFF00, 0xFF01)
SUCCESS: Final = 0x0000
MAXIMUM_MATCHES: Final = 10_000


def find(association: Conversation, keys: Dataset, sop_class_uid: str = STUDY_ROOT_FIND) -> Iterator[Dataset]:
    """Matches of a query, as the peer sends them.

    Parameters
    ----------
    keys : Dataset
        The identifier (PS3.4 C.4.1.1.3), with its Query/Retrieve Level where the model has levels.

    Raises
    ------
    DeliveryError
        The peer does not answer queries, refuses this one, sends more than :data:`MAXIMUM_MATCHES` matches or
        something unreadable; the association is of no further use.
    """
    context = association.context_of(sop_class_uid)
    if context is None:
        raise DeliveryError("The peer answers no queries.", retryable=False)
    context_id, transfer_syntax = context
    message_id = association.request(context_id, partial(_find_request, sop_class_uid), encoded(keys, transfer_syntax))
    for _ in range(MAXIMUM_MATCHES):
        message = association.receive()
        status = message.command.status
        if status is None or message.command.number(Tag.MESSAGE_ID_BEING_RESPONDED_TO) != message_id:
            raise DeliveryError("The peer answers a request that was not made.")
        if status == SUCCESS:
            return
        if status not in PENDING:
            raise DeliveryError(f"The peer refused the query with status {status:#06x}.", status=status)
        try:
            yield read_dataset(BytesIO(message.data_set), transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN, True)
        except Exception as error:  # the parser raises what it likes, and its texts may hold values
            raise DeliveryError(f"A match of the peer cannot be read ({type(error).__name__}).") from error
    association.abort()
    raise DeliveryError(f"The peer sends more than {MAXIMUM_MATCHES} matches.")


def holds(association: Conversation, *, study_uid: str, series_uid: str, sop_instance_uid: str) -> bool:
    """True when the peer lists an object at IMAGE level under its study and series.

    Raises
    ------
    DeliveryError
        As for :func:`find`.
    """
    keys = Dataset()
    keys.QueryRetrieveLevel = "IMAGE"
    keys.StudyInstanceUID = study_uid
    keys.SeriesInstanceUID = series_uid
    keys.SOPInstanceUID = sop_instance_uid
    matches = [str(match.get("SOPInstanceUID", "")).strip() for match in find(association, keys)]
    return sop_instance_uid in matches


def _find_request(sop_class_uid: str, message_id: int) -> bytes:
    """An encoded C-FIND-RQ of medium priority (PS3.7 9.3.2)."""
    return dimse.encode(
        {
            Tag.AFFECTED_SOP_CLASS_UID: sop_class_uid,
            Tag.COMMAND_FIELD: CommandField.C_FIND_RQ,
            Tag.MESSAGE_ID: message_id,
            Tag.PRIORITY: 0,
            Tag.COMMAND_DATA_SET_TYPE: 0x0001,
        }
    )
