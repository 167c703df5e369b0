"""Names of result objects, derived from what they are made of: a retry finds the same names again."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.results.equipment import NodeIdentity
from triage.assessment import KIND
from triage.findings import Algorithm
from triage.identifiers import derive_uid
from triage.profiles import DEFAULT, OF_AN_IMAGE, Profile, ResultKind

__all__ = ["ResultKind", "ResultNames"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultNames:
    """UIDs of everything that one analysis of one study produces on one node.

    Attributes
    ----------
    revision : int
        1 for the first run, one more for each re-run with other inputs.
    profile : Profile
        What the objects are made for: another variant of an object is another object.
    """

    study_instance_uid: str
    algorithm: Algorithm
    node: NodeIdentity
    revision: int
    profile: Profile = DEFAULT

    def series(self, kind: ResultKind) -> str:
        """Reports of all revisions share a series, so that a viewer shows the newest; pictures of a revision do."""
        own = (str(self.revision),) if kind in OF_AN_IMAGE else ()
        return derive_uid(*self._algorithm_run, kind, "series", *own, *self._variant(kind))

    def instance(self, kind: ResultKind, *sources: str) -> str:
        """SOP Instance UID of one object; ``sources`` are the SOP Instance UIDs of the images it is about."""
        return derive_uid(*self._algorithm_run, kind, str(self.revision), *sources, *self._variant(kind))

    def of_image(self, kind: ResultKind, sop_instance_uid: str, version: int = 1) -> str:
        """SOP Instance UID of an object about one image in one of its versions.

        An image whose header is corrected while its study is still being read is scored twice in one revision: two
        pictures, and never two contents under one UID.
        """
        versions = () if version == 1 else (str(version),)
        return self.instance(kind, sop_instance_uid, *versions)

    def heat_map(self, sop_instance_uid: str, version: int = 1) -> str:
        """:meth:`of_image` for the Secondary Capture."""
        return self.of_image(ResultKind.HEAT_MAP, sop_instance_uid, version)

    def assessment_series(self, person: str) -> str:
        """The assessments of one person share a series, so that a viewer shows the newest."""
        return derive_uid(*self._algorithm_run, KIND, "series", person, *self._variant(ResultKind.REPORT))

    def assessment(self, person: str, number: int) -> str:
        """SOP Instance UID of what one person says about this run's report; another one for every ``number``.

        A destination that has the report in another form has the assessment of it in that form.
        """
        own = (str(self.revision), person, str(number), *self._variant(ResultKind.REPORT))
        return derive_uid(*self._algorithm_run, KIND, *own)

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

    def _variant(self, kind: ResultKind) -> tuple[str, ...]:
        variant = self.profile.variant(kind)
        return (f"variant {variant}",) if variant else ()

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
