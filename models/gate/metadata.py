"""What a gate says about itself: the content of its ``metadata.json``, strictly checked like a bundle's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from models.gate.appearance import Appearance
from models.metadata import Frozen, Sha256, TrainingSummary

METADATA = "metadata.json"
WEIGHTS = "weights.safetensors"
NETWORK = "network.onnx"
EVALUATION = "evaluation.json"
CARD = "MODEL_CARD.md"
FILES = (WEIGHTS, NETWORK, EVALUATION, CARD)


class GateMetadata(Frozen):
    """Everything a gate states about itself."""

    format_version: Literal[1]
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40)]
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
    manufacturer: str
    licence: str
    """SPDX expression for the weights."""
    intended_use: str
    limits: tuple[str, ...] = Field(min_length=1)
    classes: tuple[str, ...]
    """Of the outputs, in their order."""
    accept: float = Field(gt=0, lt=1)
    """Least probability of a frontal chest that lets a picture through."""
    name_it: float = Field(ge=0.5, lt=1)
    """Least probability of another class that lets a refusal say which; between the two the gate abstains."""
    training: TrainingSummary
    files: dict[str, Sha256]
    """SHA-256 of every other file."""

    @property
    def complete(self) -> bool:
        """Whether it names what :mod:`models.gate` knows."""
        return self.classes == tuple(Appearance) and set(self.files) == set(FILES)
