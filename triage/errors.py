"""One root for every error of the house.

Each class says two things its handler needs: what the person should do next (:attr:`FirstreadError.next_step`)
and whether trying the same thing again can help (:attr:`FirstreadError.retryable`). Messages name attributes,
settings and files, never a patient's data.
"""

from __future__ import annotations


class FirstreadError(Exception):
    """The root. Catch this at a door (CLI, HTTP, task), never in between.

    Parameters
    ----------
    message : str
        What went wrong and where, free of patient data.
    next_step : str, optional
        Overrides the class's own advice when the caller knows better.
    """

    next_step: str = "Run `firstread doctor`."
    retryable: bool = False

    def __init__(self, message: str, *, next_step: str | None = None) -> None:
        super().__init__(message)
        if next_step is not None:
            self.next_step = next_step

    def advice(self) -> str:
        """The message and what to do about it, as shown to a person."""
        return f"{self} {self.next_step}".strip()


class SettingsError(FirstreadError):
    """A setting is missing, unknown or unsafe; nothing was started."""

    next_step = "Correct the setting named above in firstread.toml, the environment or the command line."


class IdentifierError(FirstreadError):
    """Text that should be an AE title, UID or accession number breaks the rule of its value representation."""

    next_step = "Correct the value at its source; PS3.5 section 6.2 states the rule."


class StateError(FirstreadError):
    """A transition that the state machine does not allow was asked for."""

    next_step = "Reload the case: somebody or something else changed it first."


class NotFoundError(FirstreadError):
    """The row that was asked for does not exist."""

    next_step = "Check the identifier; `firstread worklist` lists the studies that are known."


class LeaseLostError(FirstreadError):
    """Another worker holds the row now: this one's result is dropped (fencing)."""

    next_step = "Nothing: the other worker finishes the row."


class DatabaseUnavailableError(FirstreadError):
    """The database did not answer or stayed locked."""

    next_step = "Check that the database of FIRSTREAD_DATABASE_URL runs; senders retry by themselves."
    retryable = True


class BusyError(FirstreadError):
    """What was asked for waits behind others, or takes longer than it may."""

    next_step = "Try again in some seconds."
    retryable = True


class DatabaseDamagedError(DatabaseUnavailableError):
    """The file of the embedded database is not whole. Everything in the archive can be indexed anew.

    To senders it is a database that is away: they keep what they have and try again.
    """

    next_step = (
        "Stop firstread, move firstread.sqlite, -wal and -shm away, restore them from a backup and run "
        "`firstread fsck --repair`; without a backup run `firstread fsck --reindex`."
    )


class StorageFullError(FirstreadError):
    """The archive has no room; answered to senders as 0xA700 so that they retry."""

    next_step = "Free disk space below the data directory."
    retryable = True


class DicomError(FirstreadError):
    """Bytes that are not the DICOM object they should be."""

    next_step = "Check the sender's export; the bytes are kept for inspection."


class PixelError(DicomError):
    """The pixel data cannot be decoded or means nothing as a picture."""

    next_step = "Open the image in a viewer; if it shows there, report the transfer syntax to us."


class DecoderCrashError(PixelError):
    """The process that decoded the image was killed by a signal, each time it tried."""

    next_step = "Keep the file from other software until it is understood; report its transfer syntax to us."


class DecodeTimeoutError(PixelError):
    """Decoding took longer than ``decoder_seconds``."""

    next_step = "If the image is sound and very large, raise FIRSTREAD_DECODER_SECONDS."


class DecodeMemoryError(PixelError):
    """Decoding needed more memory than ``decoder_megabytes``, or than the machine had."""

    next_step = "If the image is sound and very large, raise FIRSTREAD_DECODER_MEGABYTES."


class DecoderUnavailableError(FirstreadError):
    """The process that decodes does not start; no image is to blame."""

    next_step = "Check memory and process limits of this account; the installation needs numpy and imagecodecs."
    retryable = True


class BundleError(FirstreadError):
    """A model bundle is incomplete, inconsistent or altered."""

    next_step = "Run `firstread models verify`; restore the bundle from its source if the checksum differs."


class ForeignModelError(BundleError):
    """A file from elsewhere cannot become a bundle: unsafe, incomplete, or not what its description says."""

    next_step = "Correct the file or its description as said above; docs/importing.md explains both."


class InferenceError(FirstreadError):
    """The network ran but its output is not usable (NaN, wrong shape, out of memory)."""

    next_step = "Run `firstread models verify`; the study stays on the list in its order without AI."
    retryable = True


class ExplanationError(FirstreadError):
    """A heat map could not be made, or not one that may be believed; the score stands without it."""

    next_step = "Choose another `explanation` in the bundle's metadata; `firstread models explain-check` compares them."


class ResultError(FirstreadError):
    """A result object (SR, SC) could not be built from a correct analysis."""

    next_step = "Report the source image's header (without patient data); the study stays on the list."


class MixedPatientsError(ResultError):
    """Headers of two patients, or of two studies, would stand in one report."""

    next_step = (
        "Have the sender correct patient or study of the images and send them again; they are kept as they came."
    )


class DeliveryError(FirstreadError):
    """A peer did not take an object.

    Attributes
    ----------
    status : int or None
        C-STORE status (PS3.4 B.2.3), None when no response came.
    """

    next_step = "Check the destination with `firstread echo`; the delivery is retried until it is given up."
    retryable = True

    def __init__(
        self, message: str, *, status: int | None = None, retryable: bool = True, next_step: str | None = None
    ) -> None:
        super().__init__(message, next_step=next_step)
        self.status = status
        self.retryable = retryable
