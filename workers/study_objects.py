"""Objects about a whole study, built when its analysis ends: kind to builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node import results
from dicom_node.results import NodeIdentity
from triage.findings import AnalysisResult, Urgency
from triage.profiles import SHOWING, Profile, ResultKind
from triage.repositories.results import BuiltObject
from triage.tables import ResultObject


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyView:
    """A finished analysis as its objects and messages are built from it.

    Attributes
    ----------
    evidence : sequence of Dataset
        Headers of every source instance that can be read, analysed and excluded, as dcmread returned them.
    showing : mapping
        (Kind, variant) to (SOP Instance UID of a scored image to the object that shows it explained); an image may
        have none.
    predecessors : mapping
        Variant to the report that this analysis replaces; the files may have been removed by retention.
    urgency : Urgency
        The class that all analyses of the study ask for together.
    results : Path
        Root below which the files of result objects lie.
    reports : dict
        Variant to the report of this analysis, filled while the reports are built, which come first.
    made : dict
        SOP Instance UID to an object about an image whose file does not lie below ``results``, as in a preview.
    """

    study_instance_uid: str
    evidence: Sequence[Dataset]
    result: AnalysisResult
    showing: Mapping[tuple[str, str], Mapping[str, ResultObject | BuiltObject]]
    predecessors: Mapping[str, ResultObject]
    urgency: Urgency
    node: NodeIdentity
    revision: int
    created_at: datetime
    results: Path
    reports: dict[str, Dataset] = field(default_factory=dict)
    made: dict[str, Dataset] = field(default_factory=dict)

    def heat_maps_for(self, profile: Profile) -> Mapping[str, Dataset]:
        """The heat maps that a destination gets, as far as references to them need; by SOP Instance UID of the image.

        Of an image that an earlier revision explained before this variant was wanted, the default one.
        """
        if ResultKind.HEAT_MAP not in profile.kinds:
            return {}
        own = self.showing.get((ResultKind.HEAT_MAP, profile.variant(ResultKind.HEAT_MAP)), {})
        rows = {**self._default_heat_maps, **own}
        return {uid: self.named(row) for uid, row in rows.items()}

    def activations_for(self, profile: Profile) -> Mapping[str, Sequence[Dataset]]:
        """Segmentations and parametric maps that a destination gets, without pixels; by SOP Instance UID of the image.

        One that retention has removed, or that is damaged, is named and not described.
        """
        found: dict[str, list[Dataset]] = {}
        for kind in SHOWING:
            if kind is ResultKind.HEAT_MAP or kind not in profile.kinds:
                continue
            for uid, row in self.showing.get((kind, profile.variant(kind)), {}).items():
                found.setdefault(uid, []).append(self._described(row))
        return found

    def _described(self, row: ResultObject | BuiltObject) -> Dataset:
        if row.sop_instance_uid in self.made:
            return self.made[row.sop_instance_uid]
        described = results.read_activation(self.results / row.relative_path)
        if described is None or described.get("SOPInstanceUID") != row.sop_instance_uid:
            return self.named(row)
        return described

    @property
    def _default_heat_maps(self) -> Mapping[str, ResultObject | BuiltObject]:
        return self.showing.get((ResultKind.HEAT_MAP, ""), {})

    def predecessor_for(self, profile: Profile) -> Dataset | None:
        """The report before this one, in the form that the destination has, as far as a reference needs."""
        variant = profile.variant(ResultKind.REPORT)
        row = self.predecessors.get(variant, self.predecessors.get(""))
        return self.named(row) if row is not None else None

    def pictures(self) -> Mapping[str, NDArray[np.uint8]]:
        """Heat maps to be shown, RGB, by SOP Instance UID of the image; one that retention has removed is not."""
        rows = self._default_heat_maps
        paths = {
            image.sop_instance_uid: self.results / row.relative_path
            for image in results.pictured(self.result)
            if (row := rows.get(image.sop_instance_uid)) is not None
        }
        return {uid: results.read_picture(path) for uid, path in paths.items() if path.is_file()}

    def named(self, row: ResultObject | BuiltObject) -> Dataset:
        """As much of a result object as a reference to it needs."""
        header = Dataset()
        header.StudyInstanceUID, header.SeriesInstanceUID = self.study_instance_uid, row.series_instance_uid
        header.SOPClassUID, header.SOPInstanceUID = row.sop_class_uid, row.sop_instance_uid
        return header


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What a system downstream of DICOM is told, frozen.

    Attributes
    ----------
    identifier : str
        A UID derived from what the message is about: every resend carries it.
    content : bytes
        The whole message, as it goes out.
    suffix : str
        Ending of its file: ``hl7``, ``json``, ....
    """

    identifier: str
    content: bytes
    suffix: str


def _report(view: StudyView, profile: Profile) -> Dataset:
    return results.build_report(
        view.evidence,
        view.result,
        heat_maps=view.heat_maps_for(profile),
        node=view.node,
        revision=view.revision,
        predecessor=view.predecessor_for(profile),
        created_at=view.created_at,
        activations=view.activations_for(profile),
        profile=profile,
    )


def _key_objects(view: StudyView, profile: Profile) -> Dataset | None:
    if not results.flagged(view.result):
        return None
    return results.build_key_objects(
        view.evidence,
        view.result,
        node=view.node,
        revision=view.revision,
        created_at=view.created_at,
        profile=profile,
    )


def _pdf_report(view: StudyView, profile: Profile) -> Dataset:
    return results.build_pdf_report(
        view.evidence,
        view.result,
        pictures=view.pictures() if profile.heat_map else {},
        node=view.node,
        revision=view.revision,
        created_at=view.created_at,
        profile=profile,
    )


StudyBuilder = Callable[[StudyView, Profile], Dataset | None]
"""None: there is nothing of that kind to say about the study."""

BUILDERS: Final[Mapping[ResultKind, StudyBuilder]] = {
    ResultKind.REPORT: _report,
    ResultKind.PDF: _pdf_report,
    ResultKind.KEY_OBJECTS: _key_objects,
}
