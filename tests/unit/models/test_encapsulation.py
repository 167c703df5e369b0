"""One frame of many is found in encapsulated pixel data, or refused, and the others are not read."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.encapsulation import frame_bytes
from triage.errors import PixelError

END = b"\xff\xd9"


def item(data: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + len(data).to_bytes(4, "little") + data


def encapsulated(frames: Sequence[Sequence[bytes]], *, table: bool) -> tuple[bytes, list[int]]:
    """Pixel data of frames of fragments, and the offset of each frame."""
    offsets, body = [], b""
    for fragments in frames:
        offsets.append(len(body))
        body += b"".join(item(fragment) for fragment in fragments)
    basic = b"".join(offset.to_bytes(4, "little") for offset in offsets) if table else b""
    return item(basic) + body + b"\xfe\xff\xdd\xe0\0\0\0\0", offsets


def frames_of(data: bytes, count: int, offsets: Sequence[int] = ()) -> list[bytes]:
    return [frame_bytes(io.BytesIO(data), n, count, most=10**6, offsets=offsets) for n in range(1, count + 1)]


fragments = st.lists(
    st.binary(min_size=1, max_size=9).map(lambda data: data.replace(b"\xff", b"0")), min_size=1, max_size=4
)


@given(st.lists(fragments, min_size=1, max_size=6), st.sampled_from(["basic", "extended", "none"]))
def test_each_frame_comes_back(frames: list[list[bytes]], told: str) -> None:
    frames = [[*parts[:-1], parts[-1] + END] for parts in frames]
    data, offsets = encapsulated(frames, table=told == "basic")
    expected = [b"".join(parts) for parts in frames]
    assert frames_of(data, len(frames), offsets if told == "extended" else ()) == expected


def test_a_table_that_points_beside_the_items_is_not_believed() -> None:
    frames = [[b"ab", b"c" + END], [b"d" + END]]
    data, _ = encapsulated(frames, table=False)
    for lies in ([0, 3], [8, 0], [0, 0], [0], [0, 2**31]):
        assert frames_of(data, 2, lies) == [b"abc" + END, b"d" + END]


@given(st.binary(max_size=80), st.integers(1, 4), st.integers(1, 4))
def test_anything_else_is_refused_in_words(data: bytes, number: int, count: int) -> None:
    for source in (data, item(b"") + data, item(b"") + item(b"x") + data):
        try:
            assert frame_bytes(io.BytesIO(source), number, count, most=50) in source
        except PixelError as error:
            assert str(error)


def test_frames_before_the_cut_are_whole_and_the_others_are_missed() -> None:
    data, _ = encapsulated([[b"a" + END], [b"b" + END], [b"c" + END]], table=False)
    cut = data[: data.index(b"c")]
    assert frame_bytes(io.BytesIO(cut), 2, 3, most=9) == b"b" + END
    with pytest.raises(PixelError, match="2 frames in the pixel data, not 3"):
        frame_bytes(io.BytesIO(cut), 3, 3, most=9)


def test_a_frame_of_too_many_bytes_and_a_crowd_of_fragments_are_refused() -> None:
    data, _ = encapsulated([[b"a" * 100], [b"b"]], table=False)
    with pytest.raises(PixelError, match="more pixel data"):
        frame_bytes(io.BytesIO(data), 1, 2, most=99)
    with pytest.raises(PixelError, match="more fragments"):
        frame_bytes(io.BytesIO(item(b"") + item(b"x") * 9000), 1, 2, most=99)


def test_only_the_frame_is_read() -> None:
    class Counting(io.BytesIO):
        bytes_read = 0

        def read(self, size: int | None = -1) -> bytes:
            got = super().read(size)
            self.bytes_read += len(got)
            return got

    data, _ = encapsulated([[bytes(1000) + END]] * 50, table=True)
    source = Counting(data)
    assert len(frame_bytes(source, 40, 50, most=2000)) == 1002
    assert source.bytes_read < 2000
