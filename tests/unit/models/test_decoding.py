"""Stored values out of every transfer syntax, and a reason instead of a crash out of every damaged object."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_samples import DATA, data_files, make_dataset
from numpy.typing import NDArray
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from models import decoding
from models.codestreams import codestream_size
from models.decoding import decode, has_pixel_data, read
from triage.errors import DicomError, PixelError

IN_PYDICOM = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
    "image_dfl.dcm",
    "examples_overlay.dcm",
    "693_J2KI.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEGLSNearLossless_16.dcm",
]


def agrees_with_pydicom(path: Path) -> None:
    dataset = read(path)
    pixels = decode(dataset)
    expected = pydicom.dcmread(path).pixel_array
    assert pixels.dtype == expected.dtype.newbyteorder("<")
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("name", IN_PYDICOM)
def test_pydicoms_own_files(name: str) -> None:
    agrees_with_pydicom(Path(str(get_testdata_file(name, download=False))))


@pytest.mark.parametrize(
    "path",
    data_files(
        "radiograph/**/*.dcm",
        "syntaxes/*.dcm",
        "damaged/*.dcm",
        "ct/*.dcm",
        "mr/MR_*.dcm",
        "mr/e*.dcm",
        "us/*.dcm",
        "objects/*.dcm",
    ),
)
def test_every_real_file_gives_its_pixels_or_a_reason(path: Path) -> None:
    try:
        dataset = read(path)
        pixels = decode(dataset)
    except DicomError as error:  # PixelError is one
        assert len(str(error)) > 10
        return
    assert pixels.shape == (dataset.Rows, dataset.Columns)
    try:
        expected = pydicom.dcmread(path, force=True).pixel_array
    except (RuntimeError, NotImplementedError, AttributeError):
        return  # pydicom's plug-ins cannot; other tests compare these syntaxes with an uncompressed twin
    np.testing.assert_array_equal(pixels, expected)


REFUSED = {
    "radiograph": set(),
    "syntaxes": {
        "CT0012.fragmented_no_bot_jpeg_baseline.51.dcm",  # two frames
        "GDCMJ2K_TextGBR.dcm", "HTJ2KLossless_08_RGB.dcm", "HTJ2K_08_RGB.dcm", "SC_jpeg_no_color_transform.dcm",
        "SC_rgb_dcmtk_+eb+cy+s4.dcm", "SC_rgb_gdcm_KY.dcm", "SC_rgb_jpeg_gdcm.dcm", "will-jxl.dcm",  # colour
        "liver_deflate.dcm", "liver_rle.dcm",  # one bit
    },
}  # fmt: skip


@pytest.mark.parametrize("folder", sorted(REFUSED))
def test_no_grey_image_is_refused(test_data: Path, folder: str) -> None:
    refused = set()
    for path in sorted((test_data / folder).glob("**/*.dcm")):
        try:
            decode(read(path))
        except PixelError:
            refused.add(path.name)
    assert refused == REFUSED[folder]


@pytest.mark.parametrize("syntax", ["1.99", "1", "2", "4.57", "4.70", "4.80", "4.90", "5"])
def test_lossless_syntaxes_equal_the_uncompressed_twin(test_data: Path, syntax: str) -> None:
    folder = test_data / "syntaxes"
    expected = decode(read(folder / "CTImage_1.2.840.10008.1.2.dcm"))
    ours = decode(read(folder / f"CTImage_1.2.840.10008.1.2.{syntax}.dcm"))
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.peer
@pytest.mark.parametrize(
    "path",
    data_files(
        *(f"syntaxes/CTImage_1.2.840.10008.1.2.4.{syntax}.dcm" for syntax in (50, 51, 53, 55, 57, 70)),
        "syntaxes/MR4_JPLY.dcm",
        "syntaxes/JPGExtended.dcm",
        "radiograph/CR-ModalitySequenceLUT.dcm",
        "ct/CT1_JPLL.dcm",
    ),
)
def test_jpeg_equals_dcmtk(path: Path, tmp_path: Path) -> None:
    if shutil.which("dcmdjpeg") is None:
        pytest.skip("dcmdjpeg of DCMTK is not installed")
    plain = tmp_path / "plain.dcm"
    subprocess.run(["dcmdjpeg", str(path), str(plain)], check=True, capture_output=True)
    difference = decode(read(path)).astype(np.int64) - decode(read(plain)).astype(np.int64)
    # Lossless is exact; the lossy inverse transforms of two libraries may round differently.
    lossless = path.stem.endswith(("57", "70", "JPLL", "SequenceLUT"))
    assert np.abs(difference).max() <= (0 if lossless else 2)


# --- made here: every codec, every depth ---


EMPTY_ITEM = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"  # here the Basic Offset Table (PS3.5 A.4)
END = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


def compressed(pixels: NDArray[Any], syntax: str, frame: bytes, **elements: Any) -> Dataset:
    dataset = make_dataset(pixels, **elements)
    padded = frame + b"\x00" * (len(frame) % 2)
    dataset.PixelData = b"".join((EMPTY_ITEM, EMPTY_ITEM[:4], len(padded).to_bytes(4, "little"), padded, END))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    return dataset


def rle(pixels: NDArray[Any]) -> bytes:
    dataset = make_dataset(pixels)
    dataset.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    dataset.compress(uid.RLELossless, generate_instance_uid=False)
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


Encoder = Callable[[NDArray[Any]], bytes]
ENCODERS: dict[str, Encoder] = {
    uid.RLELossless: rle,
    uid.JPEGLosslessSV1: lambda a: bytes(imagecodecs.ljpeg_encode(a)),
    uid.JPEGLSLossless: lambda a: bytes(imagecodecs.jpegls_encode(a)),
    uid.JPEG2000Lossless: lambda a: bytes(imagecodecs.jpeg2k_encode(a, level=0, codecformat="j2k", reversible=True)),
    uid.HTJ2KLossless: lambda a: bytes(imagecodecs.htj2k_encode(a, reversible=True)),
}
CODESTREAMS = [syntax for syntax in ENCODERS if syntax != uid.RLELossless]


def noise(rows: int, columns: int, dtype: str, bits: int, seed: int = 5) -> NDArray[Any]:
    smooth = np.add.outer(np.arange(rows) * 3, np.arange(columns) * 2)
    values = smooth + np.random.default_rng(seed).integers(0, 40, (rows, columns))
    return (values % (1 << bits)).astype(dtype)


@pytest.mark.parametrize("syntax", ENCODERS)
@given(
    st.integers(16, 60), st.integers(16, 60), st.sampled_from([("u1", 8), ("u2", 12), ("u2", 16)]), st.integers(0, 99)
)
def test_what_is_encoded_comes_back(syntax: str, rows: int, columns: int, kind: tuple[str, int], seed: int) -> None:
    pixels = noise(rows, columns, *kind, seed)
    dataset = compressed(pixels, syntax, ENCODERS[syntax](pixels), bits_stored=kind[1])
    np.testing.assert_array_equal(decode(dataset), pixels)


@pytest.mark.parametrize("syntax", ENCODERS)
def test_signed_values_come_back(syntax: str) -> None:
    signed = noise(40, 30, "i2", 12) - np.int16(2048)
    words = signed.view(np.uint16) & 0x0FFF if syntax in CODESTREAMS else signed.view(np.uint16)
    dataset = compressed(signed, syntax, ENCODERS[syntax](words), bits_stored=12)
    np.testing.assert_array_equal(decode(dataset), signed)


@pytest.mark.parametrize("syntax", CODESTREAMS)
@given(keep=st.floats(0.0, 0.99))
def test_cut_off_codestream_is_never_an_image(syntax: str, keep: float) -> None:
    pixels = noise(48, 40, "u2", 16)
    frame = ENCODERS[syntax](pixels)
    with pytest.raises(PixelError):
        decode(compressed(pixels, syntax, frame[: int(len(frame) * keep)]))


@given(st.integers(0, 400), st.integers(0, 255))
def test_altered_rle_gives_pixels_or_a_reason(position: int, value: int) -> None:
    pixels = noise(48, 40, "u2", 16)
    frame = bytearray(rle(pixels))
    frame[position] = value
    try:
        assert decode(compressed(pixels, uid.RLELossless, bytes(frame))).shape == pixels.shape
    except PixelError as error:
        assert str(error)


@pytest.mark.parametrize(
    "header", [(0,), (1, 64), (3, 64, 80, 90), (2, 64, 0), (2, 64, 64), (2, 0, 64), (2, 64, 2**31), (16,)]
)
def test_damaged_rle_header_is_refused(header: tuple[int, ...]) -> None:
    """imagecodecs trusts these numbers: without our check some of them end the process."""
    pixels = noise(48, 40, "u2", 16)
    words = np.zeros(16, "<u4")
    words[: len(header)] = header
    with pytest.raises(PixelError, match="RLE header"):
        decode(compressed(pixels, uid.RLELossless, words.tobytes() + rle(pixels)[64:]))


@pytest.mark.parametrize("syntax", CODESTREAMS)
def test_codestream_of_another_size_is_refused_before_decoding(syntax: str) -> None:
    dataset = compressed(noise(48, 40, "u2", 16), syntax, ENCODERS[syntax](noise(48, 41, "u2", 16)))
    with pytest.raises(PixelError, match="48 x 41"):
        decode(dataset, lambda _: pytest.fail("a decoder was called"))


@pytest.mark.parametrize("syntax", CODESTREAMS)
def test_size_is_read_from_the_header(syntax: str) -> None:
    size = codestream_size(ENCODERS[syntax](noise(48, 41, "u2", 16)))
    assert (size.rows, size.columns, size.samples, size.precision) == (48, 41, 1, 16)


def test_tile_bomb_is_refused() -> None:
    frame = bytearray(ENCODERS[uid.JPEG2000Lossless](np.zeros((4000, 4000), np.uint8)))
    frame[24:32] = (1).to_bytes(4, "big") * 2  # XTsiz and YTsiz: sixteen million tiles
    with pytest.raises(PixelError, match="tiles"):
        decode(compressed(np.zeros((4000, 4000), np.uint8), uid.JPEG2000Lossless, bytes(frame)))


def test_uncompressed_data_under_a_compressed_label() -> None:
    pixels = noise(48, 40, "u2", 16)
    with pytest.raises(PixelError, match="not a codestream"):
        decode(compressed(pixels, uid.JPEG2000Lossless, pixels.tobytes()))


def test_compressed_label_without_encapsulation() -> None:
    dataset = make_dataset(noise(48, 40, "u2", 16))
    dataset.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
    with pytest.raises(PixelError):
        decode(dataset)


def test_empty_fragment() -> None:
    with pytest.raises(PixelError):
        decode(compressed(noise(48, 40, "u2", 16), uid.JPEGLSLossless, b""))


def test_frame_in_many_fragments() -> None:
    pixels = noise(48, 40, "u2", 16)
    dataset = compressed(pixels, uid.JPEGLSLossless, b"")
    frame = ENCODERS[uid.JPEGLSLossless](pixels)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=len(frame) // 2, has_bot=False)
    np.testing.assert_array_equal(decode(dataset), pixels)


# --- native ---


def test_overlay_bits_are_cleared() -> None:
    values = noise(20, 20, "u2", 12)
    np.testing.assert_array_equal(decode(make_dataset(values | 0x5000, bits_stored=12)), values)


def test_sign_is_extended_over_unused_bits() -> None:
    values = noise(20, 20, "i2", 12) - np.int16(2048)
    dirty = (values.view(np.uint16) & 0x0FFF).view(np.int16)
    np.testing.assert_array_equal(decode(make_dataset(dirty, bits_stored=12)), values)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4"])
def test_big_endian(dtype: str, tmp_path: Path) -> None:
    pixels = noise(21, 20, dtype, 8)
    dataset = make_dataset(pixels)
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    np.testing.assert_array_equal(decode(dataset), pixels)


def test_big_endian_bytes_in_words() -> None:
    pixels = noise(20, 20, "u1", 8)
    dataset = make_dataset(pixels)
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    dataset.PixelData = pixels.reshape(-1, 2)[:, ::-1].tobytes()
    dataset["PixelData"].VR = "OW"
    np.testing.assert_array_equal(decode(dataset), pixels)


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian]
)
def test_file_there_and_back(syntax: uid.UID, tmp_path: Path) -> None:
    pixels = noise(50, 40, "u2", 14)
    dataset = make_dataset(pixels, bits_stored=14)
    dataset.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "image.dcm"
    dataset.save_as(path, enforce_file_format=True)
    again = read(path)
    np.testing.assert_array_equal(decode(again), pixels)
    assert again.SOPInstanceUID == dataset.SOPInstanceUID


def test_file_without_meta_information(tmp_path: Path) -> None:
    pixels = noise(50, 40, "u2", 14)
    path = tmp_path / "image.dcm"
    dataset = make_dataset(pixels)
    del dataset.file_meta
    dataset.save_as(path, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(decode(read(path)), pixels)


def test_deflated_bomb_is_not_unfolded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(np.zeros((500, 500), np.uint8))
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    path = tmp_path / "bomb.dcm"
    dataset.save_as(path, enforce_file_format=True)
    monkeypatch.setattr(decoding, "MAX_INFLATED_BYTES", 100_000)
    with pytest.raises(DicomError, match="unfolds"):
        read(path)


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"\x00" * 200, b"<html>" * 100, b"\x00" * 128 + b"DICM" + b"\xff" * 64]
)
def test_files_that_are_not_dicom(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    try:
        dataset = read(path)
    except DicomError:
        return
    assert not has_pixel_data(dataset)
    with pytest.raises(PixelError):
        decode(dataset)


def test_trailing_bytes_are_padding() -> None:
    pixels = noise(20, 20, "u1", 8)
    dataset = make_dataset(pixels)
    dataset.PixelData += b"\x00" * 10
    np.testing.assert_array_equal(decode(dataset), pixels)


@pytest.mark.parametrize("encapsulated", [False, True])
def test_more_pixel_data_than_any_picture_has_is_not_even_read(encapsulated: bool, tmp_path: Path) -> None:
    pixels = noise(20, 20, "u1", 8)
    dataset = compressed(pixels, uid.JPEGLSLossless, bytes(3 << 20)) if encapsulated else make_dataset(pixels)
    if not encapsulated:
        dataset.PixelData = bytes(3 << 20)
    path = tmp_path / "image.dcm"
    dataset.save_as(path, enforce_file_format=True)
    again = read(path)
    assert has_pixel_data(again)
    with pytest.raises(PixelError, match="more pixel data"):
        decode(again)
    assert again.get_item("PixelData", keep_deferred=True).value is None


@pytest.mark.parametrize(
    ("elements", "word"),
    [
        ({"Rows": 0}, "0 x 20"),
        ({"Rows": 65535, "Columns": 65535}, "65535 x 65535"),
        ({"Rows": [20, 20]}, "Rows"),
        ({"Columns": None}, "Columns"),
        ({"Rows": 21}, "cut off"),
        ({"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11}, "Bits Allocated 12"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "one bit per pixel"),
        ({"BitsStored": 20, "HighBit": 19}, "Bits Stored 20"),
        ({"BitsStored": 0}, "Bits Stored 0"),
        ({"HighBit": 16}, "High Bit"),
        ({"HighBit": 3}, "High Bit"),
        ({"PixelRepresentation": 7}, "Pixel Representation"),
        ({"SamplesPerPixel": 3}, "sample"),
        ({"NumberOfFrames": 2}, "frame"),
        ({"NumberOfFrames": -1}, "frame"),
        ({"NumberOfFrames": 10**9}, "frame"),
        ({"PhotometricInterpretation": "FOO"}, "Photometric"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "Photometric"),
        ({"PhotometricInterpretation": None}, "Photometric"),
        ({"PixelData": b""}, "no pixel data"),
    ],
)
def test_contradicting_attributes(elements: dict[str, Any], word: str) -> None:
    dataset = make_dataset(noise(20, 20, "u2", 16), **elements)
    with pytest.raises(PixelError, match=word):
        decode(dataset)


@pytest.mark.parametrize(
    "syntax",
    ["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.1", "1.2.3.4"],
)
def test_syntax_without_decoder(syntax: str) -> None:
    dataset = compressed(noise(20, 20, "u2", 16), syntax, b"\xff\xd8\xff\xd9")
    with pytest.raises(PixelError, match="transfer syntax"):
        decode(dataset)


def test_error_texts_hold_no_patient_data(test_data: Path) -> None:
    for path in sorted((DATA / "damaged").glob("*.dcm")):
        try:
            dataset = read(path)
            decode(dataset)
        except DicomError as error:
            name = pydicom.dcmread(path, force=True).get("PatientName")
            assert not name or str(name) not in str(error)
