"""The gate at work: a picture in, and the reason why no model of frontal chests may read it, or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from pydantic import ValidationError

from models.bundle import file_digest
from models.gate.appearance import Appearance
from models.gate.metadata import METADATA, NETWORK, GateMetadata
from models.gate.view import Float32, gate_view
from models.routing import Refusal
from triage.errors import BundleError, InferenceError
from triage.findings import NotAnalysedReason

SHIPPED_GATE = Path(__file__).parent / "shipped"
"""The gate that comes with the product."""

_ADVICE = "Install firstread again: its gate is part of it."
_LOOKS_LIKE = {
    Appearance.LATERAL_CHEST: "looks like a lateral view",
    Appearance.OTHER: "does not look like a frontal chest radiograph",
    Appearance.INVERTED: "greyscale looks inverted",
    Appearance.ROTATED: "looks rotated or upside down",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What the gate sees in a picture.

    Attributes
    ----------
    probabilities : dict of Appearance to float
        In [0, 1], their sum is 1.
    """

    probabilities: dict[Appearance, float]

    @property
    def frontal(self) -> float:
        """Probability of a frontal chest."""
        return self.probabilities[Appearance.FRONTAL_CHEST]

    @property
    def likeliest_other(self) -> Appearance:
        """What else it most likely is."""
        others = [name for name in Appearance if name is not Appearance.FRONTAL_CHEST]
        return max(others, key=lambda name: self.probabilities[name])


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """The gate's network, loaded. Safe to share between threads."""

    metadata: GateMetadata
    _session: onnxruntime.InferenceSession

    @classmethod
    def load(cls, directory: Path = SHIPPED_GATE) -> Gate:
        """Read a gate and check every one of its files: some hundred kilobytes.

        Raises
        ------
        BundleError
            A file is missing or is not the one that was written, or says what this version does not understand.
        """
        path = directory / METADATA
        try:
            metadata = GateMetadata.model_validate_json(path.read_bytes(), strict=True)
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}.", next_step=_ADVICE) from error
        except ValidationError as error:
            raise BundleError(f"{path} does not describe a gate.", next_step=_ADVICE) from error
        if not metadata.complete:
            raise BundleError(f"{path} names other classes or files than this version knows.", next_step=_ADVICE)
        for name, digest in metadata.files.items():
            if file_digest(directory / name) != digest:
                raise BundleError(f"{directory / name} does not have its checksum.", next_step=_ADVICE)
        return cls(metadata, _session_of(directory / NETWORK))

    def look(self, display: Float32, *, pixel_aspect: float = 1.0) -> Look:
        """What the picture looks like.

        Parameters
        ----------
        display : ndarray
            float32 (rows, columns) in [0, 1], as :func:`models.preprocessing.display_image` gives it.
        pixel_aspect : float
            Height of a source pixel divided by its width.

        Raises
        ------
        InferenceError
            The network's answer is not a number.
        """
        view = gate_view(display, pixel_aspect=pixel_aspect)
        (logits,) = self._session.run(["logits"], {"view": view[None]})
        if not np.isfinite(logits).all():
            raise InferenceError("the gate's output has values that are not numbers.")
        odds = np.exp(logits[0] - logits[0].max(), dtype=np.float64)
        shares = odds / odds.sum()
        return Look({name: float(share) for name, share in zip(Appearance, shares, strict=True)})

    def refusal(self, display: Float32, *, pixel_aspect: float = 1.0) -> Refusal | None:
        """Why the picture must not be read as a frontal chest; None where it may. Parameters as of :meth:`look`.

        In doubt it refuses: such an image is not analysed, and its case stays where order and arrival put it.
        """
        look = self.look(display, pixel_aspect=pixel_aspect)
        if look.frontal >= self.metadata.accept:
            return None
        other = look.likeliest_other
        sure = look.probabilities[other] >= self.metadata.name_it
        words = _LOOKS_LIKE[other] if sure else "not clearly a frontal chest radiograph"
        return Refusal(NotAnalysedReason.OUT_OF_DISTRIBUTION, f"{words} (gate {look.frontal:.2f})")


def _session_of(network: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a millisecond of work: more threads cost more than they bring
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(network), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(f"{network} cannot be loaded: {type(error).__name__}.", next_step=_ADVICE) from error
