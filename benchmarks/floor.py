"""The floor under a result: its bare parts, one after the other in one process, without queue, database or custody."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node import results
from dicom_node.scu import StoreSession
from dicom_node.stand_in_pacs import StandInPacs
from models import decoding, explain
from models.bundle import Bundle
from models.image_facts import ImageFacts
from models.inference import Predictor, findings
from models.preparation import Prepared, prepare
from models.registry import Registry, Route
from triage.findings import AnalysisResult, ImageResult
from workers.image_objects import most_urgent


@dataclass
class Floor:
    """Milliseconds per part, one value per repeat."""

    parts: dict[str, list[float]] = field(default_factory=dict)

    def time(self, part: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        value = call()
        self.parts.setdefault(part, []).append((time.perf_counter() - start) * 1000)
        return value

    def median(self, part: str) -> float:
        return statistics.median(self.parts[part])

    def sum(self, *parts: str) -> float:
        return sum(self.median(part) for part in parts)


ORDER = ("header and route", "decode and prepare", "inference")
RESULT = (*ORDER, "activation map and region", "picture", "SC object", "SR object", "C-STORE of SC and SR")


def measure_floor(file: Path, registry: Registry, repeats: int) -> Floor:
    """Run the bare parts on one image, after one warm-up run that is not counted."""
    node = results.NodeIdentity(software_version="0", name="BENCH", device_uid="2.25.1")
    floor = Floor()
    route = registry.route(ImageFacts.from_dataset(decoding.read(file)))
    assert isinstance(route, Route), route
    predictor = Predictor.load(route.bundle, "cpu")
    with (
        tempfile.TemporaryDirectory() as folder,
        StandInPacs(Path(folder) / "pacs") as pacs,
        StoreSession(pacs.address, calling_ae_title="BENCH") as session,
    ):
        for repeat in range(repeats + 1):
            _one(floor, file, registry, route.bundle, predictor, node, session, Path(folder), repeat)
            if repeat == 0:
                floor.parts.clear()
    return floor


def _one(
    floor: Floor,
    file: Path,
    registry: Registry,
    bundle: Bundle,
    predictor: Predictor,
    node: results.NodeIdentity,
    session: StoreSession,
    folder: Path,
    repeat: int,
) -> None:
    def header() -> Any:
        dataset = decoding.read(file)
        registry.route(ImageFacts.from_dataset(dataset))
        return dataset

    dataset = floor.time("header and route", header)
    prepared = floor.time("decode and prepare", lambda: prepare(dataset, bundle.metadata.input))
    assert isinstance(prepared, Prepared), prepared
    prediction = floor.time("inference", lambda: predictor.predict(prepared.image[None]))
    image = ImageResult(
        sop_instance_uid=str(dataset.SOPInstanceUID), findings=findings(bundle, prediction.probabilities[0])
    )
    marked = most_urgent(image)
    row = image.findings.index(marked) if marked else 0
    head, _ = bundle.head()

    def mapped() -> Any:
        cam = explain.class_activation_map(prediction.features[0], head[row])
        explain.region(cam, prepared.placement)
        return explain.upscale(cam, prepared.placement, 1024, 838)

    activation = floor.time("activation map and region", mapped)
    algorithm = bundle.algorithm()
    picture = floor.time(
        "picture",
        lambda: results.compose_heat_map(
            prepared.display, activation if marked else None, image, algorithm, marked=marked
        ),
    )
    now = datetime.now(UTC)
    revision = 1000 + repeat
    capture = floor.time(
        "SC object",
        lambda: results.build_heat_map(
            dataset, picture, image, algorithm, node=node, revision=revision, created_at=now, number=1
        ),
    )
    report = floor.time(
        "SR object",
        lambda: results.build_report(
            [dataset],
            AnalysisResult(algorithm=algorithm, images=(image,)),
            heat_maps={image.sop_instance_uid: capture},
            node=node,
            revision=revision,
            predecessor=None,
            created_at=now,
        ),
    )
    files = [folder / "sc.dcm", folder / "sr.dcm"]
    for target, item in zip(files, (capture, report), strict=True):
        results.write(item, target)
    outcomes = floor.time("C-STORE of SC and SR", lambda: session.send(files))
    assert all(outcome.stored for outcome in outcomes), outcomes
    assert np.isfinite(prediction.logits).all()
