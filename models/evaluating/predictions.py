"""What the bundle says about each image, on the product's own path, kept so that a killed run goes on.

The file is JSON, a line per image, appended as they come. Its first line names bundle and preprocessing; kept lines of
another are never used. A line that a kill has cut short is done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from models.bundle import METADATA, WEIGHTS, Bundle, file_digest
from models.evaluating.errors import EvaluationError
from models.evaluating.subgroups import NOBODY, Subject
from models.evaluating.writing import writing
from models.gate import SHIPPED_GATE
from models.preprocessing import PREPROCESSING_VERSION
from models.routing import Refusal

_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One image looked at.

    Attributes
    ----------
    logits : tuple of float or None
        As the network gives them, in the bundle's order; None where the image was left out.
    refusal : Refusal or None
        Why it was left out.
    routed : bool
        False where it has no header that routing could have looked at.
    subject : Subject
        What its header says.
    """

    logits: tuple[float, ...] | None = None
    refusal: Refusal | None = None
    routed: bool = False
    subject: Subject = NOBODY


def identity(bundle: Bundle) -> str:
    """Hex digest of what decides a bundle's answers: metadata (which binds the files), preprocessing, the gate."""
    described = (file_digest(folder / METADATA) for folder in (bundle.directory, SHIPPED_GATE))
    parts = (*described, bundle.metadata.files[WEIGHTS], str(PREPROCESSING_VERSION))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


class KeptPredictions:
    """The file of kept outcomes, by digest of the image. Use as a context manager; for one process at a time.

    Parameters
    ----------
    path : Path
        Made where it is missing; begun anew where it belongs to something else.
    owner : str
        :func:`identity` of the bundle, with what else decides the outcome (routing on or off).
    """

    def __init__(self, path: Path, owner: str) -> None:
        self._path, self._owner = path, owner
        self._known: dict[str, Outcome] = {}
        self._stream: TextIOWrapper | None = None

    def __enter__(self) -> Self:
        with writing(self._path):
            whole = _whole_lines(self._path)
            if whole and _is_head_of(whole[0], self._owner):
                self._known = dict(_outcomes(whole[1:]))
                self._stream = self._path.open("r+", encoding="utf-8")
                self._stream.seek(sum(map(len, whole)))
                self._stream.truncate()  # what a kill has left half written
            else:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._path.open("w", encoding="utf-8")
                self._write({"format": _FORMAT, "owner": self._owner})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            with writing(self._path):
                self._stream.close()

    def get(self, digest: str) -> Outcome | None:
        """What was said about this image, or None."""
        return self._known.get(digest)

    def keep(self, outcomes: Mapping[str, Outcome]) -> None:
        """Add outcomes by digest; they are in the file when this returns.

        Raises
        ------
        EvaluationError
            They cannot be written: the disk is full.
        """
        with writing(self._path):
            for digest, outcome in outcomes.items():
                self._write({"digest": digest, **asdict(outcome)})
        self._known.update(outcomes)

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._stream is None:
            raise EvaluationError(f"{self._path} is not open.")
        self._stream.write(json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n")
        self._stream.flush()


def _whole_lines(path: Path) -> list[bytes]:
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    return lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]


def _is_head_of(line: bytes, owner: str) -> bool:
    try:
        return bool(json.loads(line) == {"format": _FORMAT, "owner": owner})
    except ValueError:
        return False


def _outcomes(lines: list[bytes]) -> Iterator[tuple[str, Outcome]]:
    """A line that is none of ours is passed over: its image is looked at again."""
    adapter = TypeAdapter(Outcome)
    for line in lines:
        try:
            record = json.loads(line)
            yield str(record.pop("digest")), adapter.validate_python(record)
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
            continue
