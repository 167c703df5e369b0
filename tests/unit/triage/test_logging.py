"""What libraries log stands in our log as one line each, in its format, and quotes nobody."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog

from triage.logging import LONGEST_MESSAGE, configure


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    with warnings.catch_warnings():
        yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_a_library_s_trouble_is_one_line_of_json_without_the_text_of_its_exception(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(part="work", as_json=True)
    library = logging.getLogger("celery.worker.consumer")
    library.warning("Connection to broker lost.\nTrying again in %s\n\n", "2 seconds")
    try:
        raise ValueError("Key (patient_id)=(4711) already exists")
    except ValueError:
        library.exception("Exception during reset")
    library.log(35, "x" * 1000)
    library.info("nothing that matters")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == [
        "Connection to broker lost. Trying again in 2 seconds", "Exception during reset", "x" * LONGEST_MESSAGE,
    ]  # fmt: skip
    assert {(line["event"], line["part"], line["module"]) for line in lines} == {
        ("library_said", "work", "celery.worker.consumer")
    }
    assert [line["level"] for line in lines] == ["warning", "error", "warning"]
    assert lines[1]["exception"] == "ValueError"
    assert "4711" not in json.dumps(lines)


def test_warnings_are_not_written_where_a_library_has_them_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure(part="work", as_json=True)
    logging.captureWarnings(True)
    warnings.simplefilter("always")
    warnings.warn("Invalid value for VR DA: '19xx'", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == ""
