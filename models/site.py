"""What a site has decided about its bundles: which may read, at which operating points, proven by what.

It lies in one file, ``site.json``, beside the site's own bundles: so it is saved, moved and shared with them, and a
host that does not share the folder proves and enables for itself. Everything here is pure or only reads;
:mod:`workers.bundle_store` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from models.bundle import WEIGHTS, Bundle, Override
from models.metadata import Frozen, Key, Name, Sha256
from triage.errors import BundleError
from triage.findings import Urgency

STATE = "site.json"
KEPT = ".kept"
"""Where versions lie that were replaced or removed."""
_STATE_LIMIT = 16 << 20


class OperatingPoint(Frozen):
    """The site's own word on a finding; None leaves the bundle's."""

    threshold: float | None = Field(default=None, ge=0, le=1)
    weights_sha256: str = ""
    """What the threshold was set for: the scores of other weights lie elsewhere, so there it has no effect."""
    urgency: Urgency | None = None

    def __bool__(self) -> bool:
        return self != OperatingPoint()


class Figure(Frozen):
    """One acceptance criterion and what was measured."""

    subject: str
    """Key of a finding, or "images" or "proof"."""
    required: str
    """In words: "auc.low >= 0.9"."""
    measured: str
    """"0.9992", or "not measured"."""
    met: bool


class Acceptance(Frozen):
    """What was proven about a bundle on this installation, when and by whom."""

    at: datetime
    who: str
    digest: Sha256
    """Of the bundle; another one has proven nothing."""
    version: str
    weights_sha256: Sha256
    self_test: bool
    """It gave its stored logits on this machine."""
    proof: Literal["bundle", "installation"]
    data: str
    """Where the figures come from, in words."""
    figures: tuple[Figure, ...]

    @property
    def met(self) -> bool:
        return self.self_test and all(figure.met for figure in self.figures)


class Standing(Frozen):
    """What a site says of the bundle of one name.

    Nothing said, the shipped bundle reads and a bundle of the site's own does not.
    """

    enabled: bool | None = None
    source: Literal["site", "shipped"] = "shipped"
    """Which one is enabled, where both have this name."""
    digest: str = ""
    """Of the site's own bundle when it was enabled: one that was altered since does not read."""
    reason: str = ""
    """Why it is disabled."""
    findings: dict[Key, OperatingPoint] = Field(default_factory=dict)
    acceptance: Acceptance | None = None


class Change(Frozen):
    """One entry of the history."""

    at: datetime
    who: str
    what: str
    """"added", "enabled", "threshold", ..."""
    bundle: str
    before: str = ""
    after: str = ""
    reason: str = ""


class SiteState(Frozen):
    """The whole file."""

    format_version: Literal[1] = 1
    revision: int = Field(default=0, ge=0)
    """How many changes were made; the history has them all."""
    bundles: dict[Name, Standing] = Field(default_factory=dict)
    history: tuple[Change, ...] = ()

    def standing(self, name: str) -> Standing:
        return self.bundles.get(name, Standing())

    def changed(self, name: str, standing: Standing, change: Change) -> SiteState:
        """The state after a change."""
        bundles = {**self.bundles, name: standing}
        return self.model_copy(
            update={
                "revision": self.revision + 1,
                "bundles": {key: value for key, value in bundles.items() if value != Standing()},
                "history": (*self.history, change),
            }
        )

    def overrides(self, bundle: Bundle) -> Mapping[str, Override]:
        """What applies to a bundle, for :meth:`models.bundle.Bundle.with_overrides`."""
        name, weights = bundle.metadata.name, bundle.metadata.files[WEIGHTS]
        points, keys = self.standing(name).findings, {finding.key for finding in bundle.metadata.findings}
        return {
            f"{name}.{key}": Override(
                urgency=point.urgency, threshold=point.threshold if point.weights_sha256 == weights else None
            )
            for key, point in points.items()
            if key in keys
        }


class Verdict(NamedTuple):
    """Whether a bundle may read, and if not, why; ``problem`` says that it should and cannot."""

    enabled: bool
    note: str = ""
    problem: str = ""


def verdict(state: SiteState, bundle: Bundle, *, shipped: bool) -> Verdict:
    """What the site has decided about a bundle that lies on disk."""
    standing = state.standing(bundle.metadata.name)
    if standing.enabled is None:
        return Verdict(True) if shipped else Verdict(False, "not enabled yet")
    if not standing.enabled:
        return Verdict(False, f"disabled: {standing.reason}")
    if standing.source != ("shipped" if shipped else "site"):
        return Verdict(False, f"the {standing.source} bundle of this name is enabled")
    if not shipped and standing.digest != bundle.digest:
        return Verdict(True, problem="its metadata.json is not the one that was enabled")
    return Verdict(True)


def read_state(folder: Path) -> SiteState:
    """Read the state of a folder of bundles; a folder without one has said nothing.

    Raises
    ------
    BundleError
        It cannot be read, or is not what this version writes.
    """
    path = folder / STATE
    try:
        if path.stat().st_size > _STATE_LIMIT:
            raise BundleError(f"{path} is larger than {_STATE_LIMIT} bytes.", next_step=_RESTORE)
        return SiteState.model_validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        return SiteState()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.", next_step=_RESTORE) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "state"
        raise BundleError(f"{path}: field {where}: {first['msg']}.", next_step=_RESTORE) from error


_RESTORE = "Restore it from a backup; until then no bundle reads. Moved away, every bundle of the site is disabled."

Stamp = tuple[int, int, int]


def stamp(folder: Path) -> Stamp | None:
    """Changes whenever the state does; costs one stat."""
    try:
        found = (folder / STATE).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def kept_bundle(folder: Path, name: str, weights_sha256: str) -> Bundle:
    """A version that was replaced or removed, checked against its checksums.

    Raises
    ------
    BundleError
        It is not there any more, or was altered.
    """
    state = read_state(folder)
    for directory in sorted((folder / KEPT).glob(f"{name}-*")):
        bundle = Bundle.load(directory)
        if bundle.metadata.name == name and bundle.metadata.files[WEIGHTS] == weights_sha256:
            bundle.check_files()
            return bundle.with_overrides(state.overrides(bundle))
    raise BundleError(f"the version of {name} that began this analysis is not here any more.")
