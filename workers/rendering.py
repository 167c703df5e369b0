"""Frames for the page's viewer: asked for by a row when a person opens a case, decoded in the child, written beside
the results.

One thread of a process makes them, one frame after the other, so that deliveries and housekeeping keep theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.archive import Archive
from models.decoder import Decoder
from models.decoding import decode_frame
from models.functional_groups import header_of
from models.layout import frame_count
from models.viewing import Viewable, viewable_picture
from triage.errors import DecoderUnavailableError, DicomError
from triage.logging import get_logger
from triage.repositories import renderings
from triage.repositories.renderings import Asked
from workers import stored_image
from workers.result_files import store_rendering
from workers.workbench import Workbench

RADIOGRAPH_SIDE: Final = 2048
"""Longest side in pixels of a frame that a browser gets."""
SLICE_SIDE: Final = 1024
"""The same for a series of more than :data:`FEW` images or frames: a case stays within some hundred megabytes."""
FEW: Final = 8
PORTION: Final = 1
"""Frames that are claimed together: one, so that a case opened meanwhile is served next, and an image that breaks its
worker costs no other one an attempt."""
SWEPT: Final = 500

log = get_logger(__name__)


class _Opened:
    """The image that was read last: the frames of one object are asked for one after the other."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._relative_path = ""
        self._dataset = Dataset()

    def read(self, relative_path: str) -> Dataset:
        """As :func:`workers.stored_image.read`; large pixel data stay in the file."""
        if relative_path != self._relative_path:
            self._relative_path = ""
            self._dataset = stored_image.read(self._archive.path(relative_path))
            self._relative_path = relative_path
        return self._dataset


@dataclass(frozen=True, slots=True)
class _Made:
    asked: Asked
    relative_path: str = ""
    facts: Mapping[str, Any] | None = None
    reason: str = ""
    frames: int = 1


def render_due(bench: Workbench) -> int:
    """Make the frames that are asked for; returns how many were looked at. Nothing where another thread is at it."""
    if not bench.rendering.acquire(blocking=False):
        return 0
    settings = bench.settings
    decoder = Decoder(megabytes=settings.decoder_megabytes, seconds=settings.decoder_seconds)
    opened = _Opened(bench.archive)
    done = 0
    try:
        while claimed := _claim(bench):
            for asked in claimed:
                _record(bench, _make(bench, decoder, opened, asked))
            done += len(claimed)
    finally:
        decoder.close()
        bench.rendering.release()
    return done


def forget_unseen(bench: Workbench) -> int:
    """Throw away frames that nobody has looked at for long; returns how many."""
    with bench.database.write() as session:
        paths = renderings.forget_unseen(session, bench.clock(), SWEPT)
        for path in paths:  # before the rows go: a row without its file is made again, a file without a row is for ever
            (bench.settings.results / path).unlink(missing_ok=True)
    return len(paths)


def _claim(bench: Workbench) -> Sequence[Asked]:
    with bench.database.write() as session:
        return renderings.claim(session, bench.clock(), PORTION)


def _make(bench: Workbench, decoder: Decoder, opened: _Opened, asked: Asked) -> _Made:
    frames = 1
    try:
        dataset = opened.read(asked.relative_path)
        frames = frame_count(dataset)
        header = header_of(dataset, asked.frame)
        longest = RADIOGRAPH_SIDE if max(asked.siblings, frames) <= FEW else SLICE_SIDE
        view = viewable_picture(header, decode_frame(dataset, asked.frame, decoder.decode), longest)
        path = store_rendering(bench.settings.results, asked.instance_id, asked.frame, view.words)
    except DecoderUnavailableError:
        raise  # says nothing about the image: its lease runs out, and it is made later
    except Exception as error:  # noqa: BLE001 - pydicom parses an element when it is asked for, and may fail in any way
        log.info("frame_not_rendered", error=type(error).__name__)
        reason = str(error) if isinstance(error, DicomError) else "the image could not be read, or its frame written"
        return _Made(asked, reason=reason, frames=frames)
    return _Made(asked, path, _facts(header, view, frames))


def _record(bench: Workbench, made: _Made) -> None:
    with bench.database.write() as session:
        if made.facts is None:
            renderings.fail(session, made.asked.id, made.reason, frames=made.frames, at=bench.clock())
            return
        wanted = renderings.conclude(session, made.asked.id, made.relative_path, made.facts)
    if not wanted:  # retention took the image meanwhile
        (bench.settings.results / made.relative_path).unlink(missing_ok=True)


def _facts(header: Dataset, view: Viewable, frames: int) -> Mapping[str, Any]:
    """As :class:`triage.tables.Rendering` has them."""
    rows, columns, *samples = view.words.shape
    return {
        "rows": rows, "columns": columns, "source_rows": view.rows, "source_columns": view.columns, "frames": frames,
        "samples": samples[0] if samples else 1, "slope": view.slope, "intercept": view.intercept,
        "unit": view.unit, "inverted": view.inverted,
        "windows": [[window.centre, window.width, window.name] for window in view.windows],
        "function": view.function, "aspect": view.aspect, "position": _position(header),
        "rate": frames_a_second(header),
    }  # fmt: skip


def frames_a_second(dataset: Dataset) -> float | None:
    """How fast an object is to be played (PS3.3 C.7.6.5): as it asks to be, else as it was made; None where unsaid."""
    for keyword in ("RecommendedDisplayFrameRate", "CineRate"):
        rate = _number(dataset, keyword)
        if rate is not None and rate > 0:
            return rate
    milliseconds = _number(dataset, "FrameTime")
    return round(1000 / milliseconds, 3) if milliseconds is not None and milliseconds >= 1 else None


def _number(dataset: Dataset, keyword: str) -> float | None:
    try:
        number = float(dataset.get(keyword))
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _position(dataset: Dataset) -> float | None:
    """Where a slice lies along its own normal, mm (PS3.3 C.7.6.2.1.1); None where the header does not say."""
    place = _numbers(dataset, "ImagePositionPatient", 3)
    orientation = _numbers(dataset, "ImageOrientationPatient", 6)
    if place is None or orientation is None:
        return None
    position = float(np.dot(np.cross(orientation[:3], orientation[3:]), place))
    return round(position, 4) if np.isfinite(position) else None


def _numbers(dataset: Dataset, keyword: str, count: int) -> NDArray[np.float64] | None:
    try:
        numbers = np.array([float(value) for value in dataset.get(keyword) or ()], np.float64)
    except (TypeError, ValueError):
        return None
    return numbers if numbers.shape == (count,) and bool(np.isfinite(numbers).all()) else None
