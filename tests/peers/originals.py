"""The libraries that models of the field are made with: torchxrayvision and MONAI.

`make neighbours` installs them apart from us (tests/peers/originals.lock); torch and numpy they take from ours. Nothing
is fetched by a test: their weights are fresh.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Final

import pytest

FOLDER: Final = Path(__file__).parents[2] / ".neighbours" / "originals"


def original(module: str) -> Any:
    """A module of theirs; the test is skipped where they are not installed."""
    if not (FOLDER / module.partition(".")[0]).is_dir():
        pytest.skip(f"{module} is not installed: make neighbours")
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # last: what we have ourselves, they take from us
    return importlib.import_module(module)
