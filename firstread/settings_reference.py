"""The reference of all settings, printed from the class that reads them."""

from __future__ import annotations

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from triage.addresses import DestinationKind
from triage.identity_provider import IdentityProvider
from triage.peers import OPTIONS, Destination
from triage.settings import PREFIX, Settings

HEAD = """# Settings

Printed by `firstread settings`. Each name can stand in `firstread.toml` in the working directory (or the file that
`FIRSTREAD_CONFIG` names) and, in capitals with the prefix `FIRSTREAD_`, in the environment; the command line beats the
environment, which beats the file.

| setting | environment | default | what it is for |
|---|---|---|---|
"""
DESTINATIONS = """
A destination in `firstread.toml` may be a table; [destinations.md](destinations.md) explains:

```toml
[[destinations]]
address = "PACS@10.0.0.5:104"
heat_map = false   # marking an image is a regulatory question: send the report only
commitment = "auto"  # proof of arrival: storage commitment, else C-FIND; "required" or "off"
tls = true         # send over TLS, never without
certificate = "DNS:pacs.hospital.example"   # what its certificate must say; without it: the host of the address
```

| option of a destination | kinds | default | what it is for |
|---|---|---|---|
"""
TAIL = """
Systems that speak no DICOM (HL7 v2, FHIR, webhooks) are destinations too, with options of their own: docs/messages.md.

So may a calling AE title be a table, which is then admitted over TLS only, with that certificate:

```toml
[[calling_ae_titles]]
ae_title = "CT1"
network = "10.0.1.0/24"
certificate = "SHA256:5f:0c:…"   # or DNS:name, IP:address, URI:uri, CN:common name
```
"""

PROVIDER = """The table `[oidc]` names the hospital's identity provider; [sign-in.md](sign-in.md) explains:

| option of `oidc` | default | what it is for |
|---|---|---|
"""


def reference() -> str:
    """All settings as a Markdown document."""
    rows = [
        f"| `{name}` | `{PREFIX}{name.upper()}` | {_default(_plain(field.default))} | "
        f"{_line(field.description or '')} |"
        for name, field in Settings.model_fields.items()
    ]
    options = [
        f"| `{name}` | {_kinds(name)} | {_default(_plain(field.default))} | {_line(field.description or '')} |"
        for name, field in Destination.model_fields.items()
        if name in OPTIONS
    ]
    provider = [
        f"| `{name}` | {_default(_plain(field.default))} | {_line(field.description or '')} |"
        for name, field in IdentityProvider.model_fields.items()
    ]
    parts = (HEAD + "\n".join(rows), DESTINATIONS + "\n".join(options), TAIL, PROVIDER + "\n".join(provider))
    return "\n".join(parts) + "\n"


def _kinds(option: str) -> str:
    kinds = OPTIONS[option]
    return "all" if len(kinds) == len(DestinationKind) else ", ".join(kind for kind in DestinationKind if kind in kinds)


def _plain(value: object) -> object:
    """Tables have no default to print, and kinds print as their values."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return None if isinstance(value, BaseModel) else value


def _default(value: object) -> str:
    return "" if value in (None, (), "", {}, PydanticUndefined) else f"`{value}`"


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
