"""The part of the conformance statement about DICOM web services (PS3.2 annex on DICOMweb), from the code's tables."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

from dicom_node.dicom_json import DICOM_JSON
from dicom_node.http_peer import MAXIMUM_ANSWER, Patience
from dicom_node.markdown import table
from dicom_node.ups import PAGE
from dicom_node.workitems import DETECTION, INTERPRETATION, StepState
from triage.findings import Code
from triage.outbox import Verdict, judge_http
from triage.priority import UPS_PRIORITY


def web_services() -> str:
    """The chapter as Markdown."""
    patience = Patience()
    return "\n".join(
        (
            "## Web services used (user agent)\n",
            "HTTP/1.1 to the base URL of a destination or task manager, with or without TLS; the server's certificate "
            "is checked. Known there by a bearer token or by user and password, or by nothing. No redirect is "
            f"followed, no proxy used. Time limits: {patience.connect:g} s to connect, {patience.silence:g} s of "
            f"silence, {patience.exchange:g} s for a whole exchange; at most {MAXIMUM_ANSWER} bytes of an answer are "
            "read.\n",
            table(
                ("transaction", "request", "media types"),
                (
                    ("Store (STOW-RS, PS3.18 10.5)", "`POST /studies`, one instance each", "application/dicom"),
                    (
                        "Search (QIDO-RS, PS3.18 10.6)",
                        "`GET /studies/{study}/series/{series}/instances?SOPInstanceUID=`",
                        DICOM_JSON,
                    ),
                    ("Search for workitems (UPS-RS, PS3.18 11.9)", f"`GET /workitems?…&limit={PAGE}`", DICOM_JSON),
                    ("Retrieve a workitem (11.5)", "`GET /workitems/{uid}`", DICOM_JSON),
                    ("Create a workitem (11.4)", "`POST /workitems?{uid}`", DICOM_JSON),
                    ("Update a workitem (11.6)", "`POST /workitems/{uid}?{transaction}`", DICOM_JSON),
                    ("Change its state (11.7)", "`PUT /workitems/{uid}/state`", DICOM_JSON),
                ),
            ),
            "\nAn object counts as stored when the answer names it in Referenced SOP Sequence, or when the server "
            "lists it afterwards; failure reasons are judged as the statuses of C-STORE.\n",
            "### Reaction to HTTP statuses\n",
            table(("statuses", "taken as"), _reactions()),
            "\n### Workitems\n",
            f"Searched: state {StepState.SCHEDULED}, Scheduled Workitem Code {_code(DETECTION)}. Claimed with a "
            f"Transaction UID that is kept before it is sent; ended as {StepState.COMPLETED} with references to the "
            f"results, or as {StepState.CANCELED} with the reason. For readers a workitem {_code(INTERPRETATION)} is "
            "created and kept up to date, with this priority:\n",
            table(
                ("class of the case", "Scheduled Procedure Step Priority"),
                ((str(u), p) for u, p in UPS_PRIORITY.items()),
            ),
            "",
        )
    )


def _code(code: Code) -> str:
    return f"({code.value}, {code.scheme}, {code.meaning})"


def _reactions() -> Iterator[tuple[str, str]]:
    """Every status that HTTP knows, by what the outbox makes of it."""
    words = {
        Verdict.DELIVERED: "success",
        Verdict.TRANSIENT: "sent again later",
        Verdict.REFUSED: "refused; given up after some equal answers",
        Verdict.UNWELCOME: "a setting has to change; tried for most of an hour",
    }
    for verdict, meaning in words.items():
        statuses = [str(status.value) for status in HTTPStatus if status >= 200 and judge_http(status) is verdict]
        yield ", ".join(statuses), meaning
