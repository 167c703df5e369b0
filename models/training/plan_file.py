"""A training plan as a TOML file: everything that a run depends on, in one place, strictly read."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from models.training.errors import PlanError
from models.training.plan import FindingPlan, TrainingPlan

T = TypeVar("T")

_BARE = re.compile(r"^[A-Za-z0-9_-]+$")


def read_plan(path: Path) -> TrainingPlan:
    """The plan of a file.

    Raises
    ------
    PlanError
        Not TOML, an unknown or missing key, or an impossible value: with the place.
    """
    return _checked(TypeAdapter(TrainingPlan), _toml(path), str(path))


def read_findings(path: Path) -> tuple[tuple[FindingPlan, ...], dict[str, tuple[str, ...]]]:
    """What ``findings.toml`` asks for: ``[[finding]]`` tables with key, labels, code, site and urgency.

    Returns
    -------
    findings : tuple of FindingPlan
    labels : dict of str to tuple of str
        Key → the labels of the table that mean it; the key itself where none are named.

    Raises
    ------
    PlanError
        As :func:`read_plan`.
    """
    from models.training.shipped import KNOWN_FINDINGS  # noqa: PLC0415 - shipped plans import this package

    tables = _toml(path).get("finding")
    if not isinstance(tables, list) or not tables:
        raise PlanError(f"{path} has no [[finding]] table.", next_step="docs/training.md shows one.")
    findings, labels = [], {}
    for number, table in enumerate(tables, start=1):
        given = dict(table)
        where = f"{path}, finding {number}"
        named = given.pop("labels", None)
        known = KNOWN_FINDINGS.get(str(given.get("key")))
        if known is not None:
            given = {**{name: value for name, value in plain(known).items() if value is not None}, **given}
        finding = _checked(TypeAdapter(FindingPlan), given, where)
        if named is not None and not (isinstance(named, list) and all(isinstance(name, str) for name in named)):
            raise PlanError(f"{where}: labels is a list of texts.")
        findings.append(finding)
        labels[finding.key] = tuple(named or (finding.key,))
    if len(labels) < len(findings):
        raise PlanError(f"{path}: two findings share a key.")
    return tuple(findings), labels


def plan_text(plan: TrainingPlan) -> str:
    """The plan as :func:`read_plan` reads it back."""
    return "# A plan of `firstread models train`; docs/training.md says what each key means.\n" + _tables(
        plain_plan(plan), ()
    )


def plain_plan(plan: TrainingPlan) -> dict[str, Any]:
    """The plan as JSON can write it."""
    result = plain(plan)
    assert isinstance(result, dict)  # noqa: S101 - for the type checker
    return result


def checked(plan: TrainingPlan) -> TrainingPlan:
    """The same plan, with every value in its range.

    Raises
    ------
    PlanError
        A value is not.
    """
    return _checked(TypeAdapter(TrainingPlan), plain_plan(plan), "the plan")


def plain(value: Any) -> Any:
    """Dataclasses, models and paths as dicts, lists and texts."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PlanError(f"{path} cannot be read as TOML ({error}).") from error


def _checked(adapter: TypeAdapter[T], value: Any, where: str) -> T:
    try:
        return adapter.validate_json(json.dumps(value))  # as JSON: lists are tuples, texts are paths
    except TypeError as error:
        raise PlanError(f"{where}: dates and times are written as text, in quotes.") from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise PlanError(f"{where}: {place or 'the plan'}: {problem['msg']}.") from error


def _tables(table: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """A table and those below it as TOML; None is left out, which is what it means."""
    lines, below = [], []
    for key, value in table.items():
        name = (*path, _key(key))
        if isinstance(value, Mapping):
            below.append(f"\n[{'.'.join(name)}]\n{_tables(value, name)}")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            below += [f"\n[[{'.'.join(name)}]]\n{_tables(item, name)}" for item in value]
        elif value is not None:
            lines.append(f"{_key(key)} = {_value(value)}\n")
    return "".join(lines + below)


def _key(key: str) -> str:
    return key if _BARE.match(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    # JSON's texts, numbers and booleans are TOML's too, DEL apart, which JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
