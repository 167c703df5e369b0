"""A bundle named on the command line: a folder, or one that this installation has, enabled or not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from triage.errors import BundleError

if TYPE_CHECKING:
    from models.bundle import Bundle
    from triage.settings import Settings


def bundle_named(name: str, settings: Settings) -> Bundle:
    """By folder or by name, its files checked. One that is not enabled yet may be measured: that is how it gets there.

    Raises
    ------
    BundleError
        There is none, a file of it is not the one that was written, or it reads series: what is measured with this
        argument is single images.
    """
    from models.bundle import METADATA, Bundle  # noqa: PLC0415
    from models.registry import Registry  # noqa: PLC0415

    directory = Path(name)
    if not (directory / METADATA).is_file():
        directory = Registry.of_site(settings.site_bundles, check_files=False).entry(name).directory
    bundle = Bundle.load(directory)
    bundle.check_files()
    if bundle.metadata.series is not None:
        raise BundleError(
            f"{name} reads series of slices; only bundles that read single images are measured here.",
            next_step="Its maker's figures are in its MODEL_CARD.md.",
        )
    return bundle
