"""What a reader sees of a study in OHIF, with Orthanc's DICOMweb plug-in behind it: image, heat map, report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from houses import House, Phantoms
from peers.ohif import SHOWS_COLOUR, open_report, opened_study
from peers.orthanc_server import dicomweb_plugin

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture(scope="module")
def study(embedded_house: House, phantoms: Phantoms) -> str:
    """A radiograph with a pneumothorax, its report and its heat map, all in Orthanc."""
    dicomweb_plugin()
    embedded_house.orthanc.upload(phantoms.with_pneumothorax)
    uid = embedded_house.send(phantoms.with_pneumothorax)
    assert embedded_house.node.settled(uid)["urgency"] == "STAT"
    return uid


@pytest.fixture(scope="module")
def viewer(embedded_house: House, study: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened_study(embedded_house.orthanc.url, study, tmp_path_factory.mktemp("ohif")) as tab:
        yield tab


def test_every_series_is_listed_with_its_name(viewer: Any) -> None:
    for name in ("Chest", "AI firstread heat map phantom-cxr", "AI firstread report phantom-cxr"):
        assert viewer.get_by_text(name, exact=False).first.is_visible(), name


def test_the_heat_map_is_shown_as_it_was_made(viewer: Any, tmp_path: Path) -> None:
    """Colours come through as colours, in the middle of a screen of the size that readers have."""
    viewer.get_by_text("AI firstread heat map").first.dblclick()
    viewer.wait_for_function(SHOWS_COLOUR)
    _keep(viewer, tmp_path / "heat_map.png")


def test_the_report_draws_its_region_on_the_source_image(viewer: Any, tmp_path: Path) -> None:
    """The spatial coordinates are read as a measurement, with probability and site, on the radiograph itself."""
    open_report(viewer, tmp_path)
    assert "Pleural structure" in viewer.inner_text("body")
    viewer.locator("svg.svg-layer path, svg.svg-layer polyline").first.wait_for(state="attached")
    _keep(viewer, tmp_path / "report.png")


def _keep(viewer: Any, path: Path) -> None:
    viewer.screenshot(path=str(path))
    assert path.stat().st_size > 20_000  # more than an empty screen
