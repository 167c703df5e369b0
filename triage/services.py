"""What another system may ask of our DICOM port, where a site wants to tell them apart."""

from __future__ import annotations

from enum import StrEnum


class PeerService(StrEnum):
    STORE = "store"
    """C-STORE: send images."""
    FIND = "find"
    """C-FIND in the Study Root and Patient Root models: ask what is here."""
    WORKLIST = "worklist"
    """C-FIND in the Modality Worklist model: ask for the reading list."""
