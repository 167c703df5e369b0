"""Writes the generated parts of docs/messages.md: examples, tables of options and facts. The page's test compares them.

Run it after a change: ``PYTHONPATH=.:tests:tests/unit/workers python tests/unit/workers/message_examples.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from message_cases import statement

from triage.hl7_template import FACTS, OBSERVATION_FACTS
from triage.message_options import FhirOptions, Hl7Options, MessageOptions, WebhookOptions
from workers.messages.fhir import build_bundle
from workers.messages.oru import build_oru
from workers.messages.webhook import build_document

PAGE = Path(__file__).parents[3] / "docs" / "messages.md"
_BLOCK = re.compile(r"<!-- (?P<name>(example|options): [a-z0-9]+|(observation )?facts) -->\n.*?<!-- end -->", re.DOTALL)


def generated() -> Mapping[str, str]:
    """Each generated part by its name in the page."""
    oru = build_oru(statement(), Hl7Options(receiving_application="RIS", receiving_facility="HOSPITAL"))
    return {
        "example: hl7": _fenced("", oru.decode().replace("\r", "\n")),
        "example: fhir": "\n".join(map(_entry, _transaction())),
        "example: webhook": _fenced("json", _json(json.loads(build_document(statement(), WebhookOptions())))),
        "options: hl7": _options(Hl7Options),
        "options: fhir": _options(FhirOptions),
        "facts": _table(("fact", "what it is"), FACTS),
        "observation facts": _table(("fact", "what it is"), OBSERVATION_FACTS),
    }


def page() -> str:
    """The page with its generated parts as they are now."""
    parts = generated()
    return _BLOCK.sub(
        lambda match: f"<!-- {match['name']} -->\n\n{parts[match['name']]}\n<!-- end -->", PAGE.read_text()
    )


def _transaction() -> list[dict[str, Any]]:
    """The report and one of its observations."""
    entries: list[dict[str, Any]] = json.loads(build_bundle(statement(), FhirOptions()))["entry"]
    return [entries[-1], entries[1]]


def _entry(entry: dict[str, Any]) -> str:
    request = entry["request"]
    return f"`{request['method']} {request['url']}`\n\n{_fenced('json', _json(entry['resource']))}"


def _json(value: dict[str, Any]) -> str:
    """A member a line."""
    lines = [f" {json.dumps(name)}: {json.dumps(member, ensure_ascii=False)}" for name, member in value.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def _options(options: type[MessageOptions]) -> str:
    described = {name: (field.description or "").replace("\n", " ") for name, field in options.model_fields.items()}
    defaults = {name: field.get_default(call_default_factory=True) for name, field in options.model_fields.items()}
    shown = {name: f"{text} Default: `{defaults[name]!r}`." for name, text in described.items()}
    return _table(("option", "what it is"), shown)


def _table(head: tuple[str, str], rows: Mapping[str, str]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in rows.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
