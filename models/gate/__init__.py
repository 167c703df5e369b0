"""A small network that looks at a radiograph before any other: is it a frontal chest at all? Headers lie."""

from models.gate.appearance import Appearance
from models.gate.gate import SHIPPED_GATE, Gate, Look
from models.gate.view import gate_view

__all__ = ["SHIPPED_GATE", "Appearance", "Gate", "Look", "gate_view"]
