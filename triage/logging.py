"""Structured logs: a constant event name, identifiers as fields, never a data set or a patient attribute.

Use: ``log = get_logger(__name__)``; ``log.info("instance_stored", sop_instance_uid=...)``. Study UID and analysis id
are bound once per task with :func:`bound`.
"""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final

import structlog

QUOTING_LIBRARIES: Final = ("pydicom", "pynetdicom", "highdicom")
"""Their log lines quote values of elements ("Invalid value for VR DA: ..."), so none of them is written."""

PATIENT_FIELDS: Final = frozenset(
    {
        "patient_name",
        "patient_id",
        "patient_birth_date",
        "patient_sex",
        "accession_number",
        "referring_physician_name",
    }
)
"""Field names that must never be logged; the processor below replaces their values."""


def configure(*, part: str, as_json: bool, level: str = "INFO") -> None:
    """Set up logging of one process. Called by entry points only.

    Parameters
    ----------
    part : str
        Name of the process ("listen", "work", "serve"), a field of every line.
    as_json : bool
        JSON lines for machines, coloured text for a terminal.
    """
    renderer: Any = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )

    def name_part(_logger: Any, _method: str, event: Any) -> Any:
        return {"part": part, **event}

    structlog.configure(
        processors=[
            name_part,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            withhold_patient_fields,
            summarise_exception,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # A library's warning may quote an element's value: they are for developers, whose tests turn them into errors.
    warnings.simplefilter("ignore")
    for library in QUOTING_LIBRARIES:
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True
    )


def summarise_exception(_logger: Any, _method: str, event: Any) -> Any:
    """Replace ``exc_info`` by class and place: the text of a foreign exception may quote a patient attribute."""
    if not event.pop("exc_info", None):
        return event
    kind, _, traceback = sys.exc_info()
    if kind is not None:
        frames = [f"{Path(f.filename).name}:{f.lineno}:{f.name}" for f in extract_tb(traceback)[-6:]]
        event["exception"], event["frames"] = kind.__name__, frames
    return event


def withhold_patient_fields(_logger: Any, _method: str, event: Any) -> Any:
    """Replace the value of any field named in :data:`PATIENT_FIELDS`."""
    for field in PATIENT_FIELDS & event.keys():
        event[field] = "[withheld]"
    return event


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that carries its module's name."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return logger


def bound(**fields: str | int) -> AbstractContextManager[None]:
    """Bind identifiers to every line inside the ``with`` block."""
    return structlog.contextvars.bound_contextvars(**fields)
