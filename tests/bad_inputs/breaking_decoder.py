"""A decoder process whose codec does what the image tells it to: crashes and hangs that no installed codec offers.

Started by tests as the program of a :class:`models.decoder.Decoder`; everything but the codec is the product's own.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from models.codecs import Frame, Words, decode_into
from models.decoder_process import main

PROGRAM = (sys.executable, "-s", "-B", __file__)
LEAK: list[bytes] = []


def obey(frame: Frame, out: Words) -> None:
    """Do what the codestream says behind ``please``, or decode it."""
    _, _, wish = bytes(frame.data).partition(b"please ")
    word = wish[:4]
    if word == b"SEGV":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif word == b"ABRT":
        os.abort()
    elif word == b"KILL":  # as the kernel does when memory runs out
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == b"WAIT":
        threading.Event().wait()
    elif word == b"EXIT":
        os._exit(0)
    elif word == b"HEAP":
        LEAK.append(bytes(1 << 40))
    elif word == b"LEAK":
        LEAK.append(b"\1" * (300 << 20))
    elif word == b"FILE":
        Path("/tmp/firstread-decoder-wrote").write_text("x", encoding="ascii")  # noqa: S108
    elif word == b"ONCE":  # crashes every decoder but a fresh one
        if LEAK:
            os.kill(os.getpid(), signal.SIGSEGV)
        LEAK.append(b"")
    else:
        decode_into(frame, out)
        LEAK.append(b"")


if __name__ == "__main__":
    main(obey)
