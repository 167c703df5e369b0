"""Ties tests to the catalogue: ``@case("N3")`` on a test, ``one("N3", ...)`` in a parametrised one."""

from __future__ import annotations

from typing import Any

import pytest

from bad_inputs.catalogue import CATALOGUE


def case(case_id: str) -> pytest.MarkDecorator:
    """Mark a test as the one of a case.

    Raises
    ------
    KeyError
        The catalogue has no such case.
    """
    return pytest.mark.case(case_id, CATALOGUE[case_id])


def one(case_id: str, *values: Any, name: str = "") -> Any:
    """A parameter set of a case; its test id is the case's, with ``name`` behind it where a case has several."""
    return pytest.param(*values, id=f"{case_id} {name}".strip(), marks=case(case_id))
