"""From pixels to findings: prepare each image, run the network on a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.codecs import Codec
from models.inference import Predictor, findings
from models.preparation import Prepared, prepare
from models.routing import Refusal
from triage.findings import ImageResult, NotAnalysed
from workers.screening import Candidate


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


def make_ready(candidate: Candidate, codec: Codec) -> Ready | NotAnalysed:
    """Decode and prepare one image; pixels that are no picture, or that break a decoder, become a reason.

    Raises
    ------
    DecoderUnavailableError
        Compressed pixels cannot be decoded at the moment, whosever they are.
    """
    prepared = prepare(candidate.dataset, candidate.bundle.metadata.input, codec)
    if isinstance(prepared, Refusal):
        return NotAnalysed(sop_instance_uid=candidate.sop_instance_uid, reason=prepared.reason, detail=prepared.detail)
    return Ready(candidate=candidate, prepared=prepared)


def score(predictor: Predictor, batch: Sequence[Ready]) -> list[Scored]:
    """Run the network on images of its own bundle.

    Raises
    ------
    InferenceError
        The network's output is unusable.
    """
    if not batch:
        return []
    prediction = predictor.predict(np.stack([ready.prepared.image for ready in batch]))
    return [
        Scored(
            ready=ready,
            features=prediction.features[row],
            result=ImageResult(
                sop_instance_uid=ready.candidate.sop_instance_uid,
                findings=findings(predictor.bundle, prediction.probabilities[row]),
            ),
        )
        for row, ready in enumerate(batch)
    ]
