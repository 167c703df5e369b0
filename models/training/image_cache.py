"""Fitted images on disk, mapped into memory: 112,000 radiographs of 256 × 256 are 7 GB that no RAM has to hold.

One file of bytes per set of images, keyed by the digest of what it was made from (names, sizes, dates, input
geometry, version of the preprocessing). It is filled in chunks by several processes; a log beside it says which
are whole, so a run that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.metadata import InputSpec
from models.preprocessing import PREPROCESSING_VERSION
from models.training.durable import no_room, write_durably
from models.training.errors import TrainingDataError
from models.training.image_files import read_image
from models.training.samples import Report, StoredImages, in_256_steps

_CHUNK = 256
_VERSION = "2"
_BYTES = 2
"""Of a pixel."""


@dataclass(frozen=True, slots=True)
class CachedImages:
    """What the cache holds of a list of files.

    Attributes
    ----------
    images : StoredImages
        uint16 (N, height, width), mapped from disk; black where a file could not be read.
    digests : tuple of str
        SHA-256 of each fitted picture in 256 steps: equal for copies of one image, whatever file they came in.
    problems : dict of int to str
        Index → why this file could not be read.
    """

    images: StoredImages
    digests: tuple[str, ...]
    problems: dict[int, str]


@dataclass(frozen=True, slots=True)
class _Chunk:
    number: int
    paths: tuple[Path, ...]
    spec: InputSpec
    file: Path


@dataclass(frozen=True, slots=True)
class _Filled:
    number: int
    digests: list[str]
    problems: dict[int, str]


def cache_images(
    paths: Sequence[Path], spec: InputSpec, directory: Path, *, processes: int, report: Report
) -> CachedImages:
    """Read, fit and keep images; a second call with the same files only maps them.

    Raises
    ------
    TrainingError
        The disk has no room for them.
    TrainingDataError
        A file vanished.
    """
    key = _key(paths, spec)
    file, facts = directory / f"{key}.images", directory / f"{key}.json"
    size = len(paths) * spec.height * spec.width * _BYTES
    if not (facts.is_file() and file.is_file() and file.stat().st_size == size):
        directory.mkdir(parents=True, exist_ok=True)
        _fill(paths, spec, file, facts, processes, report)
    known = json.loads(facts.read_text(encoding="utf-8"))
    shape = (len(paths), spec.height, spec.width)
    mapped: NDArray[np.uint16] = np.memmap(file, np.uint16, mode="r", shape=shape)
    problems = {int(index): reason for index, reason in known["problems"].items()}
    return CachedImages(StoredImages(mapped, np.arange(len(paths))), tuple(known["digests"]), problems)


def _fill(paths: Sequence[Path], spec: InputSpec, file: Path, facts: Path, processes: int, report: Report) -> None:
    part, log = file.with_suffix(".part"), file.with_suffix(".log")
    if not part.is_file():
        log.unlink(missing_ok=True)
    size = len(paths) * spec.height * spec.width * _BYTES
    try:
        with part.open("ab") as stream:
            # Asked for at once: a disk that is too small says so now and not in three hours.
            os.posix_fallocate(stream.fileno(), 0, size)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise no_room(f"the {size / 2**20:.0f} MiB of fitted images", part, error) from error
    done = {filled.number: filled for filled in _logged(log)}
    chunks = [
        _Chunk(number, tuple(paths[start : start + _CHUNK]), spec, part)
        for number, start in enumerate(range(0, len(paths), _CHUNK))
    ]
    missing = [chunk for chunk in chunks if chunk.number not in done]
    report("images", {"done": min(len(done) * _CHUNK, len(paths)), "of": len(paths)})
    try:
        with log.open("a", encoding="utf-8") as lines:
            for filled in _in_parallel(missing, processes):
                done[filled.number] = filled
                lines.write(json.dumps([filled.number, filled.digests, filled.problems]) + "\n")
                lines.flush()
                report("images", {"done": min(len(done) * _CHUNK, len(paths)), "of": len(paths)})
    except OSError as error:
        raise no_room("the fitted images", part, error) from error
    whole = [done[number] for number in range(len(chunks))]
    problems = {f.number * _CHUNK + int(n): reason for f in whole for n, reason in f.problems.items()}
    write_durably(facts, json.dumps({"digests": [d for f in whole for d in f.digests], "problems": problems}).encode())
    os.replace(part, file)  # noqa: PTH105
    log.unlink()


def _logged(log: Path) -> Iterator[_Filled]:
    """Chunks that are whole; a line that a kill cut off does not count."""
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        try:
            number, digests, problems = json.loads(line)
        except ValueError:
            continue
        yield _Filled(number, digests, problems)


def _in_parallel(chunks: list[_Chunk], processes: int) -> Iterator[_Filled]:
    if min(len(chunks), processes) < 2:
        yield from map(_read_chunk, chunks)
        return
    # Spawned, not forked: the parent may already run torch's threads.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_read_chunk, chunks)


def _read_chunk(chunk: _Chunk) -> _Filled:
    digests, problems, pictures = [], {}, []
    for index, path in enumerate(chunk.paths):
        try:
            picture = read_image(path, chunk.spec)
        except TrainingDataError as error:
            problems[index] = str(error)
            picture = np.zeros((chunk.spec.height, chunk.spec.width), np.uint16)
        digests.append(hashlib.sha256(in_256_steps(picture).tobytes()).hexdigest())
        pictures.append(picture)
    data = np.stack(pictures).tobytes()
    # Written, not mapped: a full disk is an error then, and not the end of the process.
    with chunk.file.open("r+b") as stream:
        stream.seek(chunk.number * _CHUNK * chunk.spec.height * chunk.spec.width * _BYTES)
        stream.write(data)
        stream.flush()
        os.fdatasync(stream.fileno())
    return _Filled(chunk.number, digests, problems)


def _key(paths: Sequence[Path], spec: InputSpec) -> str:
    try:
        made_of: list[Any] = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    except OSError as error:
        raise TrainingDataError(f"an image is gone since the table was read ({error}).") from error
    geometry = [_VERSION, PREPROCESSING_VERSION, spec.height, spec.width, spec.fit]
    return hashlib.sha256(json.dumps([geometry, made_of]).encode()).hexdigest()[:32]
