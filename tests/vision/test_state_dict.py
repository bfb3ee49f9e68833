"""Reading files of weights without torch.

Contract: what torch reads as tensors is read with the same names, order, kinds and bits, whichever version wrote it; a
file that names, calls or holds anything else is an ``InvalidModel`` in one line. No file runs code, takes more memory
than a few times its own size, or takes for ever.
"""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import InvalidModel
from imgsearch.vision.model_weights import weights_file
from imgsearch.vision.models import EMBEDDED_MODELS
from imgsearch.vision.state_dict import LEGACY_MAGIC, LEGACY_PROTOCOL, read_state_dict

if TYPE_CHECKING:
    from pathlib import Path

SINGLE = [name for name, record in EMBEDDED_MODELS.items() if not record.joined]


def equal(path: Path, expected: dict[str, torch.Tensor]) -> None:
    found = read_state_dict(path)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


@pytest.mark.parametrize("name", SINGLE)
def test_the_embedded_weights(name: str) -> None:
    """They were written by a torch before 1.6."""
    path = weights_file(EMBEDDED_MODELS[name])
    assert path is not None
    equal(path, torch.load(path, weights_only=True))


@pytest.mark.parametrize("as_zip", [True, False])
def test_every_kind_of_number_and_order_of_axes(as_zip: bool, tmp_path: Path) -> None:
    kinds = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16)
    whole = torch.arange(240).reshape(2, 3, 5, 8)
    state = {str(kind): whole.to(kind) for kind in (*kinds, torch.int8, torch.uint8, torch.bool)}
    state |= {
        "turned": whole.float().permute(3, 0, 2, 1),
        "a part": whole.float()[1:, :, 2:4],
        "channels last": whole.float().contiguous(memory_format=torch.channels_last),
        "a number": torch.tensor(7),
        "nothing": torch.zeros(0, 4),
        "a parameter": torch.nn.Parameter(whole.float(), requires_grad=False),
    }
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=as_zip)
    equal(tmp_path / "w.pth", state)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_checkpoint(as_zip: bool, tmp_path: Path) -> None:
    """Below ``state_dict``, with numbers, texts and lists beside it."""
    state = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5), torch.nn.BatchNorm2d(4)).state_dict()
    checkpoint = {"epoch": 90, "best": 0.75, "name": "né", "steps": [1, (2, None), {}], "state_dict": state}
    torch.save(checkpoint, tmp_path / "w.pth", _use_new_zipfile_serialization=as_zip)
    equal(tmp_path / "w.pth", state)


# Hostile files


class Calls:
    """What pickle runs when it reads it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def global_(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


STORAGE = b"(" + text("storage") + global_("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x04tQ"
REBUILD = global_("torch._utils", "_rebuild_tensor_v2")


def tensor(offset: bytes = b"K\x00", shape: bytes = b"K\x04\x85", strides: bytes = b"K\x01\x85") -> bytes:
    return (
        REBUILD + b"(" + STORAGE + offset + shape + strides + b"\x89" + global_("collections", "OrderedDict") + b")RtR"
    )


def state_of(value: bytes, key: bytes = text("a")) -> bytes:
    return b"\x80\x02}" + key + value + b"s."


HUGE = b"\x8a\x05\x00\x00\x00\x00\x10"
NESTED = b")" + b"".join(b"2\x86" for _ in range(60))
HOSTILE: dict[str, bytes] = {
    "a command": pickle.dumps({"a": Calls(os.system, "touch ran")}, 2),
    "a command by name and module": pickle.dumps({"a": Calls(os.system, "touch ran")}, 4),
    "eval": pickle.dumps({"a": Calls(eval, "open('ran', 'w')")}, 2),
    "getattr": pickle.dumps({"a": Calls(getattr, "text", "join")}, 2),
    "torch's own loader": state_of(global_("torch.storage", "_load_from_bytes") + b"(U\x00tR"),
    "a name below an allowed one": state_of(global_("collections", "OrderedDict.fromkeys") + b"(tR"),
    "an extension's number": state_of(b"\x82\x01"),
    "an instance": state_of(b"(ios\nsystem\n"),
    "an object": state_of(b"(" + global_("collections", "OrderedDict") + b"o"),
    "new": state_of(global_("collections", "OrderedDict") + b")\x81"),
    "a call of a kind of numbers": state_of(global_("torch", "FloatStorage") + b")R"),
    "a dict from values": state_of(global_("collections", "OrderedDict") + b"](K\x01K\x02e\x85R"),
    "attributes of a name": state_of(REBUILD + b"}" + text("__code__") + b"Nsb"),
    "attributes of a tensor": state_of(tensor() + b"}" + text("shape") + b"Nsb"),
    "a place in memory for ever": state_of(b"Kr\xff\xff\xff\x7f"),
    "what was never kept": state_of(b"h\x07"),
    "keys that take for ever": state_of(b"K\x01", NESTED),
    "an endless text": state_of(b"X\xff\xff\xff\x7f"),
    "an endless number": state_of(b"\x8b\xff\xff\xff\x7f"),
    "nothing but a mark": b"\x80\x02(.",
    "an empty stack": b"\x80\x02.",
    "no end": b"\x80\x02}",
    "a later version": b"\x80\x09}.",
    "a tensor behind its numbers": state_of(tensor(offset=b"K\x01")),
    "a tensor longer than its numbers": state_of(tensor(shape=b"K\x05\x85")),
    "one number many times": state_of(tensor(shape=HUGE + b"\x85", strides=b"K\x00\x85")),
    "a negative offset": state_of(tensor(offset=b"J\xff\xff\xff\xff")),
    "negative strides": state_of(tensor(strides=b"J\xff\xff\xff\xff\x85")),
    "a length that is true": state_of(tensor(shape=b"\x88\x85")),
    "more strides than axes": state_of(tensor(strides=b"K\x01K\x01\x86")),
    "a storage with two lengths": state_of(tensor() + tensor().replace(b"K\x04tQ", b"K\x05tQ") + b"\x86"),
    "a name over two lines": state_of(text("os\nos") + text("sys\ntem") + b"\x93"),
    "a name that is no text": state_of(b"X\x03\x00\x00\x00\xed\xa0\x80" + text("x") + b"\x93"),
    "a storage of no kind": state_of(tensor().replace(b"FloatStorage", b"CudaStorage")),
    "a tensor without a storage": state_of(tensor().replace(STORAGE, b"K\x01")),
}


def write_zip(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", np.arange(4, dtype="<f4").tobytes())


def write_legacy(path: Path, pickled: bytes) -> None:
    head = (LEGACY_MAGIC, LEGACY_PROTOCOL, {"little_endian": True})
    numbers = struct.pack("<q", 4) + np.arange(4, dtype="<f4").tobytes()
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + pickled + pickle.dumps(["0"], 2) + numbers)


WRITERS = {"zip": write_zip, "legacy": write_legacy}


@pytest.mark.parametrize("writer", WRITERS)
def test_the_builders_of_hostile_files_build_good_ones(writer: str, tmp_path: Path) -> None:
    WRITERS[writer](tmp_path / "w.pth", state_of(tensor()))
    assert read_state_dict(tmp_path / "w.pth")["a"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_pickles_are_refused(what: str, writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    WRITERS[writer](tmp_path / "w.pth", HOSTILE[what])
    with pytest.raises(InvalidModel, match=r"cannot be read|do not fit") as caught:
        read_state_dict(tmp_path / "w.pth")
    assert "\n" not in caught.value.message
    assert caught.value.message.encode()
    assert len(caught.value.message) < 300 + len(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_hostile_zips_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    write_zip(path, state_of(tensor()), zipfile.ZIP_DEFLATED)
    with pytest.raises(InvalidModel, match="compressed"):
        read_state_dict(path)
    write_zip(path, state_of(tensor()))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"little", b"bigger"))
    with pytest.raises(InvalidModel, match="cannot be read"):
        read_state_dict(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("elsewhere.txt", "no model")
    with pytest.raises(InvalidModel, match=r"none that torch\.save wrote"):
        read_state_dict(path)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_file_that_is_cut_off_is_refused_wherever_that_is(as_zip: bool, tmp_path: Path) -> None:
    torch.save(OrderedDict(a=torch.arange(9.0)), tmp_path / "whole.pth", _use_new_zipfile_serialization=as_zip)
    whole = (tmp_path / "whole.pth").read_bytes()
    for length in range(0, len(whole) - 1, 7):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(InvalidModel):
            read_state_dict(tmp_path / "cut.pth")


@given(where=st.integers(0, 10_000), value=st.integers(0, 255))
def test_any_other_byte_is_refused_or_changes_numbers_only(
    where: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing but InvalidModel is ever raised."""
    path = tmp_path_factory.getbasetemp() / "changed.pth"
    write_legacy(path, state_of(tensor()))
    changed = bytearray(path.read_bytes())
    changed[where % len(changed)] = value
    path.write_bytes(changed)
    try:
        found = read_state_dict(path)
    except InvalidModel:
        return
    assert sum(array.size for array in found.values()) <= 4
