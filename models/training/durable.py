"""Files of a run that a kill or a full disk leaves either as they were or complete."""

from __future__ import annotations

import os
from pathlib import Path

from models.training.errors import TrainingError


def write_durably(path: Path, content: bytes) -> None:
    """Write beside, sync, rename, sync the folder: after a power cut there is the old file or the new one.

    Raises
    ------
    TrainingError
        The disk is full or does not let itself be written to; the old file is untouched.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)  # noqa: PTH105
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise no_room(path.name, path, error) from error


def no_room(what: str, path: Path, error: OSError) -> TrainingError:
    """The error that says what could not be written, where and why."""
    return TrainingError(
        f"{what} cannot be written to {path.parent}: {error.strerror or error}.",
        next_step="Make room or name another run directory, then call the same command again: what was written "
        "before is kept and the run goes on from there.",
    )
