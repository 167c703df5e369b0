"""Large writes of what comes in small pieces: nothing is lost, doubled or reordered, whatever the sizes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node import piece_writer
from dicom_node.piece_writer import Buffers, PieceWriter


@settings(deadline=None)
@given(
    head=st.binary(max_size=40),
    pieces=st.lists(st.binary(max_size=90), max_size=12),
    looks=st.sets(st.integers(0, 12)),
)
def test_the_file_holds_what_came_and_the_digest_says_so(
    head: bytes, pieces: list[bytes], looks: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "file"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(piece_writer, "PIECE", 32)
        writer = PieceWriter(descriptor, head, Buffers())
        for number, piece in enumerate(pieces):
            writer.write(memoryview(piece))
            if number in looks:
                assert writer.digest() == "b3-" + blake3(b"".join(pieces[: number + 1])).hexdigest()
        writer.flush()
        writer.flush()
    os.close(descriptor)
    assert path.read_bytes() == head + b"".join(pieces)
    assert writer.written == len(head) + sum(map(len, pieces))
    assert writer.digest() == "b3-" + blake3(b"".join(pieces)).hexdigest()


def test_a_buffer_serves_one_file_after_the_other(tmp_path: Path) -> None:
    buffers = Buffers()
    contents = [b"a" * 1000, b"b" * 10]
    for number, content in enumerate(contents):
        descriptor = os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY)
        writer = PieceWriter(descriptor, b"", buffers)
        writer.write(content)
        writer.flush()
        writer.close()
        os.close(descriptor)
    assert [(tmp_path / str(number)).read_bytes() for number in range(2)] == contents
    first = buffers.take()
    assert first[:10] == b"b" * 10, "the buffer of the files before"


def test_a_disk_that_is_full_is_an_error_of_the_piece() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    writer = PieceWriter(descriptor, b"head", Buffers())
    writer.write(b"some")
    with pytest.raises(OSError, match="No space left"):
        writer.flush()
    os.close(descriptor)
    assert writer.written == 0
