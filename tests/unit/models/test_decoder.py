"""Decoding apart: right pixels from the child, one image lost with each child, and never more than that."""

from __future__ import annotations

import gc
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from bad_inputs.bombs import jpeg_2000
from bad_inputs.breaking_decoder import PROGRAM
from peers.processes import eventually
from pydicom import uid
from test_decoding import CODESTREAMS, ENCODERS, compressed, noise

from models.codecs import SYNTAXES, Frame, decode_here
from models.decoder import Decoder
from models.decoder_messages import LONGEST, Answer, Outcome, Request
from models.decoding import decode, read
from triage.errors import (
    DecodeMemoryError,
    DecoderCrashError,
    DecoderUnavailableError,
    DecodeTimeoutError,
    PixelError,
)

PIXELS = noise(48, 40, "u2", 16)
MODALITY = 1 << 20


def frame_of(data: bytes, *, syntax: str = uid.JPEGLSLossless, rows: int = 48, columns: int = 40) -> Frame:
    return Frame(syntax=syntax, data=data, rows=rows, columns=columns, itemsize=2, fits=True)


GOOD = frame_of(ENCODERS[uid.JPEGLSLossless](PIXELS))


def please(word: str) -> Frame:
    return frame_of(b"please " + word.encode())


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    """The product's own program."""
    child = Decoder()
    yield child
    child.close()


@pytest.fixture
def lost() -> list[PixelError]:
    return []


@pytest.fixture
def fragile(lost: list[PixelError]) -> Iterator[Callable[..., Decoder]]:
    """Makes decoders whose codec does what the image says."""
    made: list[Decoder] = []

    def make(*, seconds: float = 20.0, megabytes: int = 1024) -> Decoder:
        made.append(Decoder(program=PROGRAM, seconds=seconds, megabytes=megabytes, on_loss=lost.append))
        return made[-1]

    yield make
    for child in made:
        child.close()


# --- right pixels ---


@pytest.mark.parametrize("syntax", ENCODERS)
@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 8), ("u2", 12), ("u2", 16)])
def test_the_child_gives_what_this_process_gives(decoder: Decoder, syntax: str, dtype: str, bits: int) -> None:
    pixels = noise(61, 47, dtype, bits)
    dataset = compressed(pixels, syntax, ENCODERS[syntax](pixels), bits_stored=bits)
    ours = decode(dataset, decoder.decode)
    np.testing.assert_array_equal(ours, pixels)
    assert ours.dtype == decode(dataset).dtype


@pytest.mark.parametrize("syntax", ENCODERS)
def test_signed_pixels_come_back_from_the_child(decoder: Decoder, syntax: str) -> None:
    signed = noise(40, 30, "i2", 12) - np.int16(2048)
    words = signed.view(np.uint16) & 0x0FFF if syntax in CODESTREAMS else signed.view(np.uint16)
    dataset = compressed(signed, syntax, ENCODERS[syntax](words), bits_stored=12)
    np.testing.assert_array_equal(decode(dataset, decoder.decode), signed)


def test_every_real_image_is_the_same_from_the_child(decoder: Decoder, test_data: Path) -> None:
    seen = set()
    for path in sorted([*(test_data / "radiograph").rglob("*.dcm"), *(test_data / "syntaxes").glob("*.dcm")]):
        try:
            dataset = read(path)
            here = decode(dataset)
        except PixelError as error:
            with pytest.raises(PixelError) as caught:
                decode(read(path), decoder.decode)
            assert str(caught.value) == str(error)
            continue
        np.testing.assert_array_equal(decode(dataset, decoder.decode), here)
        seen.add(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    assert len(seen & SYNTAXES) >= 8


def test_images_of_changing_size_share_no_pixels(decoder: Decoder) -> None:
    for rows, columns in ((3000, 2000), (20, 30), (5000, 4000), (40, 30), (2000, 2500)):
        pixels = noise(rows, columns, "u2", 16, seed=rows)
        frame = frame_of(
            bytes(imagecodecs.ljpeg_encode(pixels)), syntax=uid.JPEGLosslessSV1, rows=rows, columns=columns
        )
        np.testing.assert_array_equal(decoder.decode(frame), pixels)


def test_what_a_codec_leaves_out_is_black_and_not_the_image_before(fragile: Callable[..., Decoder]) -> None:
    decoder = fragile()
    assert decoder.decode(GOOD).any()
    assert not decoder.decode(please("ONCE more")).any()


def test_the_pixels_cannot_be_written_to(decoder: Decoder) -> None:
    with pytest.raises(ValueError, match="read-only"):
        decoder.decode(GOOD)[0, 0] = 1


# --- one image lost with each child ---


@pytest.mark.parametrize(
    ("word", "error", "children", "text"),
    [
        ("SEGV", DecoderCrashError, 2, r"signal 11 \(SIGSEGV\)"),
        ("ABRT", DecoderCrashError, 2, r"signal 6 \(SIGABRT\)"),
        ("EXIT", DecoderCrashError, 2, "status 0"),
        ("KILL", DecodeMemoryError, 2, "the system killed"),
        ("WAIT", DecodeTimeoutError, 1, "longer than 1 s"),
        ("HEAP", DecodeMemoryError, 2, "decoder_megabytes"),
    ],
)
def test_a_lost_child_costs_one_image(
    fragile: Callable[..., Decoder],
    lost: list[PixelError],
    word: str,
    error: type[PixelError],
    children: int,
    text: str,
) -> None:
    decoder = fragile(seconds=1)
    decoder.decode(GOOD)
    first = decoder.pid
    assert first
    with pytest.raises(error, match=text):
        decoder.decode(please(word))
    np.testing.assert_array_equal(decoder.decode(GOOD), PIXELS)
    assert not lives(first)
    assert [type(loss) for loss in lost] == [error] * children


def test_a_crash_that_a_fresh_child_does_not_repeat_is_no_crash(
    fragile: Callable[..., Decoder], lost: list[PixelError]
) -> None:
    decoder = fragile()
    decoder.decode(GOOD)
    assert decoder.decode(please("ONCE")) is not None
    assert [type(loss) for loss in lost] == [DecoderCrashError]


def test_out_of_memory_in_a_fresh_child_is_believed_at_once(
    fragile: Callable[..., Decoder], lost: list[PixelError]
) -> None:
    with pytest.raises(DecodeMemoryError):
        fragile().decode(please("HEAP"))
    assert len(lost) == 1


def test_a_child_that_died_with_nothing_to_do_is_no_images_fault(
    fragile: Callable[..., Decoder], lost: list[PixelError]
) -> None:
    decoder = fragile()
    decoder.decode(GOOD)
    pid = decoder.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: decoder._child and decoder._child._process.poll() is not None, within=5, what="the child ends")
    np.testing.assert_array_equal(decoder.decode(GOOD), PIXELS)
    assert (lost, decoder.pid != pid) == ([], True)


def test_a_child_that_keeps_memory_is_replaced(fragile: Callable[..., Decoder], lost: list[PixelError]) -> None:
    decoder = fragile()
    decoder.decode(GOOD)
    pid = decoder.pid
    decoder.decode(please("LEAK"))
    assert decoder.pid != pid
    assert lost == []


def test_a_damaged_image_costs_no_child(decoder: Decoder) -> None:
    decoder.decode(GOOD)
    pid = decoder.pid
    with pytest.raises(PixelError, match=r"cannot be decoded \(JpeglsError\)"):
        decoder.decode(frame_of(bytes(GOOD.data)[:300] + b"\xff\xd9"))
    np.testing.assert_array_equal(decoder.decode(GOOD), PIXELS)
    assert decoder.pid == pid


def test_a_program_that_does_not_start_is_no_images_fault() -> None:
    for program in (("/bin/false",), ("/nonexistent/decoder",)):
        decoder = Decoder(program=program)
        with pytest.raises(DecoderUnavailableError):
            decoder.decode(GOOD)
        decoder.close()


# --- real codecs, real bombs ---


def test_84_bytes_that_need_more_than_two_gigabytes_are_out_of_memory(decoder: Decoder) -> None:
    bomb = jpeg_2000(8192, 8192, precincts=[0])
    assert len(bomb) == 84
    with pytest.raises(DecodeMemoryError):
        decoder.decode(frame_of(bomb, syntax=uid.JPEG2000Lossless, rows=8192, columns=8192))
    np.testing.assert_array_equal(decoder.decode(GOOD), PIXELS)


def test_a_real_codec_that_never_ends_is_ended() -> None:
    """OpenJPH looks for ever for the tile of a codestream whose tiles begin beside its image."""
    pixels = noise(120, 100, "u2", 16)
    stream = bytearray(ENCODERS[uid.HTJ2KLossless](pixels))
    stream[39] = 71  # YTOsiz
    decoder = Decoder(seconds=1)
    before = time.monotonic()
    with pytest.raises(DecodeTimeoutError):
        decoder.decode(frame_of(bytes(stream), syntax=uid.HTJ2KLossless, rows=120, columns=100))
    assert time.monotonic() - before < 10
    np.testing.assert_array_equal(decoder.decode(GOOD), PIXELS)
    decoder.close()
    with pytest.raises(PixelError, match="beside the image"):
        decode(compressed(pixels, uid.HTJ2KLossless, bytes(stream)), decoder.decode)


def test_an_rle_header_that_ends_the_real_codec_ends_no_worker() -> None:
    """What :func:`models.codestreams.require_rle_segments` refuses, given to the codec all the same."""
    header = np.zeros(16, "<u4")
    header[:3] = 2, 64, 2**31
    decoder = Decoder()
    with pytest.raises((DecoderCrashError, PixelError)):
        decoder.decode(frame_of(header.tobytes() + bytes(64), syntax=uid.RLELossless))
    np.testing.assert_array_equal(decoder.decode(GOOD), PIXELS)
    decoder.close()


def mutated(stream: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, taken out, put in or copied, most of them near the beginning."""
    data = bytearray(stream)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        at = dice.randrange(min(len(data), 200) if dice.random() < 0.6 else len(data))
        kind = dice.random()
        if kind < 0.7:
            data[at] = dice.choice((0, 255, dice.randrange(256), data[at] ^ (1 << dice.randrange(8))))
        elif kind < 0.8:
            del data[at : at + dice.randrange(1, 20)]
        elif kind < 0.9:
            data[at:at] = dice.randbytes(dice.randrange(1, 20))
        else:
            other = dice.randrange(len(data))
            data[at : at + 16] = data[other : other + 16]
    return bytes(data)


def test_mutated_images_are_decoded_or_refused_and_nothing_grows(decoder: Decoder) -> None:
    dice = random.Random(20260301)
    streams = {syntax: encode(PIXELS) for syntax, encode in ENCODERS.items()}
    outcomes: dict[str, int] = {}

    def attack(count: int) -> None:
        for _ in range(count):
            syntax = dice.choice(list(streams))
            try:
                shape = decode(compressed(PIXELS, syntax, mutated(streams[syntax], dice)), decoder.decode).shape
                assert shape == PIXELS.shape
                outcomes["decoded"] = outcomes.get("decoded", 0) + 1
            except PixelError as error:
                outcomes[type(error).__name__] = outcomes.get(type(error).__name__, 0) + 1

    attack(100)
    gc.collect()
    before, descriptors = resident(os.getpid()), open_descriptors()
    started = time.monotonic()
    attack(400)
    gc.collect()
    assert resident(os.getpid()) - before < 16 * MODALITY
    assert open_descriptors() <= descriptors + 2
    assert time.monotonic() - started < 60
    assert outcomes["decoded"] > 50, outcomes
    assert outcomes["PixelError"] > 50, outcomes
    np.testing.assert_array_equal(decoder.decode(GOOD), PIXELS)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident(pid: int) -> int:
    """Bytes of physical memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- what the child may not ---


def test_the_child_is_confined(decoder: Decoder) -> None:
    decoder.decode(GOOD)
    limits = Path(f"/proc/{decoder.pid}/limits").read_text().splitlines()
    of = {line[:26].strip(): line[26:].split()[0] for line in limits}
    assert of["Max address space"] == str(2048 << 20)
    assert (of["Max core file size"], of["Max file size"], of["Max open files"]) == ("0", "0", "16")
    assert int(of["Max cpu time"]) <= 20 * 8 + 10
    assert Path(f"/proc/{decoder.pid}/oom_score_adj").read_text().strip() == "1000"
    status = Path(f"/proc/{decoder.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    open_files = [str(file.readlink()) for file in Path(f"/proc/{decoder.pid}/fd").iterdir()]
    assert all(name.startswith(("socket:", "/dev/null", "/memfd:")) for name in open_files), open_files
    environment = Path(f"/proc/{decoder.pid}/environ").read_bytes()
    assert b"FIRSTREAD" not in environment
    assert b"TOKEN" not in environment
    mapped = Path(f"/proc/{decoder.pid}/maps").read_text()
    assert not any(library in mapped for library in ("torch", "onnxruntime", "libssl", "pydicom", "sqlite"))


@pytest.mark.skipif(os.geteuid() != 0, reason="cutting a process off the network needs root, or user namespaces")
def test_the_child_has_no_network(decoder: Decoder) -> None:
    decoder.decode(GOOD)
    assert Path(f"/proc/{decoder.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


def test_the_child_writes_no_file(fragile: Callable[..., Decoder]) -> None:
    with pytest.raises(PixelError, match=r"\((OSError|PermissionError)\)"):
        fragile().decode(please("FILE"))


def test_the_child_outlives_neither_the_channel_nor_its_parent(fragile: Callable[..., Decoder]) -> None:
    decoder = fragile()
    decoder.decode(GOOD)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # a parent that is killed in the middle of an image
        own = Decoder(program=PROGRAM)
        own.decode(GOOD)
        os.write(writer, str(own.pid).encode())
        own.decode(please("WAIT"))
        os._exit(0)
    child = int(os.read(reader, 20))
    assert lives(child)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    eventually(lambda: not lives(child), within=5, what="the decoder of a killed worker ends")
    os.close(reader)
    os.close(writer)


def test_a_signal_to_the_whole_group_does_not_end_the_child(decoder: Decoder) -> None:
    decoder.decode(GOOD)
    pid = decoder.pid
    assert pid
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, name)
    np.testing.assert_array_equal(decoder.decode(GOOD), PIXELS)
    assert decoder.pid == pid


# --- what they say to each other ---


def test_a_request_comes_back_as_it_was_written() -> None:
    request = Request(
        syntax="1.2.840.10008.1.2.4.90", rows=65535, columns=1, itemsize=4, samples=3, fits=True, length=2**31,
        mapped=2**32, seconds=0.5,
    )  # fmt: skip
    assert Request.decode(request.encode()) == request
    assert len(request.encode()) <= LONGEST


@pytest.mark.parametrize("record", [b"x", b"\0" * 72, b"\xff" * 72, b"\x02" * LONGEST])
def test_an_answer_of_a_child_that_was_taken_over_is_refused(record: bytes) -> None:
    with pytest.raises(ValueError):
        Answer.decode(record)


def test_the_word_of_an_answer_is_plain() -> None:
    answer = Answer.decode(Answer(outcome=Outcome.DAMAGED, word="Jpeg\x1b[2J<b>\n" * 9).encode())
    assert set(answer.word) <= set("Jpeg2Jb[<>\n") - set("[<>\n\x1b")
    assert len(answer.word) < 64


def test_the_codec_of_this_process_needs_no_child() -> None:
    np.testing.assert_array_equal(decode_here(GOOD), PIXELS)
