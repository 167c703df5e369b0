"""Bundles of a site for tests that are about something else than how they got there."""

from __future__ import annotations

from pathlib import Path

from models.bundle import METADATA, Bundle
from models.site import STATE, SiteState, Standing


def enable_all(folder: Path) -> None:
    """Enable every bundle in a folder as it lies there now, without asking what it is worth."""
    bundles = [Bundle.load(path.parent) for path in folder.glob(f"*/{METADATA}")]
    standings = {
        bundle.metadata.name: Standing(enabled=True, source="site", digest=bundle.digest) for bundle in bundles
    }
    (folder / STATE).write_text(SiteState(revision=1, bundles=standings).model_dump_json())
