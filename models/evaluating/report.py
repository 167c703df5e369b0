"""The report in its three forms, from the same figures: a page, JSON, and the model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models import card
from models.evaluating import page
from models.evaluating.writing import write_whole
from models.metadata import BundleMetadata

PAGE = "report.html"
FIGURES = "report.json"
CARD = "MODEL_CARD.md"


def write(report: Mapping[str, Any], metadata: BundleMetadata, out: Path) -> tuple[Path, Path, Path]:
    """Write page, figures and card into a folder that is there, each whole or not at all.

    Raises
    ------
    EvaluationError
        One cannot be written.
    """
    paths = out / PAGE, out / FIGURES, out / CARD
    texts = (
        page.render(report),
        json.dumps(report, indent=1, allow_nan=False) + "\n",
        card.render(metadata, report),
    )
    for path, text in zip(paths, texts, strict=True):
        write_whole(path, text)
    return paths
