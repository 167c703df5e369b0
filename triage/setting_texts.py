"""Settings as text: lists with commas, networks, and what is wrong with a value."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode


def items_of(value: Any) -> Any:
    """A comma-separated or JSON text as a list; anything else unchanged."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        return json.loads(text)
    return [part.strip() for part in text.split(",") if part.strip()]


def problem_of(item: Any) -> str:
    """One of pydantic's errors in words: which setting, and what is wrong with it."""
    name = ".".join(str(part) for part in item["loc"]) or "settings"
    message = str(item["msg"]).removeprefix("Value error, ")
    return (
        f"unknown setting {name}"
        if item["type"] == "extra_forbidden"
        else f"{name}: {message}".removeprefix("settings: ")
    )


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for item in value:
        ip_network(item)
    return value


Networks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(items_of), AfterValidator(_networks)]
"""Addresses or networks, as a list or with commas."""
