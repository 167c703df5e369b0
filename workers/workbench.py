"""What a worker process has at hand: database, archive, bundles. Made once per process, after the fork."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast

from dicom_node.archive import Archive
from dicom_node.results import NodeIdentity
from models.bundle import Bundle
from models.decoder import Decoder
from models.explaining.methods import Explain, explainer
from models.inference import Predictor
from models.registry import SHIPPED, Registry
from triage.crash_points import Reached, kill_at, nowhere
from triage.database import Database
from triage.errors import PixelError
from triage.logging import get_logger
from triage.repositories import installation
from triage.settings import Settings
from workers.result_files import make_folders
from workers.watchdog import Watchdog

log = get_logger(__name__)

Clock = Callable[[], datetime]
GPU_BATCH = 16
"""Studies scored together on a GPU. On a CPU a batch gains nothing and makes the first study wait for the last."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(kw_only=True)
class Workbench:
    """Everything a task needs, opened for one process.

    Attributes
    ----------
    registry : Registry
        Bundles that could be loaded; those that could not say why.
    node : NodeIdentity
        Who this installation is in the objects it makes.
    decoder : Decoder
        The process that decodes compressed pixels for this one.
    watchdog : Watchdog
        Ends this process when a step of an analysis takes too long; watches nothing where nobody armed it.
    reached : callable
        Told of each crash point that work passes; kills the process where the fault rig asked for it.
    """

    settings: Settings
    database: Database
    archive: Archive
    registry: Registry
    node: NodeIdentity
    decoder: Decoder
    watchdog: Watchdog = field(default_factory=Watchdog)
    clock: Clock = utc_now
    reached: Reached = nowhere
    _predictors: dict[str, Predictor] = field(default_factory=dict, repr=False)
    _explainers: dict[str, Explain | None] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, settings: Settings, *, clock: Clock = utc_now) -> Workbench:
        """Connect and read the bundles. Networks are loaded at first use or by :meth:`warm_up`."""
        make_folders(settings.results)
        database = Database(settings.database)
        with database.write() as session:
            device_uid = installation.device_uid(session, at=clock())
        return cls(
            settings=settings,
            database=database,
            archive=Archive(settings.archive),
            registry=Registry.load(bundle_directories(settings)),
            node=NodeIdentity(software_version=version("firstread"), name=settings.ae_title, device_uid=device_uid),
            decoder=Decoder(
                megabytes=settings.decoder_megabytes, seconds=settings.decoder_seconds, on_loss=_say_decoder_lost
            ),
            clock=clock,
            reached=kill_at(settings.crash_at),
        )

    def predictor(self, bundle: Bundle) -> Predictor:
        """The bundle's network, loaded once.

        Raises
        ------
        BundleError
            The network file cannot be loaded.
        """
        name = bundle.metadata.name
        if name not in self._predictors:
            device = cast(Literal["auto", "cpu", "cuda"], self.settings.device)
            self._predictors[name] = Predictor.load(bundle, device, threads=self.settings.inference_threads)
        return self._predictors[name]

    def explainer(self, bundle: Bundle) -> Explain | None:
        """How the bundle's scores are explained; None where it ships no heat maps."""
        name = bundle.metadata.name
        if name not in self._explainers:
            self._explainers[name] = explainer(self.predictor(bundle))
        return self._explainers[name]

    @property
    def batch_size(self) -> int:
        """How many studies to claim together."""
        return GPU_BATCH if any(p.device == "cuda" for p in self._predictors.values()) else 1


def _say_decoder_lost(error: PixelError) -> None:
    log.warning("decoder_lost", error=type(error).__name__, advice=error.advice())


def bundle_directories(settings: Settings) -> list[Path]:
    """Where bundles are looked for: the site's own first, then the shipped ones."""
    site = settings.site_bundles
    return [site, SHIPPED] if site.is_dir() else [SHIPPED]
