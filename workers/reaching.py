"""How a destination is reached: its settings, its address, its TLS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from dicom_node.contexts import STORAGE_COMMITMENT, STUDY_ROOT_FIND
from dicom_node.requestor import Timeouts
from dicom_node.scu import UNCOMPRESSED, Context
from dicom_node.tls import PeerTls
from triage.identifiers import PeerAddress
from triage.peers import Destination
from workers.transport import tls_towards

if TYPE_CHECKING:
    from workers.workbench import Workbench

PATIENCE: Final = Timeouts(send=10.0)
"""A picture that is not compressed has 3 MB: who takes longer than this for 128 KiB of it is as good as silent."""


@dataclass(frozen=True, slots=True)
class Line:
    """What it takes to associate with a destination."""

    destination: Destination
    tls: PeerTls | None

    @classmethod
    def to(cls, bench: Workbench, destination: Destination) -> Self:
        """The line to a destination.

        Raises
        ------
        SettingsError
            Our certificate or key cannot be used.
        """
        return cls(destination, tls_towards(bench.settings, destination, bench.clock()))

    @property
    def peer(self) -> PeerAddress:
        return self.destination.peer

    @property
    def proofs(self) -> Sequence[str]:
        """SOP classes by which this destination may prove that it holds an object, the better one first."""
        match self.destination.commitment:
            case "off":
                return ()
            case "required":
                return (STORAGE_COMMITMENT,)
            case "auto":
                return (STORAGE_COMMITMENT, STUDY_ROOT_FIND)

    @property
    def proof_contexts(self) -> list[Context]:
        return [(uid, UNCOMPRESSED) for uid in self.proofs]
