"""Whole conversations with random damage: beyond the catalogue, what nobody has thought of."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Callable
from typing import Final

import pytest
from peers.raw_peer import CR, EXPLICIT, encoded, pdata

from bad_inputs.attacked import KNOWN, Attacked, Peer, picture
from dicom_node import dimse
from dicom_node.negotiation import RELEASE_RQ, ProposedContext, encode_request

STREAMS: Final = 60
"""Damaged conversations of each kind."""


def conversation() -> list[bytes]:
    """The PDUs of a requestor: association, two stores, an echo, release."""
    pdus = [encode_request(KNOWN, "FIRSTREAD", [ProposedContext(1, CR, (EXPLICIT,))], 16384)]
    for dataset in (picture(), picture()):
        body = encoded(dataset)
        pdus.append(pdata(1, 3, dimse.store_request(1, CR, str(dataset.SOPInstanceUID))))
        pdus += [pdata(1, 0, body[:300]), pdata(1, 2, body[300:])]
    return [*pdus, pdata(1, 3, dimse.echo_request(9)), RELEASE_RQ]


def flipped(pdus: list[bytes], chance: random.Random) -> bytes:
    """Some bytes are others, anywhere behind the association request."""
    stream = bytearray(b"".join(pdus))
    for _ in range(chance.randint(1, 8)):
        stream[chance.randrange(len(pdus[0]), len(stream))] = chance.randrange(256)
    return bytes(stream)


def flipped_request(pdus: list[bytes], chance: random.Random) -> bytes:
    """The same inside the association request."""
    request = bytearray(pdus[0])
    for _ in range(chance.randint(1, 8)):
        request[chance.randrange(len(request))] = chance.randrange(256)
    return bytes(request) + b"".join(pdus[1:])


def shuffled(pdus: list[bytes], chance: random.Random) -> bytes:
    """PDUs come twice, are left out, or come in another order."""
    rest = [pdu for pdu in pdus[1:] for _ in range(chance.choice((0, 1, 1, 1, 2)))]
    if chance.random() < 0.5:
        chance.shuffle(rest)
    return b"".join((pdus[0], *rest))


def lengths(pdus: list[bytes], chance: random.Random) -> bytes:
    """A length says something else than there is."""
    stream = bytearray(b"".join(pdus))
    where = sum(map(len, pdus[: chance.randrange(1, len(pdus))])) + chance.choice((2, 6))
    if where + 4 <= len(stream):
        struct.pack_into(">L", stream, where, chance.choice((0, 1, 5, 6, 2**16, 2**20, 2**31, 2**32 - 1)))
    return bytes(stream)


def cut(pdus: list[bytes], chance: random.Random) -> bytes:
    """It ends anywhere."""
    stream = b"".join(pdus)
    return stream[: chance.randrange(len(stream))]


@pytest.mark.parametrize("damage", [flipped, flipped_request, shuffled, lengths, cut])
def test_a_damaged_conversation_hurts_nobody(
    attacked: Attacked, damage: Callable[[list[bytes], random.Random], bytes]
) -> None:
    chance = random.Random(damage.__name__)
    memory = attacked.memory()
    for _ in range(STREAMS):
        with Peer(attacked.port) as peer, contextlib.suppress(ConnectionError):
            peer.send(damage(conversation(), chance))
            peer.sock.shutdown(socket.SHUT_WR)  # nothing more comes: the node need not wait for its time limits
            while peer.sock.recv(65536):
                pass
    assert attacked.memory() - memory < 10_000_000
    log = attacked.log_after(0)
    assert "association_failed" not in log  # the boundary of a thread, where only a defect of ours arrives
    assert "store_failed" not in log
    assert "Traceback" not in log
