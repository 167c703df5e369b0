"""The plans of the bundles that ship: anybody can make them again with `firstread models train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.metadata import PHANTOM_MANUFACTURER, RoutingConditions
from models.training.plan import Description, FindingPlan, FolderSource, PhantomSource, TrainingPlan
from triage.findings import Code, Urgency

_LUNG = Code(value="39607008", scheme="SCT", meaning="Lung")
_PLEURA = Code(value="3120008", scheme="SCT", meaning="Pleural structure")
_HEART = Code(value="80891009", scheme="SCT", meaning="Heart")

PNEUMOTHORAX = FindingPlan(
    key="pneumothorax",
    code=Code(value="36118008", scheme="SCT", meaning="Pneumothorax"),
    site=_PLEURA,
    urgency=Urgency.STAT,
)
PLEURAL_EFFUSION = FindingPlan(
    key="pleural_effusion",
    code=Code(value="60046008", scheme="SCT", meaning="Pleural effusion"),
    site=_PLEURA,
    urgency=Urgency.URGENT,
)
CONSOLIDATION = FindingPlan(
    key="consolidation",
    code=Code(value="95436008", scheme="SCT", meaning="Lung consolidation"),
    site=_LUNG,
    urgency=Urgency.URGENT,
)
CARDIOMEGALY = FindingPlan(
    key="cardiomegaly", code=Code(value="8186001", scheme="SCT", meaning="Cardiomegaly"), site=_HEART
)
NODULE_MASS = FindingPlan(key="nodule_mass", code=Code(value="27925004", scheme="SCT", meaning="Nodule"), site=_LUNG)
LUNG_OPACITY = FindingPlan(key="lung_opacity", code=Code(value="112001", scheme="DCM", meaning="Opacity"), site=_LUNG)
KNOWN_FINDINGS = {
    finding.key: finding
    for finding in (PNEUMOTHORAX, PLEURAL_EFFUSION, CONSOLIDATION, CARDIOMEGALY, NODULE_MASS, LUNG_OPACITY)
}
"""Findings whose codes a plan need not repeat."""

_MANUFACTURER = "firstread project"
_LICENCE = "Apache-2.0"


def phantom_cxr(*, date: str) -> TrainingPlan:
    """The demonstration bundle's first stage: knows phantoms and nothing else.

    Urgencies: air under tension kills within minutes (STAT); fluid and consolidation change what is done today
    (URGENT); heart size and nodules are read in their turn (ROUTINE).
    """
    return TrainingPlan(
        source=PhantomSource(train=2500, validation=500, test=1000, seed=1, size=512),
        findings=(PNEUMOTHORAX, PLEURAL_EFFUSION, CONSOLIDATION, CARDIOMEGALY, NODULE_MASS),
        describe=Description(
            name="phantom-cxr",
            version="1.3.0-first",
            manufacturer=_MANUFACTURER,
            licence=_LICENCE,
            intended_use="Demonstration of firstread on its own synthetic chest radiographs (phantoms), and tests. "
            "It shows the whole way from an image to a report and a moved case without any patient's data.",
            limits=(
                "It has never seen a patient: on real radiographs its scores mean nothing; its routing refuses them.",
                "Phantoms are drawn: figures on them say nothing about clinical performance.",
                "It knows five findings, each as the phantom draws it; everything else is invisible to it.",
            ),
            disclaimer="DEMONSTRATION ON PHANTOMS - NOT FOR DIAGNOSIS",
            research=True,
            data="firstread phantoms, series 1, synthetic, no licence needed",
            notes="Training draws the class activation map onto the true masks of the phantoms",
        ),
        routing=RoutingConditions(manufacturer_equals=(PHANTOM_MANUFACTURER,), rank=10),
        epochs=6,
        patience=6,
        checked_maps=1,  # of a stage that never ships
        date=date,
    )


def phantom_cxr_second(*, date: str, start_from: Path) -> TrainingPlan:
    """The second stage: the first stage's network, trained on with another series of phantoms.

    Parameters
    ----------
    start_from : Path
        The bundle of :func:`phantom_cxr`.
    """
    first = phantom_cxr(date=date)
    series = PhantomSource(train=3000, validation=800, test=1200, seed=11, size=512, emphasis="nodule_mass")
    return replace(
        first,
        source=series,
        describe=replace(
            first.describe,
            version="1.3.0-second",
            data="firstread phantoms, series 1 and 11, synthetic, no licence needed",
            notes="Trained on from the first stage (2500 phantoms of series 1), every second phantom with a nodule; "
            "the loss draws the class activation map onto the true masks of the phantoms",
        ),
        start_from=start_from,
        keep_head=True,
        epochs=3,
        patience=3,
        learning_rate=1.5e-3,
        localisation_weight=0.4,
    )


def phantom_cxr_third(*, date: str, start_from: Path) -> TrainingPlan:
    """The bundle that ships: only the last layers learn on, so that small lesions stand out in the mean of the map.

    Parameters
    ----------
    start_from : Path
        The bundle of :func:`phantom_cxr_second`.
    """
    second = phantom_cxr_second(date=date, start_from=start_from)
    assert isinstance(second.source, PhantomSource)  # noqa: S101 - for the type checker
    return replace(
        second,
        source=replace(second.source, test_seed=21, unseen=1000),
        describe=replace(
            second.describe,
            version="1.3.0",
            notes="In three stages by one command, from fresh weights: 2500 phantoms of series 1; then 3000 of series "
            "11, of which every second has a nodule; then the same with all but the last layers fixed. The loss draws "
            "the class activation map onto the true masks of the phantoms. A look at 300 test images of series 11 "
            "had led to the third stage of version 1.2.0; the figures above come from series 21 and 22, on which "
            "1.2.0 was measured too, and which had no part in this training",
        ),
        learns=("features.stage4.", "features.conv5.", "classifier."),
        epochs=5,
        patience=5,
        learning_rate=2e-3,
        checked_maps=80,
    )


def nih_cxr_research(*, date: str, images: Path, table: Path, start_from: Path) -> TrainingPlan:
    """A small network fine-tuned on some 700 real radiographs: to exercise the pipeline, never for a claim.

    No opacities: one of the two collections was gathered for pneumonia, so a network is paid for telling them apart.

    Parameters
    ----------
    images, table : Path
        NIH ChestX-ray14 images and labels.
    start_from : Path
        The phantom-cxr bundle.
    """
    return TrainingPlan(
        source=FolderSource(
            images=images,
            table=table,
            labels={"pleural_effusion": ("Effusion",), "cardiomegaly": ("Cardiomegaly",)},
            exclude={"size_biased": "1"},
        ),
        findings=tuple(replace(finding, urgency=Urgency.ROUTINE) for finding in (PLEURAL_EFFUSION, CARDIOMEGALY)),
        describe=Description(
            name="nih-cxr-research",
            version="1.1.0",
            manufacturer=_MANUFACTURER,
            licence=_LICENCE,
            intended_use="Research: to run firstread's pipeline on real frontal chest radiographs of adults. "
            "It never moves a case on the list.",
            limits=(
                "Its discrimination is modest and its intervals are wide: see the figures below.",
                "Labels were mined from report text; about 10 % are wrong by NIH's own estimate (Wang et al. 2017).",
                "Opacities of the lung (consolidation, pneumonia, infiltration) are not among its findings. Version "
                "1.0.0 had lung_opacity: nearly all images of one of the two collections show it, and within the "
                "other one its AUC on the test side was 0.41 (0.29 to 0.53), no better than chance; what it told "
                "apart was the collections (docs/measurements/nih-2026-11-28.md).",
                "The images were collected for pneumonia: few normals, far more positives than in any clinic, so its "
                "probabilities are too high elsewhere.",
                "Pneumothorax is not among its findings: too few labelled images to learn or to measure it.",
                "Nor are nodules and masses: a first training told them apart no better than chance.",
                "Images selected by file size were left out of training and measurement, because low "
                "contrast alone gives them away.",
                "One hospital, 320 pixel JPEG copies, adults; children, lateral views, other regions are out of use.",
            ),
            disclaimer="RESEARCH USE ONLY - NOT FOR DIAGNOSIS",
            research=True,
            data="NIH ChestX-ray14, a sample of 718 images (NIH Clinical Center; Wang et al., CVPR 2017), "
            "free use with attribution",
            notes="Started from the features of phantom-cxr; no patient is on two sides of the split. Nodules and "
            "masses were dropped after their figure on these same test images had been seen (AUC 0.532), so the "
            "figures above are from a second look at the test set",
        ),
        routing=RoutingConditions(manufacturer_not=(PHANTOM_MANUFACTURER,), min_age_years=18.0),
        start_from=start_from,
        frozen_epochs=2,
        epochs=14,
        patience=5,
        batch=24,
        learning_rate=2e-3,
        weight_decay=0.05,
        min_specificity=0.9,
        date=date,
    )
