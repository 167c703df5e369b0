"""Images to outcomes on the product's own path: routing, preparation, ONNX Runtime. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from models.codecs import Codec, decode_here
from models.evaluating.images import Image
from models.evaluating.predictions import KeptPredictions, Outcome
from models.evaluating.subgroups import NOBODY, Subject
from models.gate import Gate
from models.image_facts import ImageFacts
from models.inference import Predictor
from models.metadata import BundleMetadata
from models.preparation import prepare
from models.preprocessing import Float32, network_input, unlike_an_image
from models.routing import Refusal, screen
from triage.errors import DicomError, InferenceError
from triage.findings import NotAnalysedReason

BATCH = 16

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many images are done, and how many there are."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """An image as the network takes it, float32 (1, height, width), and what its header says."""

    digest: str
    network_image: Float32
    routed: bool
    subject: Subject


def predict(
    images: Mapping[str, Image],
    predictor: Predictor,
    kept: KeptPredictions,
    *,
    routing: bool = True,
    codec: Codec = decode_here,
    progress: Progress = lambda _what, _done, _total: None,
) -> dict[str, Outcome]:
    """What the bundle says about each image, by digest; what is kept already is not computed again.

    Parameters
    ----------
    images : mapping of str to Image
        By digest.
    routing : bool
        False reads images that the bundle's routing conditions, the gate or the guard would refuse; what cannot be
        decoded or is no picture is left out all the same.
    codec : callable
        For compressed pixels; the default decodes in this process.

    Raises
    ------
    BundleError
        The gate cannot be loaded.
    EvaluationError
        Outcomes cannot be kept.
    DecoderUnavailableError
        The codec could not be reached.
    """
    outcomes = {digest: outcome for digest in images if (outcome := kept.get(digest)) is not None}
    waiting: list[_Ready] = []
    gate = Gate.load() if routing and predictor.bundle.metadata.routing.asks_gate else None
    for digest, image in images.items():
        if digest in outcomes:
            continue
        looked = _look(digest, image, predictor, routing=routing, codec=codec, gate=gate)
        if isinstance(looked, Outcome):
            outcomes[digest] = looked
            kept.keep({digest: looked})
        else:
            waiting.append(looked)
        if len(waiting) == BATCH:
            outcomes |= _run(waiting, predictor, kept, guarded=routing)
            waiting = []
        progress("Predicting", len(outcomes), len(images))
    if waiting:
        outcomes |= _run(waiting, predictor, kept, guarded=routing)
    progress("Predicting", len(outcomes), len(images))
    return outcomes


def _look(
    digest: str, image: Image, predictor: Predictor, *, routing: bool, codec: Codec, gate: Gate | None
) -> _Ready | Outcome:
    try:
        opened = image.open()
    except DicomError as error:
        return Outcome(refusal=Refusal(NotAnalysedReason.DECODE_ERROR, str(error)))
    except OSError as error:
        return Outcome(refusal=Refusal(NotAnalysedReason.DECODE_ERROR, f"the file cannot be read: {error.strerror}"))
    if isinstance(opened, Dataset):
        return _look_at_object(digest, opened, predictor.bundle.metadata, routing=routing, codec=codec, gate=gate)
    problem = unlike_an_image(opened)
    if problem is not None:
        return Outcome(refusal=Refusal(NotAnalysedReason.OUT_OF_DISTRIBUTION, problem))
    refused = gate.refusal(opened) if gate is not None else None
    if refused is not None:
        return Outcome(refusal=refused)
    network_image, _ = network_input(opened, predictor.bundle.metadata.input)
    return _Ready(digest, network_image, routed=False, subject=NOBODY)


def _look_at_object(
    digest: str, dataset: Dataset, metadata: BundleMetadata, *, routing: bool, codec: Codec, gate: Gate | None
) -> _Ready | Outcome:
    facts = ImageFacts.from_dataset(dataset)
    subject = _subject(facts)
    refusal = screen(facts, metadata.routing) if routing else None
    prepared = refusal or prepare(dataset, metadata.input, codec, gate)
    if isinstance(prepared, Refusal):
        return Outcome(refusal=prepared, routed=routing, subject=subject)
    return _Ready(digest, prepared.image, routed=routing, subject=subject)


def _run(
    waiting: Sequence[_Ready], predictor: Predictor, kept: KeptPredictions, *, guarded: bool
) -> dict[str, Outcome]:
    try:
        prediction = predictor.predict(np.stack([ready.network_image for ready in waiting]))
    except InferenceError as error:
        if len(waiting) > 1:  # one bad image must not take the others with it
            return {
                key: value
                for ready in waiting
                for key, value in _run([ready], predictor, kept, guarded=guarded).items()
            }
        # Not kept: another try may help.
        refusal = Refusal(NotAnalysedReason.MODEL_ERROR, str(error))
        return {waiting[0].digest: Outcome(refusal=refusal, routed=waiting[0].routed, subject=waiting[0].subject)}
    refusals = predictor.refusals(prediction) if guarded else [None] * len(waiting)
    found = {
        ready.digest: Outcome(logits=tuple(map(float, row)), routed=ready.routed, subject=ready.subject)
        if refusal is None
        else Outcome(refusal=refusal, routed=ready.routed, subject=ready.subject)
        for ready, row, refusal in zip(waiting, prediction.logits, refusals, strict=True)
    }
    kept.keep(found)
    return found


def _subject(facts: ImageFacts) -> Subject:
    return Subject(
        age_years=facts.age_years, sex=facts.sex, view=" / ".join(sorted(facts.views)), manufacturer=facts.manufacturer
    )
