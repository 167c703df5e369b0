"""What a worker process has at hand: database, archive, bundles. Made once per process, after the fork."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Literal, cast

from dicom_node.archive import Archive
from dicom_node.results import NodeIdentity
from models.bundle import WEIGHTS, Bundle
from models.decoder import Decoder
from models.explaining.methods import Explain, explainer
from models.gate import Gate
from models.inference import Predictor
from models.registry import Registry
from models.site import Stamp, kept_bundle, stamp
from triage.crash_points import Reached, kill_at, nowhere
from triage.database import Database
from triage.errors import InferenceError, PixelError
from triage.logging import get_logger
from triage.repositories import installation
from triage.settings import Settings
from workers.clock import Clock, utc_now
from workers.result_files import make_folders
from workers.watchdog import Watchdog

log = get_logger(__name__)

GPU_BATCH = 16
"""Studies scored together on a GPU. On a CPU a batch gains nothing and makes the first study wait for the last."""


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
    rules_applied : bool
        This process has seen to it that the open cases are judged by its site rules.
    bundles_published : tuple of Stamp or None
        Of the site's state, when this process last wrote down for the page how the bundles stand; None: not yet.
    rendering : Lock
        Held by the thread that makes frames for the page.
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
    rules_applied: bool = False
    bundles_published: tuple[Stamp | None] | None = None
    rendering: threading.Lock = field(default_factory=threading.Lock)
    _predictors: dict[tuple[str, str], Predictor] = field(default_factory=dict, repr=False)
    _explainers: dict[tuple[str, str], Explain | None] = field(default_factory=dict, repr=False)
    _gate: Gate | None = field(default=None, repr=False)
    _seen: Stamp | None = field(default=None, repr=False)
    """Of the site's state, when :attr:`registry` was opened."""

    @classmethod
    def open(cls, settings: Settings, *, clock: Clock = utc_now) -> Workbench:
        """Connect and read the bundles. Networks are loaded at first use or by :meth:`warm_up`."""
        make_folders(settings.results)
        database = Database(settings.database)
        with database.write() as session:
            device_uid = installation.device_uid(session, at=clock())
        seen = stamp(settings.site_bundles)  # before it is read: what changes meanwhile is seen at the next look
        return cls(
            settings=settings,
            database=database,
            archive=Archive(settings.archive),
            registry=Registry.of_site(settings.site_bundles),
            node=NodeIdentity(software_version=version("firstread"), name=settings.ae_title, device_uid=device_uid),
            decoder=Decoder(
                megabytes=settings.decoder_megabytes, seconds=settings.decoder_seconds, on_loss=_say_decoder_lost
            ),
            clock=clock,
            reached=kill_at(settings.crash_at),
            _seen=seen,
        )

    def refresh(self) -> None:
        """Look at the bundles again when the site has changed its mind about them; else this costs one stat.

        Called between analyses, never inside one.
        """
        seen = stamp(self.settings.site_bundles)
        if seen == self._seen:
            return
        self._seen = seen
        self.registry = Registry.of_site(self.settings.site_bundles)
        in_use = {_network_of(bundle) for bundle in self.registry.available}
        self._predictors = {key: value for key, value in self._predictors.items() if key in in_use}
        log.info("bundles_reopened", bundles=[bundle.metadata.name for bundle in self.registry.available])

    def bundle_that_began(self, bundle: Bundle, weights_sha256: str) -> Bundle:
        """The version that an open analysis has findings of already: ``bundle``, or one that it has replaced since.

        Raises
        ------
        BundleError
            That version is not here any more.
        """
        if weights_sha256 in ("", bundle.metadata.files[WEIGHTS]):
            return bundle
        return kept_bundle(self.settings.site_bundles, bundle.metadata.name, weights_sha256)

    def predictor(self, bundle: Bundle) -> Predictor:
        """The bundle's network, loaded once.

        Raises
        ------
        BundleError
            The network file cannot be loaded.
        """
        network = _network_of(bundle)
        known = self._predictors.get(network)
        if known is None:
            device = cast(Literal["auto", "cpu", "cuda"], self.settings.device)
            known = Predictor.load(bundle, device, threads=self.settings.inference_threads, on_loss=_say_gpu_lost)
        elif known.bundle != bundle:  # the same network under other operating points
            known = replace(known, bundle=bundle)
        self._predictors[network] = known
        return known

    def gate(self, bundle: Bundle) -> Gate | None:
        """The network that looks at an image before the bundle's does, loaded once; None where it asks for none.

        Raises
        ------
        BundleError
            The gate cannot be loaded: what asks for it is not read without it.
        """
        if not bundle.metadata.routing.asks_gate:
            return None
        if self._gate is None:
            self._gate = Gate.load()
        return self._gate

    def explainer(self, bundle: Bundle) -> Explain | None:
        """How the bundle's scores are explained; None where it ships no heat maps."""
        network = _network_of(bundle)
        if network not in self._explainers:
            self._explainers[network] = explainer(self.predictor(bundle))
        return self._explainers[network]

    @property
    def batch_size(self) -> int:
        """How many studies to claim together."""
        return GPU_BATCH if any(p.device == "cuda" for p in self._predictors.values()) else 1


def _say_decoder_lost(error: PixelError) -> None:
    log.warning("decoder_lost", error=type(error).__name__, advice=error.advice())


def _say_gpu_lost(error: InferenceError) -> None:
    log.error("gpu_lost", error=type(error).__name__, advice=error.advice())


def _network_of(bundle: Bundle) -> tuple[str, str]:
    """What has to be loaded anew when it changes: the files, as their checksums."""
    return bundle.metadata.name, bundle.digest
