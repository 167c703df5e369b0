"""Settings as text: lists with commas, and what is wrong with a value."""

from __future__ import annotations

import json
from typing import Any


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
