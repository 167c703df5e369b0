"""From the slices of one volume to the findings of a series: a few slices at a time, never all of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.codecs import Codec
from models.ct.aggregation import key_slices, series_logits
from models.ct.slices import hounsfield, like_a_body, slab_input, slice_input, windowed
from models.decoding import decode, has_pixel_data
from models.inference import Predictor, findings
from models.metadata import SeriesSpec
from models.placement import Placement
from models.preparation import Prepared, refusal_of
from models.routing import Refusal
from triage.errors import DicomError, InferenceError, NotFoundError, PixelError
from triage.findings import ImageResult, NotAnalysed, NotAnalysedReason
from workers.scoring import Ready, Scored
from workers.screening import Candidate

PORTION = 16
"""Slices that go through the network together."""
_OF_A_BODY = 0.5
"""At least this share of the slices has the HU of a body; the lowest and the highest may show little of it."""

Float32 = NDArray[np.float32]
Read = Callable[[Candidate], Dataset]
"""A slice's whole object, pixel data included."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reading:
    """A volume that was read.

    Attributes
    ----------
    results : tuple of ImageResult
        One per slice, from below to above; findings on their key slices only.
    keys : tuple of Scored
        The key slices, ready to be explained.
    """

    results: tuple[ImageResult, ...]
    keys: tuple[Scored, ...]


class _Unreadable(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, number: int, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.number, self.refusal = number, refusal


def read_volume(
    predictor: Predictor,
    volume: Sequence[Candidate],
    read: Read,
    codec: Codec,
    step: Callable[[], None],
) -> Reading | tuple[NotAnalysed, ...]:
    """Score a volume, or say of each of its slices why it is not scored.

    Parameters
    ----------
    volume : sequence of Candidate
        From below to above.
    read : callable
        Reads a slice's object. Each is read once more than its header was, and let go.
    codec : callable
        For compressed pixels.
    step : callable
        Called before each portion, so that a long series is not taken for one that hangs.

    Raises
    ------
    InferenceError
        The network's output is unusable, or the bundle reads no series.
    DecoderUnavailableError
        Compressed pixels cannot be decoded at the moment, whosever they are.
    """
    series = predictor.bundle.metadata.series
    if series is None:
        raise InferenceError(f"bundle {predictor.bundle.metadata.name} reads single images, not series.")
    source = _Source(volume, read, codec)
    try:
        logits, seen = _logits(predictor, series, source, step)
        of_a_body = float(np.mean(source.of_a_body))  # before the key slices are read once more
        shown = [source.hounsfield(key) for key in dict.fromkeys(key_slices(logits))]
    except _Unreadable as problem:
        return _none(volume, problem)
    if of_a_body < _OF_A_BODY:
        refusal = Refusal(NotAnalysedReason.OUT_OF_DISTRIBUTION, "few slices have the HU of a body")
        return tuple(_left_out(candidate, refusal) for candidate in volume)
    named = findings(predictor.bundle, predictor.calibrated(series_logits(logits, series.top)[None])[0])
    keys = key_slices(logits)
    results = tuple(
        ImageResult(
            sop_instance_uid=candidate.sop_instance_uid,
            findings=tuple(finding for finding, key in zip(named, keys, strict=True) if key == number),
            place=f"slice {number + 1} of {len(volume)}",
        )
        for number, candidate in enumerate(volume)
    )
    spec = predictor.bundle.metadata.input
    scored = []
    for number, hu in zip(dict.fromkeys(keys), shown, strict=True):
        image, features = seen[number]
        placement = Placement.letterbox(hu.shape[0], hu.shape[1], spec)
        prepared = Prepared(windowed(hu, series.windows[0]), image, placement)
        ready = Ready(candidate=volume[number], prepared=prepared)
        scored.append(Scored(ready=ready, features=features, result=results[number]))
    return Reading(results=results, keys=tuple(scored))


def _logits(
    predictor: Predictor, series: SeriesSpec, source: _Source, step: Callable[[], None]
) -> tuple[Float32, dict[int, tuple[Float32, Float32]]]:
    """Logits of all slices (N, K), and what the network took and gave (its feature map) at the key slices."""
    reach, count, spec = series.slab // 2, len(source), predictor.bundle.metadata.input
    near: dict[int, Float32] = {}
    parts: list[Float32] = []
    seen: dict[int, tuple[Float32, Float32]] = {}
    for first in range(0, count, PORTION):
        step()
        last = min(first + PORTION, count)
        wanted = range(max(0, first - reach), min(count, last + reach))
        near = {n: near[n] if n in near else slice_input(source.hounsfield(n), series, spec)[0] for n in wanted}
        slices = list(near.values())
        batch = np.stack([slab_input(slices, n - wanted.start, series) for n in range(first, last)])
        prediction = predictor.predict(batch)
        parts.append(prediction.logits)
        keys = set(key_slices(np.concatenate(parts)))
        seen = {
            n: seen[n] if n < first else (batch[n - first].copy(), prediction.features[n - first].copy()) for n in keys
        }
    return np.concatenate(parts), seen


class _Source:
    """HU of a volume's slices, decoded when they are asked for; ``of_a_body`` collects which look like one."""

    def __init__(self, volume: Sequence[Candidate], read: Read, codec: Codec) -> None:
        self._volume, self._read, self._codec = volume, read, codec
        self.of_a_body: list[bool] = []

    def __len__(self) -> int:
        return len(self._volume)

    def hounsfield(self, number: int) -> Float32:
        """float32 (rows, columns)."""
        try:
            dataset = self._read(self._volume[number])
            if not has_pixel_data(dataset):
                raise _Unreadable(number, Refusal(NotAnalysedReason.NO_PIXELS))
            hu = hounsfield(dataset, decode(dataset, self._codec))
        except PixelError as error:
            raise _Unreadable(number, refusal_of(error)) from error
        except (DicomError, NotFoundError, OSError) as error:
            raise _Unreadable(number, Refusal(NotAnalysedReason.DECODE_ERROR, str(error))) from error
        self.of_a_body.append(like_a_body(hu))
        return hu


def _none(volume: Sequence[Candidate], problem: _Unreadable) -> tuple[NotAnalysed, ...]:
    """A volume with a hole is not read: the slice that cannot be, with its reason, and the others because of it."""
    others = Refusal(NotAnalysedReason.UNUSABLE_GEOMETRY, f"slice {problem.number + 1} of the series cannot be read")
    return tuple(
        _left_out(candidate, problem.refusal if number == problem.number else others)
        for number, candidate in enumerate(volume)
    )


def _left_out(candidate: Candidate, refusal: Refusal) -> NotAnalysed:
    return NotAnalysed(sop_instance_uid=candidate.sop_instance_uid, reason=refusal.reason, detail=refusal.detail)
