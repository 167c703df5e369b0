"""The DICOM JSON model (PS3.18 annex F), as servers send and take it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from pydicom.dataset import Dataset

from dicom_node.http_peer import HttpAnswer
from triage.errors import DeliveryError

DICOM_JSON: Final = "application/dicom+json"
MEDIA_TYPES: Final = (DICOM_JSON, "application/json")
"""What servers call it; the second is older, and common."""


class NotDicomJsonError(DeliveryError):
    """An answer that should be data sets is something else."""

    next_step = "Check the address: it must be the base of a DICOMweb service, behind any sign-in page."

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


def data_sets(answer: HttpAnswer, *, where: str) -> list[Dataset]:
    """The data sets of an answer; none when it has no content.

    Raises
    ------
    NotDicomJsonError
        Another media type, or not what it says it is. The answer's text is not repeated.
    """
    if not answer.content.strip():
        return []
    if answer.media_type not in MEDIA_TYPES:
        raise NotDicomJsonError(f"{where} answers {_shown(answer.media_type)} instead of {DICOM_JSON}.")
    try:
        decoded = json.loads(answer.content)
        items = decoded if isinstance(decoded, list) else [decoded]
        return [Dataset.from_json(item) for item in items]
    except RecursionError:
        raise NotDicomJsonError(f"{where} answers JSON that is nested too deep.") from None
    except Exception as error:  # the parser raises what it likes, and its texts may hold values
        raise NotDicomJsonError(
            f"{where} answers something that is not DICOM JSON ({type(error).__name__})."
        ) from error


def encoded(data_sets: Sequence[Dataset]) -> bytes:
    """An array of data sets, UTF-8 (PS3.18 F.2); without Specific Character Set, which JSON has no use for."""
    return json.dumps([ds.to_json_dict() for ds in data_sets], ensure_ascii=False).encode()


def _shown(media_type: str) -> str:
    """A media type fit for a message: it is the server's text."""
    short = "".join(character for character in media_type[:40] if character.isalnum() or character in "/+-.")
    return short or "no media type"
