"""The catalogue is answered for: each case has a test, and no test answers for a case that is not in it."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bad_inputs.cases import case
from bad_inputs.catalogue import CATALOGUE

HERE = Path(__file__).parent


def answered() -> Iterator[str]:
    """The case of each ``case(...)`` and ``one(...)`` that decorates a test of this folder."""
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for decorator in node.decorator_list:
                    yield from filter(None, map(_case, ast.walk(decorator)))


def _case(node: ast.AST) -> str:
    match node:
        case ast.Call(func=ast.Name(id="case" | "one"), args=[ast.Constant(value=str(name)), *_]):
            return name
    return ""


def test_each_case_of_the_catalogue_has_a_test() -> None:
    assert sorted(CATALOGUE.keys() - set(answered())) == []


def test_the_catalogue_is_whole() -> None:
    assert Counter(name[0] for name in CATALOGUE) == {"N": 20, "D": 16, "S": 20, "P": 18, "A": 19, "C": 13}


def test_a_case_that_is_not_in_the_catalogue_cannot_be_claimed() -> None:
    with pytest.raises(KeyError):
        case("N21")
