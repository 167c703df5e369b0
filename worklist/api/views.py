"""``/api/v1/studies/{study_uid}/views``: a case's images for the page's viewer, made by a worker when asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse

from triage.errors import NotFoundError
from triage.repositories import renderings, worklist
from worklist.context import Here, SopUid, StudyUid
from worklist.schemas.viewing import MOST_FRAMES, CaseViews, FramesAsked, FramesOut, ViewsAsked
from worklist.viewing import case_views, frames_out

router = APIRouter(prefix="/studies/{study_uid}", tags=["studies"])
FindingId = Annotated[int, PathParameter(ge=1, le=2**63 - 1, description="`id` of a finding of the case.")]
FrameNumber = Annotated[int, Query(ge=1, le=MOST_FRAMES, description="Number of a frame, from 1.")]
WORDS: Final = "application/octet-stream"


@router.get("/views", summary="What there is to look at in a case")
def show_views(here: Here, study_uid: StudyUid) -> CaseViews:
    """Its images by series, how to window them, and what the AI marked. For orientation, not for diagnosis."""
    with here.database.look() as session:
        study = worklist.study_by_uid(session, study_uid)
        return case_views(study_uid, renderings.viewed(session, study))


@router.post("/views", summary="Have the images of a case made ready", status_code=202)
def ask_for_views(here: Here, study_uid: StudyUid, asked: ViewsAsked | None = None) -> CaseViews:
    """A worker decodes what is not there yet, that image first which is looked at first. Repeating it does no harm."""
    with here.database.write() as session:
        study = worklist.study_by_uid(session, study_uid)
        renderings.ask(session, study, first=asked.first if asked else "", at=here.clock())
        session.flush()
        return case_views(study_uid, renderings.viewed(session, study))


@router.get("/instances/{sop_uid}/frames", summary="Some frames of a multi-frame image")
def show_frames(here: Here, study_uid: StudyUid, sop_uid: SopUid, near: FrameNumber = 1) -> FramesOut:
    """The frame `near` and up to 16 on each side. 404 where the first frame is not made, or there is no such frame."""
    with here.database.look() as session:
        study = worklist.study_by_uid(session, study_uid)
        return frames_out(study_uid, sop_uid, renderings.frames(session, study, sop_uid, near))


@router.post("/instances/{sop_uid}/frames", summary="Have frames of an image made ready", status_code=202)
def ask_for_frames(here: Here, study_uid: StudyUid, sop_uid: SopUid, asked: FramesAsked) -> FramesOut:
    """A worker decodes the frame `near` first, then its neighbours. Repeating it does no harm."""
    with here.database.write() as session:
        study = worklist.study_by_uid(session, study_uid)
        renderings.ask_frames(session, study, sop_uid, near=asked.near, at=here.clock())
        session.flush()
        return frames_out(study_uid, sop_uid, renderings.frames(session, study, sop_uid, asked.near))


@router.get("/instances/{sop_uid}/words", summary="An image as words that can be windowed", response_class=FileResponse)
def show_words(here: Here, study_uid: StudyUid, sop_uid: SopUid, frame: FrameNumber = 1) -> FileResponse:
    """Little endian uint16, row by row, or bytes of red, green and blue; `frame` in `…/views` and `…/frames` says what
    they mean. 404 says why there are none.
    """
    with here.database.look() as session:
        row = renderings.words_of(session, worklist.study_by_uid(session, study_uid), sop_uid, frame)
    try:
        path = below(here.settings.results, row.relative_path)
    except NotFoundError:
        with here.database.write() as session:
            renderings.lost(session, row.id, at=here.clock())
        raise
    return FileResponse(path, media_type=WORDS, headers={"Content-Encoding": "gzip"})


@router.get("/findings/{finding_id}/heat", summary="Where the network looked", response_class=FileResponse)
def show_heat(here: Here, study_uid: StudyUid, finding_id: FindingId) -> FileResponse:
    """8-bit grey PNG over the whole image: how much each part counted for this finding."""
    with here.database.look() as session:
        relative = renderings.heat_path(session, worklist.study_by_uid(session, study_uid), finding_id)
    return FileResponse(below(here.settings.results, relative), media_type="image/png")


def below(root: Path, relative: str) -> Path:
    """The file below ``root``.

    Raises
    ------
    NotFoundError
        The row points elsewhere, or at nothing.
    """
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        raise NotFoundError("The file is no longer on disk.", next_step="Ask for it again in a moment.")
    return path
