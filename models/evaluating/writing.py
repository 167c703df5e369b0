"""Writing files of an evaluation: whole or not at all, and a full disk says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.evaluating.errors import EvaluationError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write this file into ours.

    Raises
    ------
    EvaluationError
        No room, no permission, no such folder.
    """
    try:
        yield
    except OSError as error:
        raise EvaluationError(
            f"{path} cannot be written: {error.strerror or error}.",
            next_step="Make room or name another --out; what is already predicted is kept, and the next run goes on.",
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a file; a reader sees the old one or the new one, never a part.

    Raises
    ------
    EvaluationError
        It cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    with writing(path):
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)  # noqa: PTH105
        except OSError:
            part.unlink(missing_ok=True)
            raise
