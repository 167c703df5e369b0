"""Names of result objects, derived from what they are made of: a retry finds the same names again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_node.results.equipment import NodeIdentity
from triage.findings import Algorithm
from triage.identifiers import derive_uid


class ResultKind(StrEnum):
    """What an object is, as part of its name."""

    REPORT = "SR"
    HEAT_MAP = "SC"
    SEGMENTATION = "SEG"
    PARAMETRIC_MAP = "PM"
    PRESENTATION_STATE = "PR"
    PDF = "PDF"
    KEY_OBJECTS = "KO"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultNames:
    """UIDs of everything that one analysis of one study produces on one node.

    Attributes
    ----------
    revision : int
        1 for the first run, one more for each re-run with other inputs.
    """

    study_instance_uid: str
    algorithm: Algorithm
    node: NodeIdentity
    revision: int

    def series(self, kind: ResultKind) -> str:
        """Reports of all revisions share a series, so that a viewer shows the newest; pictures of a revision do."""
        own = (str(self.revision),) if kind is ResultKind.HEAT_MAP else ()
        return derive_uid(*self._algorithm_run, kind, "series", *own)

    def instance(self, kind: ResultKind, *sources: str) -> str:
        """SOP Instance UID of one object; ``sources`` are the SOP Instance UIDs of the images it is about."""
        return derive_uid(*self._algorithm_run, kind, str(self.revision), *sources)

    def heat_map(self, sop_instance_uid: str, version: int = 1) -> str:
        """SOP Instance UID of the picture of one image in one of its versions.

        An image whose header is corrected while its study is still being read is scored twice in one revision: two
        pictures, and never two contents under one UID.
        """
        versions = () if version == 1 else (str(version),)
        return self.instance(ResultKind.HEAT_MAP, sop_instance_uid, *versions)

    def tracking(self, sop_instance_uid: str, finding_key: str) -> str:
        """Tracking UID (112040, DCM) of a finding on an image: the same in every revision and version."""
        return derive_uid(
            self.study_instance_uid,
            self.node.device_uid,
            self.algorithm.name,
            "tracking",
            sop_instance_uid,
            finding_key,
        )

    @property
    def _algorithm_run(self) -> tuple[str, ...]:
        algorithm = self.algorithm
        return (
            self.study_instance_uid,
            self.node.device_uid,
            algorithm.name,
            algorithm.version,
            algorithm.weights_sha256,
        )
