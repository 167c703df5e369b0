"""From a stored instance to a decision: which bundle reads it, or why none does. Headers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from models.bundle import Bundle
from models.image_facts import ImageFacts
from models.routing import Refusal
from triage.errors import DicomError
from triage.findings import Considered, NotAnalysed, NotAnalysedReason
from triage.tables import Instance
from workers import stored_image
from workers.scrubbing import damage_before_reading
from workers.workbench import Workbench


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidate:
    """An image that a bundle reads. ``dataset`` includes its pixel data, still encoded.

    Attributes
    ----------
    version : int
        Of the instance: a corrected header is the next one.
    burned_in : bool
        The header says that annotation is burnt into the pixels.
    considered : tuple of Considered
        What every bundle said to the image.
    """

    instance_id: int
    sop_instance_uid: str
    bundle: Bundle
    dataset: Dataset
    version: int = 1
    burned_in: bool = False
    considered: tuple[Considered, ...] = ()


def screen(bench: Workbench, instance: Instance) -> Candidate | NotAnalysed:
    """Decide about one instance. Whatever is wrong with it becomes a reason, never an exception."""
    uid = instance.sop_instance_uid
    if instance.not_analysed is not None:
        return NotAnalysed(sop_instance_uid=uid, reason=instance.not_analysed, detail=instance.modality)
    if damage := damage_before_reading(bench, instance):
        return NotAnalysed(sop_instance_uid=uid, reason=NotAnalysedReason.DECODE_ERROR, detail=f"the file is {damage}")
    try:
        dataset = stored_image.read(bench.archive.path(instance.relative_path))
        facts = ImageFacts.from_dataset(dataset)
    except DicomError as error:
        return NotAnalysed(sop_instance_uid=uid, reason=NotAnalysedReason.DECODE_ERROR, detail=str(error))
    decision = bench.registry.decide(replace(facts, calling_ae_title=instance.calling_ae_title))
    route, considered = decision.verdict, decision.considered
    if isinstance(route, Refusal):
        return NotAnalysed(sop_instance_uid=uid, reason=route.reason, detail=route.detail, considered=considered)
    burned_in = facts.burned_in_annotation
    if burned_in and not bench.settings.analyse_burned_in:
        reason = NotAnalysedReason.BURNED_IN_ANNOTATION
        return NotAnalysed(sop_instance_uid=uid, reason=reason, considered=considered)
    return Candidate(
        instance_id=instance.id, sop_instance_uid=uid, bundle=route.bundle, dataset=dataset, version=instance.version,
        burned_in=burned_in, considered=considered,
    )  # fmt: skip


def overruled(candidate: Candidate, refusal: Refusal) -> NotAnalysed:
    """An image whose header a bundle takes and whose pixels it does not: the bundle's answer is corrected."""
    name = candidate.bundle.metadata.name
    considered = tuple(
        replace(one, reason=refusal.reason, detail=refusal.detail) if one.bundle == name and one.reason is None else one
        for one in candidate.considered
    )
    return NotAnalysed(
        sop_instance_uid=candidate.sop_instance_uid, reason=refusal.reason, detail=refusal.detail, considered=considered
    )


def removed(instance: Instance) -> NotAnalysed:
    """What a report says of an image whose file retention has removed."""
    on = "" if instance.removed_at is None else f"on {instance.removed_at:%Y-%m-%d}"
    return NotAnalysed(sop_instance_uid=instance.sop_instance_uid, reason=NotAnalysedReason.REMOVED, detail=on)


def split(
    bench: Workbench, instances: Sequence[Instance], bundle_name: str
) -> tuple[list[Candidate], list[NotAnalysed], list[Candidate]]:
    """Screen a study's new instances for one analysis.

    Parameters
    ----------
    bundle_name : str
        The analysis's bundle; "" when it has none yet: the first image that any bundle takes decides.

    Returns
    -------
    ours, left_out, others
        Images for this analysis's bundle, images for none, images that another bundle reads.
    """
    ours: list[Candidate] = []
    left_out: list[NotAnalysed] = []
    others: list[Candidate] = []
    for instance in instances:
        verdict = screen(bench, instance)
        if isinstance(verdict, NotAnalysed):
            left_out.append(verdict)
            continue
        bundle_name = bundle_name or verdict.bundle.metadata.name
        (ours if verdict.bundle.metadata.name == bundle_name else others).append(verdict)
    return ours, left_out, others
