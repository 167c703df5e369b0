"""schemathesis asks every operation of the OpenAPI document: right and wrong, of known and of unknown cases."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks
from schemathesis.core.failures import FailureGroup
from schemathesis.openapi import from_asgi
from worklist_rows import NOON, PACS, Seen, arrive, decline, deliver, score

from triage.database import Database
from triage.findings import NotAnalysedReason
from triage.repositories import heartbeats
from triage.settings import Settings
from worklist.app import create_app

NOW: Final = NOON + timedelta(minutes=3)
EXAMPLES: Final = 5
"""Of each operation, sent rightly and as many sent wrongly, each to an unknown and to a known case."""
ENDLESS: Final = "/api/v1/worklist/events"
"""A stream that does not end."""
CHECKS: Final = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A house with cases in several states, and names of what is in it."""
    folder = tmp_path_factory.mktemp("openapi")
    chosen = Settings(data=folder, destinations=[PACS])
    chosen.results.mkdir()
    database = Database(chosen.database)
    database.migrate()
    with database.write() as session:
        study = arrive(session, "keller", patient_name="Ke<b>ller^Änna", study_description="'; DROP TABLE x;--")
        analysis = score(session, study, [Seen("pneumothorax", 0.9), Seen("nodule", 0.2)])
        deliver(session, at=NOON + timedelta(minutes=1))
        decline(session, arrive(session, "hand"), NotAnalysedReason.UNSUPPORTED_BODY_PART, "HAND")
        arrive(session, "late", at=NOON + timedelta(minutes=2, seconds=30), modality="CT")
        heartbeats.beat(session, "listen@test:1", "listen", at=NOW)
        heartbeats.beat(session, "work@test:2", "work", at=NOW)
        ids = {
            "study_uid": study.study_instance_uid,
            "sop_uid": study.instances[0].sop_instance_uid,
            "finding_id": analysis.images[0].findings[0].id,
        }
    yield {"app": create_app(chosen, database, clock=lambda: NOW, extra_hosts=["testserver"]), "ids": ids}
    database.dispose()


def test_every_operation_keeps_to_its_description(known: dict[str, Any]) -> None:
    """No 5xx, no status, content type or body that the document does not describe; each problem says what it is."""
    api = from_asgi("/openapi.json", known["app"]).exclude(path=ENDLESS)
    operations = [result.ok() for result in api.get_all_operations()]
    assert len(operations) > 20
    failures = [
        f"{operation.method.upper()} {operation.path}: {failure}"
        for operation in operations
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        if (failure := _failure(operation, mode, known["ids"]))
    ]
    assert not failures, "\n\n".join(failures)


def _failure(operation: Any, mode: GenerationMode, ids: dict[str, Any]) -> str:
    """What is wrong with the first answer that is; empty when none is."""

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(mode))
    def ask(case: schemathesis.Case) -> None:
        for names in ({}, ids):
            case.path_parameters |= {name: value for name, value in names.items() if name in case.path_parameters}
            answer = case.call()
            case.validate_response(answer, checks=CHECKS)
            assert "Traceback" not in answer.text
            if answer.status_code >= 400:
                problem = json.loads(answer.content)
                assert problem["status"] == answer.status_code
                assert problem["detail"]

    try:
        ask()
    except Unsatisfiable:
        # What takes nothing cannot be asked wrongly.
        return "" if mode is GenerationMode.NEGATIVE else "no right request could be made"
    except (FailureGroup, AssertionError, ExceptionGroup) as failure:
        return "".join(traceback.format_exception_only(failure))[:3000]
    return ""
