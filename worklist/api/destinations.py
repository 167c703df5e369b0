"""``/api/v1/admin/destinations``: who gets results, in which form, and what one of them gets of a study."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from triage.addresses import DestinationAddress
from triage.errors import IdentifierError, NotFoundError
from triage.identifiers import dicom_uid
from triage.peers import Destination
from triage.profiles import LONGEST_DESCRIPTION, Profile, ResultKind
from triage.repositories import errands, events, previews, queues, results
from triage.repositories.previews import Previewed, Standing
from triage.settings import Settings
from triage.states import ErrandKind
from worklist.context import Context, Here, SopUid, Who
from worklist.describe import delivery_fields
from worklist.schemas.cases import DeliveryOut
from worklist.schemas.destinations import DestinationOut, DestinationPage, DestinationTest, PreviewedOut, PreviewOut
from worklist.schemas.errands import ErrandOut, describe_errand

router = APIRouter(prefix="/admin", tags=["admin"])

REBUILD: Final = (
    "Some objects are wanted in a form that is not built. This process does not build; "
    "`firstread results preview --out` does so for looking, `firstread results send` for sending."
)
_TYPES: Final = {".dcm": "application/dicom", ".json": "application/json", ".hl7": "text/plain"}


@router.get("/destinations", summary="Destinations and what stands with each")
def list_destinations(here: Here) -> DestinationPage:
    """Those of the settings, and those of before that something was owed to."""
    return DestinationPage(items=read_destinations(here))


@router.post("/destinations/test", summary="Test a destination", status_code=202)
def test_destination(here: Here, who: Who, wish: DestinationTest) -> ErrandOut:
    """A worker asks it in the way of its kind, without leaving anything there: C-ECHO, a search for one study, a
    connection. 409 while a test of it is under way.
    """
    destination = destination_named(here.settings, wish.address)
    with here.database.write() as session:
        errand = errands.ask(
            session, ErrandKind.CHECK_DESTINATION, f"destination:{destination.address}",
            {"address": destination.address}, at=here.clock(), who=who,
        )  # fmt: skip
        return describe_errand(errand)


@router.get("/destinations/preview", summary="What a destination gets of a study")
def preview(
    here: Here,
    address: Annotated[str, Query(max_length=300, description="As in the settings.")],
    study: Annotated[str, Query(max_length=64, description="Study Instance UID.")],
) -> PreviewOut:
    """Every object, stored or still to be built; nothing is built, stored or sent by asking."""
    return read_preview(here, dicom_uid(study, attribute="StudyInstanceUID"), address)


@router.get("/results/{sop_uid}/file", summary="A result object or message as it is sent", response_class=FileResponse)
def download(here: Here, who: Who, sop_uid: SopUid) -> FileResponse:
    """Holds a patient's data: who fetched it stands in the audit trail. 404 when retention has removed it."""
    with here.database.write() as session:
        row = results.by_uid(session, sop_uid)
        root = here.settings.results.resolve()
        path = (root / row.relative_path).resolve()
        if row.removed_at is not None or not path.is_relative_to(root) or not path.is_file():
            raise NotFoundError("The file of this result is no longer here.", next_step="Ask the destination for it.")
        events.record(
            session, "result_fetched", at=here.clock(), study=row.analysis.study, who=who, kind_of_object=row.kind
        )
    media_type = _TYPES.get(path.suffix, "application/octet-stream")
    return FileResponse(path, media_type=media_type, filename=f"{row.kind}-{row.id}{path.suffix}")


def read_preview(here: Context, study_instance_uid: str, address: str) -> PreviewOut:
    """What a destination of the settings gets of a study."""
    destination = destination_named(here.settings, address)
    with here.database.look() as session:
        return describe_preview(
            study_instance_uid, destination, previews.preview(session, study_instance_uid, destination)
        )


def read_destinations(here: Context) -> list[DestinationOut]:
    """Those of the settings in their order, then those that are no longer in them."""
    with here.database.look() as session:
        counts = queues.destinations(session)
        tests = errands.latest(session, [f"destination:{each.address}" for each in here.settings.destinations])
    known = {destination.address: _described(destination) for destination in here.settings.destinations}
    for address, facts in known.items():
        tested = tests.get(f"destination:{address}")
        facts["test"] = describe_errand(tested) if tested else None
    former: dict[str, dict[str, Any]] = {address: {} for address in sorted(counts.keys() - known.keys())}
    return [
        DestinationOut(address=address, configured=address in known, counts=dict(counts.get(address, {})), **facts)
        for address, facts in (known | former).items()
    ]


def destination_named(settings: Settings, address: str) -> Destination:
    """A destination of the settings.

    Raises
    ------
    NotFoundError
        None has this address.
    """
    spelled = _spelled(address)
    found = next((destination for destination in settings.destinations if destination.address == spelled), None)
    if found is None:
        raise NotFoundError("No destination with this address is in the settings.", next_step="Check its spelling.")
    return found


def describe_preview(study: str, destination: Destination, items: list[Previewed]) -> PreviewOut:
    """A preview as API and command line say it."""
    rebuild = any(item.standing is Standing.NOT_BUILT for item in items)
    return PreviewOut(
        destination=destination.address,
        study_instance_uid=study,
        items=[_item(destination, item) for item in items],
        rebuild_needed=rebuild,
        note=REBUILD if rebuild else "",
    )


def _item(destination: Destination, item: Previewed) -> PreviewedOut:
    row, profile = item.row, destination.profile
    message = destination.kind.message is not None
    return PreviewedOut(
        kind=item.kind,
        variant=item.variant,
        standing=item.standing,
        revision=item.analysis.revision,
        bundle=item.analysis.bundle_name,
        series_number=None if message else _series_number(profile, item),
        series_description=None if message else _series_description(profile, item),
        sop_instance_uid=row.sop_instance_uid if row else None,
        series_instance_uid=(row.series_instance_uid or None) if row else None,
        transfer_syntax_uid=(row.transfer_syntax_uid or None) if row else None,
        size=row.size if row else None,
        file_url=f"/api/v1/admin/results/{row.sop_instance_uid}/file" if row and row.removed_at is None else None,
        delivery=DeliveryOut.model_validate(delivery_fields(item.delivery)) if item.delivery else None,
    )


def _series_number(profile: Profile, item: Previewed) -> int | None:
    """As the profile has it; of a former object nobody remembers."""
    kind = _wanted_kind(profile, item)
    return None if kind is None else profile.series_number_of(kind)


def _series_description(profile: Profile, item: Previewed) -> str | None:
    kind, analysis = _wanted_kind(profile, item), item.analysis
    if kind is None:
        return None
    described = profile.description_of(kind, bundle=analysis.bundle_name, version=analysis.bundle_version)
    return described[:LONGEST_DESCRIPTION]


def _wanted_kind(profile: Profile, item: Previewed) -> ResultKind | None:
    if item.standing is Standing.FORMER:
        return None
    return next((kind for kind in profile.kinds if kind == item.kind), None)


def _described(destination: Destination) -> dict[str, Any]:
    message = destination.kind.message
    return {
        "kind": destination.kind,
        "objects": [message] if message else list(destination.profile.kinds),
        "profile": None if message else destination.profile.model_dump(mode="json"),
        "commitment": destination.commitment,
    }


def _spelled(address: str) -> str:
    try:
        return str(DestinationAddress.parse(address))
    except IdentifierError:
        return address
