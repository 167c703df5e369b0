"""Frames for the page's viewer: made when asked for, once, of every image, and gone with it."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence

import imagecodecs
import numpy as np
import pytest
import sqlalchemy as sa
from node_under_test import Node
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import JPEGLSLossless

from models.decoding import decode
from models.viewing import viewable
from triage import tables
from triage.repositories import renderings, retention, worklist
from triage.states import RenderingStatus
from workers import rendering
from workers.analysis import analyse_due
from workers.rendering import forget_unseen, render_due

Draw = Callable[..., Dataset]


def ask(node: Node, dataset: Dataset, first: str = "") -> None:
    with node.bench.database.write() as session:
        study = worklist.study_by_uid(session, str(dataset.StudyInstanceUID))
        renderings.ask(session, study, first=first, at=node.clock())


def rows(node: Node) -> Sequence[tables.Rendering]:
    with node.bench.database.read() as session:
        return session.scalars(sa.select(tables.Rendering).order_by(tables.Rendering.id)).all()


def test_a_frame_holds_the_words_of_its_image(node: Node, phantom: Draw) -> None:
    dataset = phantom(1)
    node.receive(dataset)
    assert render_due(node.bench) == 0, "nobody has asked"
    ask(node, dataset)
    ask(node, dataset)
    assert render_due(node.bench) == 1
    (row,) = rows(node)
    assert row.status is RenderingStatus.READY
    words = np.frombuffer(gzip.decompress((node.bench.settings.results / row.relative_path).read_bytes()), "<u2")
    assert (words.reshape(row.facts["rows"], -1) == viewable(dataset, decode(dataset), 2048).words).all()
    assert render_due(node.bench) == 0, "made once"


def test_frames_of_an_object_are_made_one_by_one_with_their_own_header(node: Node, phantom: Draw) -> None:
    dataset = phantom(1)
    del dataset.VOILUTSequence
    pixels = np.stack([dataset.pixel_array[:64, :48] + np.uint16(number) for number in range(9)])
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames, dataset.PixelData = 64, 48, 9, pixels.tobytes()
    dataset.FrameTime = 40
    node.receive(dataset)
    ask(node, dataset)
    assert render_due(node.bench) == 1, "the first one, until somebody scrolls"
    (first,) = rows(node)
    assert first.facts["frames"] == 9
    assert first.facts["rate"] == 25, "frames a second"
    with node.bench.database.write() as session:
        study = worklist.study_by_uid(session, str(dataset.StudyInstanceUID))
        renderings.ask_frames(session, study, str(dataset.SOPInstanceUID), near=9, at=node.clock())
    assert render_due(node.bench) == 8
    last = rows(node)[-1]
    words = np.frombuffer(gzip.decompress((node.bench.settings.results / last.relative_path).read_bytes()), "<u2")
    values = words.reshape(64, 48) * last.facts["slope"] + last.facts["intercept"]
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    np.testing.assert_allclose(values, pixels[last.frame - 1] * slope + intercept)


def test_a_damaged_first_frame_hides_none_of_the_others(node: Node, phantom: Draw) -> None:
    dataset = phantom(1)
    pixels = np.arange(4 * 32 * 32, dtype=np.uint16).reshape(4, 32, 32)
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 32, 32, 4
    dataset.PixelData = encapsulate([b"damage", *(bytes(imagecodecs.jpegls_encode(frame)) for frame in pixels[1:])])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    node.receive(dataset)
    ask(node, dataset)
    render_due(node.bench)
    (first,) = rows(node)
    assert (first.status, first.facts) == (RenderingStatus.FAILED, {"frames": 4})
    with node.bench.database.write() as session:
        study = worklist.study_by_uid(session, str(dataset.StudyInstanceUID))
        renderings.ask_frames(session, study, str(dataset.SOPInstanceUID), near=1, at=node.clock())
    assert render_due(node.bench) == 3
    assert [row.status for row in rows(node)[1:]] == [RenderingStatus.READY] * 3


def test_a_colour_image_comes_in_its_colours(node: Node) -> None:
    dataset = dcmread(str(get_testdata_file("examples_palette.dcm", download=False)))
    node.receive(dataset)
    ask(node, dataset)
    assert render_due(node.bench) == 1
    (row,) = rows(node)
    assert (row.status, row.facts["samples"], row.facts["windows"]) == (RenderingStatus.READY, 3, [])
    path = node.bench.settings.results / row.relative_path
    colours = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8).reshape(row.facts["rows"], -1, 3)
    table = apply_color_lut(dataset.pixel_array, dataset)
    np.testing.assert_array_equal(colours, table >> 8)


def test_what_cannot_be_decoded_says_why_and_leaves_the_others_alone(node: Node, phantom: Draw) -> None:
    broken, sound = phantom(1), phantom(2)
    for dataset in (broken, sound):
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.1", "2.25.2"
    broken.PixelData = broken.PixelData[:100]
    node.receive(broken, sound)
    ask(node, sound, first=str(sound.SOPInstanceUID))
    assert render_due(node.bench) == 2
    first, second = rows(node)
    assert (first.status, second.status) == (RenderingStatus.FAILED, RenderingStatus.READY)
    assert "cut off" in first.reason
    assert (first.place, second.place) == (1, 0), "the one that is looked at comes first"


def test_a_header_that_cannot_be_parsed_costs_its_own_image_only(node: Node, phantom: Draw) -> None:
    broken, sound = phantom(1), phantom(2)
    for dataset in (broken, sound):
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.1", "2.25.2"
        dataset.PixelSpacing = [1, 1]
    node.receive(broken, sound)
    with node.bench.database.read() as session:
        stored = session.scalars(sa.select(tables.Instance).order_by(tables.Instance.id)).first()
    assert stored is not None
    path = node.bench.archive.path(stored.relative_path)
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data.replace(b"\x28\x00\x30\x00DS", b"\x28\x00\x30\x00D\x01"))
    ask(node, sound)
    assert render_due(node.bench) == 2
    assert [row.status for row in rows(node)] == [RenderingStatus.FAILED, RenderingStatus.READY]
    assert rows(node)[0].reason


def test_a_frame_that_breaks_its_worker_is_given_up(node: Node, phantom: Draw) -> None:
    dataset = phantom(1)
    node.receive(dataset)
    ask(node, dataset)
    for _ in range(renderings.ATTEMPTS):
        with node.bench.database.write() as session:
            (asked,) = renderings.claim(session, node.clock(), 9)
            assert renderings.claim(session, node.clock(), 9) == [], "nobody else has it meanwhile"
        node.clock.pass_by(minutes=3)
    assert asked.siblings == 1
    assert render_due(node.bench) == 0
    assert rows(node)[0].reason == "making it broke its worker"


def test_frames_go_when_nobody_has_opened_the_case_for_long(node: Node, phantom: Draw) -> None:
    dataset = phantom(1)
    node.receive(dataset)
    ask(node, dataset)
    render_due(node.bench)
    (row,) = rows(node)
    node.clock.pass_by(hours=23)
    ask(node, dataset)
    node.clock.pass_by(hours=23)
    assert forget_unseen(node.bench) == 0, "opened meanwhile"
    node.clock.pass_by(hours=2)
    assert forget_unseen(node.bench) == 1
    assert rows(node) == []
    assert not (node.bench.settings.results / row.relative_path).exists()


def test_retention_takes_frames_and_heat_maps_with_the_image(node: Node, phantom: Draw) -> None:
    dataset = phantom(1, {"pneumothorax"})
    node.receive(dataset)
    analyse_due(node.bench)
    ask(node, dataset)
    render_due(node.bench)
    (row,) = rows(node)
    study = node.study(dataset)
    heat = [f.heat_path for image in study.analyses[0].images for f in image.findings if f.heat_path]
    assert len(heat) == sum(f.positive for image in study.analyses[0].images for f in image.findings)
    with node.bench.database.write() as session:
        locked = retention.locked(session, study.id)
        retention.give_up(session, locked, reason="test", at=node.clock())
        left = retention.leftovers(session, locked)
        assert left is not None
        assert {row.relative_path, *heat} <= set(left.results)
    assert rows(node) == []
    ask(node, dataset)
    assert rows(node) == [], "what is gone cannot be asked for"


def test_retention_between_claim_and_commit_leaves_no_file(node: Node, phantom: Draw) -> None:
    dataset = phantom(1)
    node.receive(dataset)
    ask(node, dataset)
    with node.bench.database.write() as session:
        (asked,) = renderings.claim(session, node.clock(), 1)
        study = worklist.study_by_uid(session, str(dataset.StudyInstanceUID))
        retention.give_up(session, study, reason="test", at=node.clock())
        assert not renderings.conclude(session, asked.id, "x", {})


def test_only_one_thread_of_a_process_makes_frames(node: Node, phantom: Draw) -> None:
    dataset = phantom(1)
    node.receive(dataset)
    ask(node, dataset)
    with node.bench.rendering:
        assert render_due(node.bench) == 0
    assert render_due(node.bench) == 1
    assert rendering.PORTION < rendering.FEW


def test_what_failed_is_made_when_it_is_asked_for_after_a_day(node: Node, phantom: Draw) -> None:
    """As on a disk that was full then."""
    dataset = phantom(1)
    node.receive(dataset)
    ask(node, dataset)
    with node.bench.database.write() as session:
        (row,) = session.scalars(sa.select(tables.Rendering))
        renderings.fail(session, row.id, "no room", at=node.clock() - renderings.KEPT)
    ask(node, dataset)
    assert render_due(node.bench) == 1
    (row,) = rows(node)
    assert row.status is RenderingStatus.READY


@pytest.mark.parametrize(
    ("header", "rate"),
    [
        ({}, None),
        ({"FrameTime": "33.33"}, 30.003),
        ({"FrameTime": "33.33", "RecommendedDisplayFrameRate": "15"}, 15),
        ({"CineRate": "12", "FrameTime": "0"}, 12),
        ({"FrameTime": "0"}, None),
        ({"RecommendedDisplayFrameRate": "-1", "FrameTime": ""}, None),
    ],
)
def test_how_fast_an_object_asks_to_be_played(header: dict[str, str], rate: float | None) -> None:
    dataset = Dataset()
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    assert rendering.frames_a_second(dataset) == rate
