"""From pixels to findings: prepare each image, run the network on a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.codecs import Codec
from models.gate import Gate
from models.inference import Predictor, findings
from models.preparation import Prepared, prepare
from models.routing import Refusal
from triage.findings import ImageResult, NotAnalysed
from workers.screening import Candidate, overruled


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ready:
    """An image that waits for its batch."""

    candidate: Candidate
    prepared: Prepared


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scored:
    """A scored image with what its explanation needs: ``features`` is float32 (C, h, w)."""

    ready: Ready
    features: NDArray[np.float32]
    result: ImageResult


def make_ready(candidate: Candidate, codec: Codec, gate: Gate | None) -> Ready | NotAnalysed:
    """Decode and prepare one image; pixels that are no picture, or that break a decoder, become a reason.

    Parameters
    ----------
    gate : Gate or None
        Has a say before the candidate's bundle has.

    Raises
    ------
    DecoderUnavailableError
        Compressed pixels cannot be decoded at the moment, whosever they are.
    """
    prepared = prepare(candidate.dataset, candidate.bundle.metadata.input, codec, gate)
    if isinstance(prepared, Refusal):
        return overruled(candidate, prepared)
    return Ready(candidate=candidate, prepared=prepared)


def score(predictor: Predictor, batch: Sequence[Ready]) -> list[Scored | NotAnalysed]:
    """Run the network on images of its own bundle; the bundle's guard keeps those that are unlike its training back.

    Returns
    -------
    list
        One entry per image, in their order.

    Raises
    ------
    InferenceError
        The network's output is unusable.
    """
    if not batch:
        return []
    prediction = predictor.predict(np.stack([ready.prepared.image for ready in batch]))
    refusals = predictor.refusals(prediction)
    scored: list[Scored | NotAnalysed] = []
    for row, (ready, refusal) in enumerate(zip(batch, refusals, strict=True)):
        if refusal is not None:
            scored.append(overruled(ready.candidate, refusal))
            continue
        result = ImageResult(
            sop_instance_uid=ready.candidate.sop_instance_uid,
            findings=findings(predictor.bundle, prediction.probabilities[row]),
        )
        scored.append(Scored(ready=ready, features=prediction.features[row], result=result))
    return scored
