"""Decoding apart: one child process decodes, can be killed at any time, and takes nothing with it but its image.

The child (:mod:`models.decoder_process`) stays between images, because starting it costs a fifth of a second. It is
replaced when it crashed, hung, ran out of memory, kept too much of it, or has served long enough.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

import numpy as np

from models.codecs import Frame, Words
from models.decoder_messages import LONGEST, Answer, Outcome, Request, pixels_at
from triage.errors import (
    DecodeMemoryError,
    DecoderCrashError,
    DecoderUnavailableError,
    DecodeTimeoutError,
    PixelError,
)

PROGRAM: Final = (sys.executable, "-s", "-B", "-m", "models.decoder_process")
_HOME: Final = Path(__file__).parents[1]
_SERVES: Final = 1000
"""Images, after which a child is replaced whatever it looks like."""
_KEEPS: Final = 256 << 20
"""Bytes that a child may keep for itself between images."""
_START_WITHIN: Final = 30.0  # seconds
_SHARED_STEP: Final = 16 << 20
_SHARED_KEPT: Final = 64 << 20
"""Shared memory beyond this is given back after its image."""

_HEAP: Final = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
}
"""glibc's: a codec's working memory stays with the child. Given back after each image and zeroed anew by the system for
the next, it costs HTJ2K an eighth of its time."""


class Decoder:
    """Decodes frames in a child process, one at a time. For one thread; not to be shared across a fork.

    Parameters
    ----------
    megabytes : int
        Address space of the child.
    seconds : float
        Wall-clock time of one image.
    on_loss : callable, optional
        Told of every child that was lost to an image, also when the next one decoded it.
    program : sequence of str
        The child's command; gets the megabytes and our process id as its last arguments.
    """

    def __init__(
        self,
        *,
        megabytes: int = 2048,
        seconds: float = 20.0,
        on_loss: Callable[[PixelError], None] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._megabytes, self._seconds, self._program = megabytes, seconds, tuple(program)
        self._on_loss = on_loss
        self._child: _Child | None = None

    def start(self) -> None:
        """Have a child get ready while this process does something else."""
        if self._child is None:
            self._child = _Child(self._program, self._megabytes)

    def close(self) -> None:
        """Let the child end; it is not waited for."""
        if self._child is not None:
            self._child.dismiss()
            self._child = None

    @property
    def pid(self) -> int | None:
        """Process id of the child, None where there is none."""
        return self._child.pid if self._child else None

    def decode(self, frame: Frame) -> Words:
        """Decode a frame.

        Returns
        -------
        ndarray
            Of the frame's shape and dtype, read-only, overwritten by the next call.

        Raises
        ------
        DecoderCrashError
            Two children were killed by a signal, one after the other.
        DecodeTimeoutError
            It took longer than it may.
        DecodeMemoryError
            It needs more memory than it may have, or the machine has no more.
        PixelError
            The codestream is damaged.
        DecoderUnavailableError
            No child could be started.
        """
        first_loss = True
        while True:
            child = self._ready_child()
            fresh = child.served == 0
            try:
                pixels = child.decode(frame, self._seconds)
            except (DecoderCrashError, DecodeTimeoutError, DecodeMemoryError) as error:
                self._replace()
                if self._on_loss is not None:
                    self._on_loss(error)
                # The late effect of an earlier image, perhaps: a second try in a fresh process proves it.
                may_be_innocent = isinstance(error, DecoderCrashError) or not fresh
                if isinstance(error, DecodeTimeoutError) or not (first_loss and may_be_innocent):
                    raise
                first_loss = False
            else:
                if child.served >= _SERVES or child.keeps > _KEEPS:
                    self._replace()
                return pixels

    def _ready_child(self) -> _Child:
        child = self._child
        if child is not None and child.is_ready():
            return child
        child = self._replace()  # it died while it had nothing to do, which is no image's fault
        if not child.is_ready():
            raise DecoderUnavailableError(f"The decoder did not get ready within {_START_WITHIN:g} s.")
        return child

    def _replace(self) -> _Child:
        self.close()
        self._child = _Child(self._program, self._megabytes)
        return self._child


class _Child:
    """One process and the memory it shares with us."""

    def __init__(self, program: Sequence[str], megabytes: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = ours
        try:
            self._process = subprocess.Popen(
                [*program, str(megabytes), str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=_HOME,
                # Nothing of ours: no secret, and no thread or heap that would eat address space.
                env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8", **_HEAP},
            )
        except OSError as error:
            ours.close()
            raise DecoderUnavailableError(f"The decoder cannot be started: {error.strerror}.") from error
        finally:
            theirs.close()
        self._ready = False
        self._shared: mmap.mmap | None = None
        self.served = 0
        self.keeps = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def dismiss(self) -> None:
        """End it. It holds nothing that could be lost."""
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def is_ready(self) -> bool:
        """Wait until it has said that it is; False when it is gone or stays silent."""
        if self._ready:
            return self._process.poll() is None
        self._channel.settimeout(_START_WITHIN)
        try:
            self._ready = bool(self._channel.recv(LONGEST))
        except OSError:
            return False
        return self._ready

    def decode(self, frame: Frame, seconds: float) -> Words:
        """As :meth:`Decoder.decode`, without a second try."""
        start = pixels_at(len(frame.data))
        shared, descriptors = self._share(start + frame.size)
        shared[: len(frame.data)] = frame.data
        pixels = np.frombuffer(shared, frame.dtype, frame.size // frame.itemsize, start)
        pixels = pixels.reshape(frame.shape)
        pixels.fill(0)  # what a decoder leaves out must not be another patient's
        request = Request(
            syntax=frame.syntax, rows=frame.rows, columns=frame.columns, itemsize=frame.itemsize,
            samples=frame.samples, fits=frame.fits, length=len(frame.data), mapped=len(shared), seconds=seconds,
        )  # fmt: skip
        try:
            answer = self._ask(request, descriptors, seconds)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self.served += 1
        self.keeps = answer.memory
        if len(shared) > _SHARED_KEPT:
            self._shared = None
        if answer.outcome is Outcome.OUT_OF_MEMORY:
            raise DecodeMemoryError("decoding needs more memory than decoder_megabytes allows.")
        if answer.outcome is not Outcome.DECODED:
            raise PixelError(f"the pixel data cannot be decoded ({answer.word or 'no reason given'}).")
        pixels.flags.writeable = False
        return pixels

    def _share(self, needed: int) -> tuple[mmap.mmap, list[int]]:
        """Memory of at least that size, with the descriptor that the child has not seen yet."""
        if self._shared is not None and len(self._shared) >= needed:
            return self._shared, []
        size = -(-needed // _SHARED_STEP) * _SHARED_STEP
        descriptor = os.memfd_create("frame", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, size)
        # A child that could shorten it would end us with SIGBUS.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._shared = mmap.mmap(descriptor, size)
        return self._shared, [descriptor]

    def _ask(self, request: Request, descriptors: list[int], seconds: float) -> Answer:
        self._channel.settimeout(seconds)
        try:
            socket.send_fds(self._channel, [request.encode()], descriptors)
            record = self._channel.recv(LONGEST)
        except TimeoutError:
            raise DecodeTimeoutError(f"decoding took longer than {seconds:g} s.") from None
        except OSError:
            record = b""
        if not record:
            self._explain_death()
        try:
            return Answer.decode(record)
        except ValueError:
            raise DecoderCrashError("the decoder gave no sensible answer.") from None

    def _explain_death(self) -> NoReturn:
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            raise DecoderCrashError("the decoder closed its channel.") from None
        if status >= 0:
            raise DecoderCrashError(f"the decoder ended by itself with status {status}.")
        if status == -signal.SIGKILL:  # not by us
            raise DecodeMemoryError("the system killed the decoder, as it does when the machine runs out of memory.")
        if status == -signal.SIGXCPU:
            raise DecodeTimeoutError("decoding took more processor time than it may.")
        raise DecoderCrashError(f"the decoder was killed by signal {-status} ({signal.Signals(-status).name}).")
