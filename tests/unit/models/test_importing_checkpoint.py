"""Checkpoints are read to the last bit, and nothing that they hold is ever run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from models.importing.checkpoint import read
from models.importing.opcodes import read_pickle
from triage.errors import ForeignModelError

LAYOUTS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old layout"])


def small() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 3, 3), norm=nn.BatchNorm2d(3), fc=nn.Linear(3, 2)))


def save(path: Path, content: Any, *, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@LAYOUTS
def test_a_state_dict_is_read_bit_by_bit(tmp_path: Path, zipped: bool) -> None:
    state = small().state_dict()
    held = read(save(tmp_path / "m.pt", state, zipped=zipped))
    assert list(held.tensors) == list(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(held.tensors[name], tensor.numpy())
        assert held.tensors[name].dtype == tensor.numpy().dtype


@LAYOUTS
def test_a_training_checkpoint_gives_weights_and_labels(tmp_path: Path, zipped: bool) -> None:
    network = small()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    content = {
        "epoch": 3,
        "best": 0.81,
        "state_dict": nn.DataParallel(network).state_dict(),
        "optimizer": optimizer.state_dict(),
        "classes": ["Effusion", "Normal"],
    }
    held = read(save(tmp_path / "m.pth.tar", content, zipped=zipped))
    assert set(held.tensors) == {f"module.{name}" for name in network.state_dict()}
    assert held.labels == ("Effusion", "Normal")
    assert held.thresholds is None


def test_parameters_and_class_indices(tmp_path: Path) -> None:
    content = {"model": dict(small().named_parameters()), "class_to_idx": {"sick": 1, "healthy": 0}}
    held = read(save(tmp_path / "m.pt", content))
    assert len(held.tensors) == 6
    assert held.labels == ("healthy", "sick")


@LAYOUTS
def test_views_keep_their_order_and_bfloat16_its_value(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    content = {
        "t": base.t(),
        "s": base[1:, ::2],
        "b": base.to(torch.bfloat16),
        "h": base.half(),
        "e": torch.empty(0, 3),
    }
    held = read(save(tmp_path / "m.pt", content, zipped=zipped)).tensors
    np.testing.assert_array_equal(held["t"], base.numpy().T)
    np.testing.assert_array_equal(held["s"], base.numpy()[1:, ::2])
    np.testing.assert_array_equal(held["b"], base.numpy())
    assert held["h"].dtype == np.float16
    assert held["e"].shape == (0, 3)


def test_safetensors(tmp_path: Path) -> None:
    state = small().state_dict()
    save_file(state, tmp_path / "m.safetensors")
    held = read(tmp_path / "m.safetensors").tensors
    assert all(np.array_equal(held[name], tensor.numpy()) for name, tensor in state.items())


def test_safetensors_of_another_type_or_of_none(tmp_path: Path) -> None:
    half = {"w": torch.tensor([1.5, -2.0], dtype=torch.bfloat16), "v": torch.ones(2, dtype=torch.float64)}
    save_file(half, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(read(tmp_path / "m.safetensors").tensors["w"], [1.5, -2.0])
    content = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "m.safetensors").write_bytes(content[:-4])
    with pytest.raises(ForeignModelError, match="cannot be read as safetensors"):
        read(tmp_path / "m.safetensors")


def test_operating_points_are_no_weights(tmp_path: Path) -> None:
    state = small().state_dict() | {"op_threshs": torch.tensor([0.25, float("nan")])}
    held = read(save(tmp_path / "m.pt", state))
    assert held.thresholds is not None
    assert held.thresholds[0] == 0.25
    assert "op_threshs" not in held.tensors
    listed = read(save(tmp_path / "l.pt", {"state_dict": small().state_dict(), "op_threshs": [0.5, 0.125]}))
    assert listed.thresholds == (0.5, 0.125)


def test_a_real_checkpoint(test_data: Path) -> None:
    path = test_data / "weights" / "squeezenet1_1_kermany.pth"
    held = read(path).tensors
    reference = torch.load(path, weights_only=True)
    assert sum(array.size for array in held.values()) == 724_035
    assert all(np.array_equal(held[name], tensor.numpy()) for name, tensor in reference.items())


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def zipped_pickle(path: Path, content: bytes, **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("m/data.pkl", content)
        archive.writestr("m/version", b"3\n")
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    content = pickle.dumps({"state_dict": Evil(marker)}, protocol)
    for name, write in {
        "zip.pt": lambda path: zipped_pickle(path, content),
        "raw.pt": lambda path: path.write_bytes(content),
        "old.pt": lambda path: save(path, {"w": torch.ones(2), "x": Evil(marker)}, zipped=False),
    }.items():
        write(tmp_path / name)
        with pytest.raises(ForeignModelError) as caught:
            read(tmp_path / name)
        if protocol >= 2 or name != "raw.pt":  # a pickle of protocol 0 or 1 alone has no mark to be told by
            assert f"{os.system.__module__}.system" in str(caught.value)
            assert "byte" in str(caught.value)
    assert not marker.exists()


class Saved(nn.Module):
    """A network of a class that the reader has never heard of, with all that people leave in one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small()
        self.twice = self.body.fc
        self.nothing: nn.Module | None = None
        self.register_module("absent", None)
        self.register_buffer("op_threshs", torch.tensor([0.25, 0.75]))
        self.register_buffer("scratch", torch.zeros(5), persistent=False)
        self.register_buffer("none", None)
        self.pathologies = ["Effusion", "Normal"]
        self.settings = Namespace(lr=np.float64(0.1), size=torch.Size([3]), device=torch.device("cpu"), seen={1, 2})
        self.forward_hook = nn.functional.relu


@pytest.fixture
def never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on whoever makes an object of the saved class, or sets its state, fails the test."""

    def made(*_: object) -> None:
        raise AssertionError("an object of the file was made")

    monkeypatch.setattr(Saved, "__new__", made)
    monkeypatch.setattr(Saved, "__setstate__", made)


@LAYOUTS
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("wrapped", [lambda n: n, lambda n: {"epoch": 3, "model": n}], ids=["alone", "wrapped"])
def test_a_pickled_network_is_read_as_its_state_dict(
    tmp_path: Path, zipped: bool, wrapped: Callable[[nn.Module], Any], request: pytest.FixtureRequest
) -> None:
    network = Saved()
    state = network.state_dict()
    save(tmp_path / "m.pt", wrapped(network), zipped=zipped)
    request.getfixturevalue("never_made")
    held = read(tmp_path / "m.pt")
    del state["op_threshs"]
    assert list(held.tensors) == list(state)
    assert all(np.array_equal(held.tensors[name], tensor.numpy()) for name, tensor in state.items())
    assert held.thresholds == (0.25, 0.75)
    assert held.labels == ("Effusion", "Normal")


@pytest.mark.parametrize("name", ["efficientnet_b0", "convnext_tiny", "mobilenet_v3_small", "vit"])
def test_torchvision_networks_saved_whole_are_read(tmp_path: Path, name: str) -> None:
    small_one = {"image_size": 32, "patch_size": 16, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16}
    torch.manual_seed(1)
    models = torchvision.models
    network = models.VisionTransformer(**small_one) if name == "vit" else getattr(models, name)()
    held = read(save(tmp_path / "m.pt", network)).tensors
    assert list(held) == list(network.state_dict())
    assert all(np.array_equal(held[name], tensor.numpy()) for name, tensor in network.state_dict().items())


def test_a_pickled_network_that_would_call_something_is_refused(tmp_path: Path) -> None:
    network = small()
    network.note = Evil(tmp_path / "marker")  # type: ignore[assignment]
    with pytest.raises(ForeignModelError, match=rf"a call of {os.system.__module__}\.system") as caught:
        read(save(tmp_path / "m.pt", network))
    assert "state_dict" in caught.value.next_step
    assert not (tmp_path / "marker").exists()


def test_a_pickled_network_with_something_else_for_a_layer_or_a_tensor(tmp_path: Path) -> None:
    network = small()
    network._modules["fc"] = "a text"  # type: ignore[assignment]
    with pytest.raises(ForeignModelError, match=r"m\.pt: fc cannot be read as a layer"):
        read(save(tmp_path / "m.pt", network))
    network = small()
    network.get_submodule("norm")._buffers["running_mean"] = 3.0  # type: ignore[assignment]
    with pytest.raises(ForeignModelError, match=r"m\.pt: norm\.running_mean is no plain tensor"):
        read(save(tmp_path / "m.pt", network))


@pytest.mark.parametrize("children", [1, 2])
def test_a_pickled_network_without_end_is_refused(tmp_path: Path, children: int) -> None:
    """Below itself for ever; or each layer twice below the one before, which makes a thousand million of thirty."""
    network = innermost = nn.Sequential()
    for _ in range(30):
        above = nn.Sequential()
        for name in range(children):
            above._modules[str(name)] = network
        network = above
    if children == 1:
        innermost._modules["again"] = network
    with pytest.raises(ForeignModelError, match="deep"):
        read(save(tmp_path / "m.pt", network))


def test_torchscript_is_refused_with_the_reason(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", b"")
        archive.writestr("m/code/__torch__.py", "def forward(self): ...")
        archive.writestr("m/constants.pkl", b"")
    with pytest.raises(ForeignModelError, match="TorchScript: a program"):
        read(tmp_path / "m.pt")


def test_a_zip_bomb_is_refused_unopened(tmp_path: Path) -> None:
    bomb = zipped_pickle(tmp_path / "m.pt", b"\0" * (1 << 24), compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 17
    with pytest.raises(ForeignModelError, match=r"data\.pkl is compressed"):
        read(bomb)


def test_overlapping_parts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    zipped_pickle(path, b"\0" * 4096)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"m/version") - 46  # central directory record of the second part
    struct.pack_into("<II", content, entry + 20, 5000, 5000)
    path.write_bytes(content)
    with pytest.raises(ForeignModelError, match="larger than the file"):
        read(path)


@pytest.mark.parametrize("name", ["../data.pkl", "m/../../data.pkl", "m\\data.pkl", "data.pkl", "/m/data.pkl"])
def test_path_tricks_are_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"")
    with pytest.raises(ForeignModelError, match="part named"):
        read(tmp_path / "m.pt")


def test_an_expanded_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ForeignModelError, match=r"w of shape \(1000000, 3\) does not lie inside its storage of 3"):
        read(save(tmp_path / "m.pt", {"w": torch.ones(3).expand(1_000_000, 3)}))


@LAYOUTS
def test_a_checkpoint_cut_short_is_refused(tmp_path: Path, zipped: bool) -> None:
    path = save(tmp_path / "m.pt", small().state_dict(), zipped=zipped)
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ForeignModelError):
            read(path)


@LAYOUTS
def test_a_file_with_bytes_changed_is_read_or_refused(tmp_path: Path, zipped: bool) -> None:
    content = {"state_dict": small().state_dict(), "class_to_idx": {"a": 0}, "op_threshs": [0.5]}
    whole = save(tmp_path / "m.pt", content, zipped=zipped).read_bytes()
    rng = np.random.default_rng(4)
    refusals = 0
    for _ in range(300):
        changed = np.frombuffer(whole, np.uint8).copy()
        changed[rng.integers(0, len(whole), 2)] = rng.integers(0, 256, 2)
        (tmp_path / "m.pt").write_bytes(changed.tobytes())
        try:
            read(tmp_path / "m.pt")
        except ForeignModelError:
            refusals += 1
    assert 100 < refusals < 300


def test_a_length_beyond_the_file_asks_for_no_memory(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"x.")
    with pytest.raises(ForeignModelError, match="no readable pickle"):
        read(tmp_path / "m.pt")


def test_a_damaged_number_is_found_by_its_checksum(tmp_path: Path) -> None:
    state = {"w": torch.full((64,), 3.0)}
    path = save(tmp_path / "m.pt", state)
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<f", 3.0) * 64, struct.pack("<f", 3.5) * 64))
    with pytest.raises(ForeignModelError, match="data/0 is damaged"):
        read(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(tmp_path: Path, value: float) -> None:
    state = small().state_dict()
    state["fc.bias"][1] = value
    with pytest.raises(ForeignModelError, match=r"fc\.bias holds values that are not numbers"):
        read(save(tmp_path / "m.pt", state))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ([1, 2], "holds a list"),
        ({}, "no dictionary of weights"),
        ({"epoch": 1}, "epoch is no tensor"),
        ({"state_dict": {"w": torch.ones(2), "note": "x"}}, "note is no tensor"),
        ({("a", "b"): 1}, "a tuple as a key"),
        ({"w": b"bytes"}, "w is no tensor"),
        (Namespace(a=1), r"holds an object of argparse\.Namespace"),
        ({"w": OSError("x")}, r"a call of builtins\.OSError|a call of __builtin__\.OSError|exceptions"),
    ],
)
def test_what_is_no_state_dict_is_named(tmp_path: Path, content: Any, word: str) -> None:
    with pytest.raises(ForeignModelError, match=word):
        read(save(tmp_path / "m.pt", content))


@pytest.mark.parametrize("content", [b"", b"PK", b"GIF89a" * 10, b"\x80\x02K\x01.", b"\xff" * 100])
def test_what_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(ForeignModelError):
        read(tmp_path / "m.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ForeignModelError, match=r"absent\.pt cannot be read"):
        read(tmp_path / "absent.pt")


def _table_of_contents() -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": small().state_dict(), "epoch": 3}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


CONTENTS = _table_of_contents()


@settings(max_examples=300)
@given(st.integers(0, len(CONTENTS) - 1), st.integers(0, 255))
def test_a_pickle_with_any_byte_changed_is_read_or_refused(position: int, value: int) -> None:
    changed = bytearray(CONTENTS)
    changed[position] = value
    try:
        read_pickle(io.BytesIO(bytes(changed)), "file")
    except ForeignModelError as error:
        assert "file" in str(error)


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        read_pickle(io.BytesIO(content), "file")
    except ForeignModelError as error:
        assert "file" in str(error)
