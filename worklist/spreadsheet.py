"""Rows as CSV (RFC 4180) that a person opens in a spreadsheet, where what a sender wrote must not become a formula.

UTF-8 **with** a byte order mark: Excel reads CSV without one in the machine's old code page and spoils every umlaut,
while what programs use (Python's ``utf-8-sig``, pandas, R's ``UTF-8-BOM``) takes it off. A program has the JSON of the
same address. A spreadsheet may still show ``00123`` as 123: import such a column as text.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Final, TypeAlias

from starlette.responses import StreamingResponse

MEDIA_TYPE: Final = "text/csv; charset=utf-8; header=present"
MARK: Final = "\ufeff".encode()
FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")
"""What makes a spreadsheet compute (OWASP, CSV Injection); the wide forms do so in East Asian locales."""
PORTION: Final = 64 * 1024

Cell: TypeAlias = str | int | float | datetime | date | None
"""What a cell may hold; ``bool`` and ``StrEnum`` are among them."""

_UNSEEN: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufeff]")


def csv_portions(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[bytes]:
    """The table as bytes, in portions of some 64 KiB, so that memory does not grow with the rows.

    Lines end with CRLF. Text that a spreadsheet would take for a formula gets an apostrophe in front; numbers are
    numbers, also negative ones. Instants are RFC 3339 in UTC, truths ``true`` and ``false``, nothing is an empty cell.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : iterable of sequences
        As many cells each; taken one after the other.

    Raises
    ------
    ValueError
        A row is longer or shorter than the header, a number is not finite, or an instant has no time zone.
    """
    portion = io.StringIO(newline="")
    write = csv.writer(portion, lineterminator="\r\n").writerow
    write([_text(name) for name in header])
    before = MARK
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under {len(header)} columns")
        write([_written(cell) for cell in row])
        if portion.tell() >= PORTION:
            yield before + portion.getvalue().encode()
            before = b""
            portion.seek(0)
            portion.truncate()
    yield before + portion.getvalue().encode()


def csv_answer(name: str, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> StreamingResponse:
    """A download called ``name`` (ASCII, without quotes) as it is being read.

    An answer that has begun cannot turn into a problem document: what may fail, such as finding the database, is done
    before ``rows`` is handed over.
    """
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(csv_portions(header, rows), media_type=MEDIA_TYPE, headers=headers)


def _written(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return _text(cell)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, datetime):
        if cell.tzinfo is None:
            raise ValueError("an instant without a time zone")
        return cell.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(cell, date):
        return cell.isoformat()
    if not math.isfinite(cell):
        raise ValueError(f"{cell} is not a number that a spreadsheet knows")
    return repr(cell)


def _text(text: str) -> str:
    """Without what cannot be seen or encoded, and nothing that computes, behind spaces too."""
    shown = _UNSEEN.sub("\ufffd", text)
    return f"'{shown}" if shown.lstrip(" ").startswith(FORMULA) else shown
