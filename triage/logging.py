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

QUOTING_LIBRARIES: Final = ("pydicom", "pynetdicom", "highdicom", "py.warnings")
"""Their log lines quote values of elements ("Invalid value for VR DA: ..."), so none of them is written. Through the
last come warnings where a library (Celery) has them logged, whatever filter stands."""
LONGEST_MESSAGE: Final = 300
"""Characters of a library's message that are written."""

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
    logging.basicConfig(level=logging.WARNING, handlers=[_OfLibraries()], force=True)


class _OfLibraries(logging.Handler):
    """Writes what libraries log as lines of this log: one for each, in its format, exceptions by class and place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            said = " ".join(record.getMessage().split())[:LONGEST_MESSAGE]
        except (TypeError, ValueError, KeyError):  # its arguments do not fit its text
            said = str(record.msg)[:LONGEST_MESSAGE]
        log = structlog.get_logger(module=record.name)
        say = log.error if record.levelno >= logging.ERROR else log.warning
        say("library_said", message=said, exc_info=record.exc_info)


def summarise_exception(_logger: Any, _method: str, event: Any) -> Any:
    """Replace ``exc_info`` by class and place: the text of a foreign exception may quote a patient attribute."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    kind, _, traceback = given if isinstance(given, tuple) else sys.exc_info()
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
