"""Phantoms as samples, made by several processes and kept in the run directory for when a killed run comes back."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.metadata import InputSpec
from models.phantom import draw_findings, generate
from models.training.samples import Report, Samples, fitted, fitted_masks

_CHUNK = 250


@dataclass(frozen=True, slots=True)
class _Chunk:
    seed: int
    start: int
    stop: int
    size: int
    spec: tuple[int, int]
    keys: tuple[str, ...]
    emphasis: str
    unseen: bool
    path: Path


def phantom_samples(
    directory: Path,
    count: int,
    *,
    seed: int,
    size: int,
    spec: InputSpec,
    keys: tuple[str, ...],
    processes: int,
    report: Report,
    emphasis: str = "",
    unseen: bool = False,
) -> Samples:
    """The phantoms 0 to count - 1 of a seed, from the cache below `directory` as far as they are there.

    Parameters
    ----------
    emphasis, unseen
        As of :class:`models.training.plan.PhantomSource` and :func:`models.phantom.generate`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tag = f"{seed}-{size}-{spec.height}x{spec.width}-{len(keys)}{emphasis}{'-unseen' if unseen else ''}"
    chunks = [
        _Chunk(
            seed,
            start,
            min(start + _CHUNK, count),
            size,
            (spec.height, spec.width),
            keys,
            emphasis,
            unseen,
            directory / f"{tag}-{start}.npz",
        )
        for start in range(0, count, _CHUNK)
    ]
    missing = [chunk for chunk in chunks if not _complete(chunk)]
    for done, _ in enumerate(_in_parallel(missing, processes), start=1):
        report("generated", {"seed": seed, "done": done, "of": len(missing)})
    parts = [np.load(chunk.path, allow_pickle=False) for chunk in chunks]
    return Samples(*(np.concatenate([part[name] for part in parts]) for name in ("images", "labels", "masks")))


def _in_parallel(chunks: list[_Chunk], processes: int) -> Iterator[None]:
    if min(len(chunks), processes) < 2:
        yield from map(_generate, chunks)
        return
    # Spawned, not forked: the parent may already run torch's threads.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_generate, chunks)


def _complete(chunk: _Chunk) -> bool:
    if not chunk.path.is_file():
        return False
    with np.load(chunk.path, allow_pickle=False) as stored:
        return len(stored["labels"]) == chunk.stop - chunk.start


def _generate(chunk: _Chunk) -> None:
    spec = InputSpec(height=chunk.spec[0], width=chunk.spec[1], mean=0.0, std=1.0)
    images: list[Any] = []
    labels, masks = [], []
    for index in range(chunk.start, chunk.stop):
        present = draw_findings(chunk.seed, index)
        if chunk.emphasis and index % 2:
            present |= {chunk.emphasis}
        phantom = generate(chunk.seed, index, size=chunk.size, findings=present, unseen=chunk.unseen)
        images.append(fitted(phantom.display(), spec))
        labels.append([float(key in phantom.present) for key in chunk.keys])
        masks.append(fitted_masks([phantom.masks.get(key) for key in chunk.keys], spec))
    part = chunk.path.with_suffix(".part.npz")
    np.savez(part, images=np.stack(images), labels=np.array(labels, np.float32), masks=np.stack(masks))
    os.replace(part, chunk.path)  # noqa: PTH105
