"""Links into viewers: values cannot change what a URL means, and nothing that runs a script is one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from triage.settings import Settings
from triage.viewers import ViewerLink

OHIF = "https://ohif.hospital.example/viewer?StudyInstanceUIDs={study_uid}&p={patient_id}"


@pytest.mark.parametrize(
    "url",
    [
        OHIF,
        "/viewer/viewer?StudyInstanceUIDs={study_uid}",
        "weasis://%24dicom%3Ars%20--url%20%22https%3A%2F%2Fpacs%2Fdicom-web%22%20-r%20%22studyUID%3D{study_uid}%22",
        "radiant://?n=pstv&v=0020000D&v=%22{study_uid}%22&n=paet&v=PACS",
    ],
)
def test_usual_viewers_are_taken(url: str) -> None:
    assert ViewerLink(name="A viewer", url=url).link({"study_uid": "1.2.3"}).count("1.2.3") == 1


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:x",
        "//evil.example/{study_uid}", "/\\evil.example", "viewer", "https://{patient_id}/x", "https://a{study_uid}.b/",
        "https://x/{unknown}", "https://x/{", "https://x/}{study_uid}", "https://x/{{study_uid}}", "https://x/ y", "",
        "{study_uid}:x",
    ],
)  # fmt: skip
def test_what_could_run_or_lead_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        ViewerLink(name="x", url=url)


@given(st.text())
def test_a_value_stays_one_value(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    parts = urlsplit(ViewerLink(name="x", url=OHIF).link({"study_uid": "1.2", "patient_id": value}))
    assert parts.hostname == "ohif.hospital.example"
    assert parts.fragment == ""
    assert parse_qs(parts.query, keep_blank_values=True) == {"StudyInstanceUIDs": ["1.2"], "p": [value]}


def test_viewers_survive_the_way_into_a_child_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data=tmp_path, viewers=[{"name": "OHIF", "url": OHIF}])
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings().viewers == settings.viewers
