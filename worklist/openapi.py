"""The OpenAPI document, with what every route may answer beside its own: refusals of the guard, errors of the house."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from worklist.problems import MEDIA_TYPE
from worklist.schemas.cases import LiveMessage, Problem
from worklist.signin import SESSION

_PROBLEM: Final = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {
        "description": "A problem document that says what is wrong and how to mend it: 400 a foreign Host header or a "
        "request that ended early, 401 sign in, 403 another role or another origin, 404 not there, 405 another method, "
        "408 the body took too long, 409 the case has changed or does not allow this, 413 the body is too long, 415 "
        "send uncompressed JSON, 422 malformed (`errors` names the fields), 428 send If-Match, 429 wait.",
        "content": _PROBLEM,
    },
    "503": {
        "description": "A problem document: the database or another part of the house is away; try again after "
        "`Retry-After` seconds.",
        "content": _PROBLEM,
    },
}
"""For ``FastAPI(responses=...)``."""
STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A stream of server-sent events that does not end: `id` the event's, `data` a LiveMessage; "
        "events named `ping` every few seconds.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {"$ref": "#/components/schemas/LiveMessage"},
                },
                "example": 'id: 4711\ndata: {"kind": "study_complete", "study_instance_uid": "1.2.3", '
                '"at": "2026-03-01T12:00:00Z"}\n\n',
            }
        },
    }
}
"""The answer of a live stream, for the ``responses`` of its route."""


def describe(app: FastAPI) -> None:
    """Let the application make its document so."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
            )
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
            schemas["LiveMessage"] = LiveMessage.model_json_schema()
            components["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer", "description": "Not asked for on a loopback node."},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": SESSION,
                    "description": "Of a browser that somebody is signed in with (`__Host-` before the name under "
                    "https): see `/api/v1/account/sessions`. Changes are then taken from our own origin only.",
                },
            }
            document["security"] = [{"token": []}, {"session": []}, {}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
