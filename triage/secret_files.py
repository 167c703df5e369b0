"""Secrets live in files of their own, closed to other users, and are read at the moment they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from triage.errors import SettingsError

LONGEST: Final = 64 * 1024


def read_secret(path: Path) -> str:
    """The one secret in a file, without the line end behind it.

    Raises
    ------
    SettingsError
        The file is missing, empty, not text, or open to users who have no business with it. Never quotes it.
    """
    try:
        if path.stat().st_mode & 0o007:
            raise SettingsError(
                f"{path} holds a secret and everybody can use it.", next_step=f"Run `chmod 600 {path}`."
            )
        with path.open("rb") as file:
            content = file.read(LONGEST)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        secret = content.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text.") from None
    if not secret or not secret.isprintable():
        raise SettingsError(f"{path} holds no secret: one line of text is expected.")
    return secret
