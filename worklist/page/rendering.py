"""Templates and the few words that only they need. Everything printed is escaped, but for rows that a template made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worklist.permissions import Caller, need_of
from worklist.signin import form_secret, form_token

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
PAGES: Final = (
    ("/", "Reading list"),
    ("/statistics", "Statistics"),
    ("/simulator", "Simulator"),
    ("/deliveries", "Deliveries"),
    ("/node", "Node"),
    ("/admin", "Admin"),
    ("/docs", "API"),
)
"""Path and name of what every page links to, in this order."""

FLAGS: Final = {
    "damaged": "a stored image or result is damaged",
    "conflict": "another image under the same UID was refused",
    "identity_changed": "patient identity changed after arrival",
    "no_identity": "no patient ID",
    "two_patients": "images of two patients under one study",
    "order_mismatch": "an order for this accession number names another patient",
    "burned_in_annotation": "annotation is burnt into an image",
}


@cache
def environment() -> Environment:
    """Jinja with autoescape on for every template, and our filters; one for all, so that each is compiled once."""
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "person": person_name,
        "person_otherwise": person_otherwise,
        "duration": duration,
        "minutes": lambda count: duration(timedelta(minutes=count)),
        "seconds": short_duration,
        "instant": instant,
        "why": why,
        "flag": lambda flag: FLAGS.get(flag, flag.replace("_", " ")),
        "date": dicom_date,
        "size": size,
    }
    return templates


def render(
    request: Request,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """A template as an answer. ``theme`` comes from a cookie, so that no page flashes in the other one.

    ``may`` holds what the caller may do (:class:`worklist.permissions.Need`): pages offer nothing else.
    """
    theme = "light" if request.cookies.get("theme") == "light" else "dark"
    caller: Caller | None = getattr(request.state, "caller", None)
    may = caller.may if caller else frozenset()
    pages = [(path, name) for path, name in PAGES if need_of("GET", path) in may]
    who = caller.name if caller else ""
    known = {"theme": theme, "who": who, "may": may, "pages": pages, "form_token": form_token(form_secret(request))}
    page = request.app.state.templates.get_template(template).render(**known | dict(context))
    return HTMLResponse(page, status_code=status, headers=dict(headers or {}))


def person_name(name: str) -> str:
    """A person name (PS3.5 6.2.1) for people: "DOE^JANE^^DR" reads "DOE, JANE DR"; its first group not empty."""
    written = next((group for group in name.split("=") if group.strip(" ^")), "")
    family, *rest = (part.strip() for part in written.split("^"))
    given = " ".join(part for part in rest if part)
    return ", ".join(part for part in (family, given) if part) or "no name"


def person_otherwise(name: str) -> str:
    """The same person in the script of the second group (ideographic, PS3.5 6.2.1.1), "" where none is written."""
    first, _, rest = name.partition("=")
    ideographic = rest.partition("=")[0]
    return person_name(ideographic) if first.strip(" ^") and ideographic.strip(" ^") else ""


def dicom_date(text: str) -> str:
    """DA as YYYY-MM-DD; anything else unchanged."""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdecimal() else text


def duration(span: timedelta) -> str:
    """A wait in words: "40 s", "12 min", "3 h 05 min", "2 d 4 h"."""
    seconds = max(0, int(span.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes == 0:
        return f"{seconds} s"
    if hours == 0:
        return f"{minutes} min"
    if days == 0:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{days} d {hours % 24} h"


def short_duration(seconds: float) -> str:
    """A step in words: "40 ms", "1.2 s", then as :func:`duration`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else duration(timedelta(seconds=seconds))


def size(count: int) -> str:
    """Bytes in words: "12 kB", "3.4 MB", "72 GB"."""
    amount, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            break
        amount /= 1000
    return f"{amount:.1f} {unit}" if amount < 10 and unit != "B" else f"{amount:.0f} {unit}"


def instant(moment: datetime) -> str:
    """RFC 3339 for a ``datetime`` attribute."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def why(explanation: str) -> str:
    """The explanation without its due time, which the page shows in the reader's own time zone."""
    return explanation.rpartition("; due ")[0] or explanation
