"""The program that decodes: ``python -m models.decoder_process MEGABYTES PARENT``, started by :mod:`models.decoder`.

It knows numpy and the codecs and nothing else: no DICOM, no network, no database. Frames come through memory that it
shares with its parent; standard input is the channel of requests and answers.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from models import codecs
from models.codecs import Frame, Words
from models.confinement import allow_processor_time, confine, memory_of_its_own
from models.decoder_messages import LONGEST, Answer, Outcome, Request, pixels_at

_Decode = Callable[[Frame, Words], None]


def main(decode: _Decode = codecs.decode_into) -> None:
    """Serve the parent until it closes the channel.

    Parameters
    ----------
    decode : callable
        What is done with a frame. Tests give one that crashes.
    """
    megabytes, parent = (int(word) for word in sys.argv[1:])
    codecs.load()
    channel = socket.socket(fileno=sys.stdin.fileno())
    limits = confine(megabytes=megabytes, parent=parent)
    channel.send(Answer(outcome=Outcome.READY, word=limits).encode())
    serve(channel, decode)


def serve(channel: socket.socket, decode: _Decode) -> None:
    """Answer requests, one at a time."""
    memory: mmap.mmap
    while True:
        record, descriptors, _, _ = socket.recv_fds(channel, LONGEST, 1)
        if not record:
            return
        request = Request.decode(record)
        for descriptor in descriptors:
            memory = mmap.mmap(descriptor, request.mapped)
            os.close(descriptor)
        channel.send(_attempt(request, memory, decode).encode())


def _attempt(request: Request, memory: mmap.mmap, decode: _Decode) -> Answer:
    frame = Frame(
        syntax=request.syntax,
        data=memoryview(memory)[: request.length],
        rows=request.rows,
        columns=request.columns,
        itemsize=request.itemsize,
        samples=request.samples,
        fits=request.fits,
    )
    pixels = np.frombuffer(
        memory, dtype=frame.dtype, count=frame.size // frame.itemsize, offset=pixels_at(request.length)
    ).reshape(frame.shape)
    allow_processor_time(request.seconds * codecs.THREADS)
    last_error = _last_error()
    last_error[0] = 0
    try:
        decode(frame, pixels)
    except MemoryError:
        return Answer(outcome=Outcome.OUT_OF_MEMORY, memory=memory_of_its_own())
    except Exception as error:  # noqa: BLE001 - whatever the codec raises is the answer
        # Some codecs call it damage when they get no memory; the C library remembers.
        failed = last_error[0] == errno.ENOMEM
        outcome = Outcome.OUT_OF_MEMORY if failed else Outcome.DAMAGED
        return Answer(outcome=outcome, memory=memory_of_its_own(), word=type(error).__name__)
    return Answer(outcome=Outcome.DECODED, memory=memory_of_its_own())


def _last_error() -> Any:
    """The thread's ``errno`` itself: ctypes' own copy does not see what a codec leaves behind."""
    location = ctypes.CDLL(None).__errno_location
    location.restype = ctypes.POINTER(ctypes.c_int)
    return location()


if __name__ == "__main__":
    main()
