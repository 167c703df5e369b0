"""The plain layout: a column ``file``, and the labels as words in one column or as a column for each."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import get_args

from models.training.errors import TrainingDataError
from models.training.layouts.records import Listing, Record, label_value, lines_of, patient_of, sex, words_of, years
from models.training.plan import Side

NAME, LABELS = "file", "label"
_NOT_LABELS = {NAME, LABELS, "patient", "side", "view", "sex", "age"}


def read(table: Path, wanted: frozenset[str], asked: Collection[str] | None = None) -> Listing:
    """``file`` (relative to the folder), ``patient``, ``label`` with ``|`` between labels, or a column per label.

    Optional: ``side`` (train, validation, test), ``view``, ``sex``, ``age``. Without ``patient`` every image is taken
    for a patient of its own.

    Parameters
    ----------
    wanted : frozenset of str
        Labels that the plan asks for: only their columns are read as labels.
    asked : collection of str, optional
        Those that may be words of the column ``label``; ``wanted`` by default.
    """
    records = []
    seen: set[str] = set()
    words = False
    for line, cells in lines_of(table, (NAME,)):
        words, image = LABELS in cells, cells[NAME].strip()
        if words:
            labels = words_of(cells[LABELS], wanted if asked is None else asked, table=table, line=line)
            seen |= labels.keys()
        else:
            seen |= cells.keys() - _NOT_LABELS
            labels = {
                name: label_value(cells[name], table=table, line=line, column=name) for name in wanted if name in cells
            }
        records.append(
            Record(
                names=(image,),
                patient=patient_of(cells, "patient", image, table=table, line=line),
                labels=labels,
                unlabelled=words and not labels,
                line=line,
                side=_side(cells.get("side", ""), table, line),
                view=cells.get("view", "").strip().upper(),
                sex=sex(cells.get("sex", "")),
                age=years(cells.get("age", "")),
                columns=cells,
            )
        )
    return Listing(tuple(records), frozenset(seen), complete=not words)


def _side(text: str, table: Path, line: int) -> Side | None:
    word = text.strip().lower()
    if not word:
        return None
    for side in get_args(Side):
        if word == side:
            return side  # type: ignore[no-any-return]
    raise TrainingDataError(f"{table}, line {line}: side {word[:20]!r} is none of {', '.join(get_args(Side))}.")
