"""``/api/v1/admin/models``: the bundles as they stand; a worker enables, disables and sets operating points.

Nothing here touches a case: a change counts for images that are read after it.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from sqlalchemy.orm import Session

from triage.errors import NotFoundError
from triage.repositories import bundle_listing, errands, heartbeats
from triage.states import ErrandKind
from triage.tables import BundleListing
from worklist.changing import etag
from worklist.context import Context, Here, Who
from worklist.editing import Seen, require_unchanged
from worklist.schemas.errands import ErrandOut, describe_errand
from worklist.schemas.models import (
    Disabling,
    Enabling,
    ModelList,
    PointChange,
    PointReset,
    ReaderOut,
    describe_model,
)

router = APIRouter(prefix="/admin/models", tags=["admin"])

Bundle = Annotated[str, Path(max_length=40, pattern=r"^[a-z0-9][a-z0-9-]*$", description="Name of a bundle.")]
Finding = Annotated[str, Path(max_length=40, pattern=r"^[a-z][a-z0-9_]*$", description="Key of a finding.")]
READS = Enabling()


def read_models(here: Context) -> ModelList:
    """Every bundle, and who reads with them."""
    with here.database.look() as session:
        listing = bundle_listing.current(session)
        rows: list[dict[str, Any]] = listing.bundles if listing else []
        changes = errands.latest(session, [f"bundle:{row['name']}" for row in rows])
        beats = heartbeats.alive(session, here.clock())
    readers = [
        ReaderOut(name=beat.name, bundles=list(beat.detail.get("bundles", []))) for beat in beats if beat.part == "work"
    ]
    items = []
    for row in rows:
        change = changes.get(f"bundle:{row['name']}")
        items.append(describe_model(row, describe_errand(change) if change else None))
    return ModelList(
        revision=listing.revision if listing else 0, at=listing.at if listing else None, items=items, readers=readers
    )


@router.get("", summary="Bundles as they stand")
def list_models(here: Here, response: Response) -> ModelList:
    """Which read and why not, what was proven, the operating point of every finding. `ETag` is for If-Match."""
    found = read_models(here)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.post("/{name}/enable", summary="Let a bundle read", status_code=202)
def enable(here: Here, who: Who, name: Bundle, seen: Seen, wish: Enabling = READS) -> ErrandOut:
    """A worker holds it against its acceptance criteria first; what fails them, or its self-test, stays off."""
    return _ask(here, who, name, seen, {"change": "enable", "shipped": wish.shipped})


@router.post("/{name}/disable", summary="Let a bundle read no more", status_code=202)
def disable(here: Here, who: Who, name: Bundle, seen: Seen, wish: Disabling) -> ErrandOut:
    """What it has found stays; images for it say "not analysed" with the reason, and wait as without AI."""
    return _ask(here, who, name, seen, {"change": "disable", "reason": wish.reason})


@router.patch("/{name}/findings/{key}", summary="Set the site's operating point of a finding", status_code=202)
def set_point(here: Here, who: Who, name: Bundle, key: Finding, seen: Seen, wish: PointChange) -> ErrandOut:
    """For images that are read from then on: no open case changes its class.

    Scores and their calibration stay; sensitivity and specificity were measured at the bundle's own threshold.
    """
    return _ask(here, who, name, seen, {"change": "set_point", "finding": key, **wish.model_dump(mode="json")}, key)


@router.post("/{name}/findings/{key}/reset", summary="Back to the bundle's own operating point", status_code=202)
def reset_point(here: Here, who: Who, name: Bundle, key: Finding, seen: Seen, wish: PointReset) -> ErrandOut:
    """Threshold and urgency of the bundle count again, for images that are read from then on."""
    return _ask(here, who, name, seen, {"change": "reset_points", "finding": key, "reason": wish.reason}, key)


def _ask(here: Context, who: str, name: str, seen: int, wish: dict[str, Any], key: str = "") -> ErrandOut:
    with here.database.write() as session:
        listing = _listing(session)
        _require_known(listing, name, key)
        require_unchanged(listing.revision, seen)
        errand = errands.ask(
            session, ErrandKind.CHANGE_BUNDLE, f"bundle:{name}", {"bundle": name, "revision": seen, **wish},
            at=here.clock(), who=who,
        )  # fmt: skip
        return describe_errand(errand)


def _listing(session: Session) -> BundleListing:
    listing = bundle_listing.current(session)
    if listing is None:
        raise NotFoundError("No worker has looked at the bundles yet.", next_step="`firstread doctor`: does one live?")
    return listing


def _require_known(listing: BundleListing, name: str, key: str) -> None:
    known = [row for row in listing.bundles if row["name"] == name]
    if not known:
        raise NotFoundError("No bundle of this installation has this name.", next_step="Reload the list.")
    if key and not any(point["finding"] == key for row in known for point in row["points"]):
        raise NotFoundError("The bundle has no finding with this key.", next_step="Reload the list.")
