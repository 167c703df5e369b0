"""What a picture may look like to the gate."""

from __future__ import annotations

from enum import StrEnum


class Appearance(StrEnum):
    """In the order of the network's outputs."""

    FRONTAL_CHEST = "frontal_chest"
    LATERAL_CHEST = "lateral_chest"
    OTHER = "other"
    """Another part of the body, another kind of image, or no radiograph at all."""
    INVERTED = "inverted"
    """A chest whose black is white."""
    ROTATED = "rotated"
    """A frontal chest lying on its side or upside down."""
