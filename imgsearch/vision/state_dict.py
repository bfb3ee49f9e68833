"""Files of weights, read without torch: arrays and nothing else.

A file that ``torch.save`` wrote is a pickle with raw numbers beside it. Unpickling runs whatever a file says, so
nothing is unpickled here: a small interpreter knows the opcodes that a dict of tensors needs, makes dicts, lists,
tuples, texts, numbers and tensors of them, and refuses all else. It never calls what a file names.
"""

from __future__ import annotations

import io
import math
import pickletools
import sys
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from imgsearch.errors import InvalidModel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["State", "read_state_dict"]

State = dict[str, "npt.NDArray[np.generic]"]
"""Arrays by their names, in the file's order."""

LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
"""First pickle of a file that a torch before 1.6 wrote."""
LEGACY_PROTOCOL: Final = 1001
ZIP_MAGIC: Final = b"PK\x03\x04"
BFLOAT16: Final = "bfloat16"

STORAGES: Final = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch BFloat16Storage": BFLOAT16,
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "|i1",
    "torch ByteStorage": "|u1",
    "torch BoolStorage": "|b1",
}
"""What a file calls the kinds of numbers, and how NumPy does."""
TENSOR: Final = "torch._utils _rebuild_tensor_v2"
PARAMETER: Final = "torch._utils _rebuild_parameter"
ORDERED: Final = "collections OrderedDict"
NAMES: Final = frozenset((*STORAGES, TENSOR, PARAMETER, ORDERED))
"""All that a file may name."""


class _Refused(Exception):
    """The file is not what can be read here; the message says why."""


@dataclass(frozen=True, slots=True)
class _Name:
    """Something that the file names; it stands for itself and is never called."""

    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    """A row of numbers that lies elsewhere in the file."""

    key: str
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A part of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: Path) -> State:
    """The tensors of a file that ``torch.save`` or safetensors wrote, or of its key ``state_dict``, if it has one.

    Args:
        path: ``.safetensors``, else a file of torch's, of any version.

    Returns:
        Arrays by name; numbers in bfloat16 come as float32.

    Raises:
        InvalidModel: it cannot be read, names something that is no tensor, or is no dict of tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return dict(load_file(path))
        with path.open("rb") as file:
            state, storages = (_read_zip if file.read(4) == ZIP_MAGIC else _read_legacy)(file)
    except _Refused as error:
        raise InvalidModel(f"the weights {path} cannot be read: {error}") from None
    except Exception as error:  # the readers of zips, pickles and safetensors raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidModel(f"the weights {path} cannot be read: {reason}") from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise InvalidModel(f"the weights {path} are not a state dict")
    try:
        return {name: _array(tensor, storages) for name, tensor in state.items()}
    except _Refused as error:
        raise InvalidModel(f"the weights {path} do not fit: {error}") from None


def _read_zip(file: BinaryIO) -> tuple[object, Mapping[str, npt.NDArray[np.generic]]]:
    """What is pickled, and the storages that it speaks of, of a file of torch 1.6 or later."""
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise _Refused("it is a zip, and none that torch.save wrote")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise _Refused("it is compressed, which torch.save does not do")
        if sum(member.file_size for member in members.values()) > file.seek(0, io.SEEK_END):
            raise _Refused("its parts overlap")
        root = pickles[0].removesuffix("data.pkl")
        order = members.get(f"{root}byteorder")
        if order is not None and archive.read(order) != b"little":
            raise _Refused("it was written on a big-endian machine: convert it to safetensors")
        found: dict[str, _Storage] = {}
        state = _interpret(io.BytesIO(archive.read(pickles[0])), found)
        return state, {key: _numbers(archive.read(f"{root}data/{key}"), one) for key, one in found.items()}


def _read_legacy(file: BinaryIO) -> tuple[object, Mapping[str, npt.NDArray[np.generic]]]:
    """Likewise, of a file of an earlier torch: five pickles, then the storages in the order of the last one."""
    file.seek(0)
    found: dict[str, _Storage] = {}
    head = [_interpret(file, {}) for _ in range(2)]
    if head != [LEGACY_MAGIC, LEGACY_PROTOCOL]:
        raise _Refused("torch.save did not write it")
    system = _interpret(file, {})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _Refused("it was written on a big-endian machine: convert it to safetensors")
    state = _interpret(file, found)
    keys = _interpret(file, {})
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(found):
        raise _Refused("its list of storages is not that of its tensors")
    storages = {}
    for key in keys:
        (count,) = np.frombuffer(file.read(8), "<i8")
        if count != found[key].count:
            raise _Refused(f"the storage {key[:40]!a} has another length than its tensors say")
        storages[key] = _numbers(file.read(_bytes(found[key])), found[key])
    return state, storages


def _itemsize(kind: str) -> int:
    return 2 if kind == BFLOAT16 else np.dtype(kind).itemsize


def _bytes(storage: _Storage) -> int:
    return storage.count * _itemsize(storage.kind)


def _numbers(data: bytes, storage: _Storage) -> npt.NDArray[np.generic]:
    if len(data) != _bytes(storage):
        raise _Refused(f"it is cut off: the storage {storage.key[:40]!a} has {len(data)} bytes of {_bytes(storage)}")
    if storage.kind == BFLOAT16:
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(data, storage.kind)


def _array(tensor: object, storages: Mapping[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
    if not isinstance(tensor, _Tensor):
        raise _Refused("not all of its values are tensors")
    numbers = storages[tensor.storage.key]
    if 0 in tensor.shape:
        return np.empty(tensor.shape, numbers.dtype)
    last = tensor.offset + sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=True))
    # As many numbers as there are at most: a stride of 0 would make a file of bytes an array of gigabytes.
    if last >= len(numbers) or math.prod(tensor.shape) > len(numbers):
        raise _Refused("a tensor reaches beyond its storage")
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)


def _interpret(file: BinaryIO, storages: dict[str, _Storage]) -> object:
    """What one pickle describes; the file stands behind it then.

    Args:
        file: stands at its beginning.
        storages: told, by their keys, those that it speaks of.

    Raises:
        _Refused: it needs more than a dict of tensors does.
        ValueError: it is no pickle, or is cut off.
    """
    return _Interpreter(storages).run(file)


class _Interpreter:
    """The part of pickle's virtual machine that tensors need; see ``pickletools`` for what each opcode does."""

    def __init__(self, storages: dict[str, _Storage]) -> None:
        self._storages = storages
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: BinaryIO) -> object:
        for opcode, argument, _place in pickletools.genops(file):
            name = opcode.name
            if name == "STOP":
                break
            step = getattr(self, f"_{name.lower()}", None)
            if name in CONSTANTS:
                self._stack.append(CONSTANTS[name]() if callable(CONSTANTS[name]) else CONSTANTS[name])
            elif name in VALUES:
                self._stack.append(argument)
            elif step is None:
                raise _Refused(f"it holds more than tensors (the pickle's {name})")
            else:
                try:
                    step(argument)
                except (IndexError, KeyError, AttributeError, TypeError):
                    raise _Refused(f"its pickle is broken at {name}") from None
        if len(self._stack) != 1 or self._marks:
            raise _Refused("its pickle is broken at its end")
        return self._stack[0]

    def _above_mark(self) -> list[Any]:
        mark = self._marks.pop()
        values = self._stack[mark:]
        del self._stack[mark:]
        return values

    def _proto(self, version: int) -> None:
        if version > MAX_PROTOCOL:
            raise _Refused(f"its pickle is of version {version}")

    def _frame(self, _size: int) -> None:
        """How much of a stream to read ahead: of no use here."""

    def _mark(self, _none: None) -> None:
        self._marks.append(len(self._stack))

    def _put(self, number: int) -> None:
        self._memo[number] = self._stack[-1]

    def _get(self, number: int) -> None:
        self._stack.append(self._memo[number])

    _binput = _long_binput = _put
    _binget = _long_binget = _get

    def _memoize(self, _none: None) -> None:
        self._put(len(self._memo))

    def _tuple(self, _none: None) -> None:
        self._stack.append(tuple(self._above_mark()))

    def _joined(self, count: int) -> None:
        values = tuple(self._stack[-count:])
        if len(values) != count:
            raise IndexError
        self._stack[-count:] = [values]

    def _tuple1(self, _none: None) -> None:
        self._joined(1)

    def _tuple2(self, _none: None) -> None:
        self._joined(2)

    def _tuple3(self, _none: None) -> None:
        self._joined(3)

    def _append(self, _none: None) -> None:
        value = self._stack.pop()
        self._list().append(value)

    def _appends(self, _none: None) -> None:
        values = self._above_mark()
        self._list().extend(values)

    def _list(self) -> list[Any]:
        if type(self._stack[-1]) is not list:
            raise TypeError
        return self._stack[-1]

    def _setitem(self, _none: None) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def _setitems(self, _none: None) -> None:
        self._set(self._above_mark())

    def _set(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict:
            raise TypeError
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | int):  # of a tuple of tuples of tuples, a hash takes for ever
                raise _Refused("a dict of it has keys that are no names")
            target[key] = value

    def _global(self, name: str) -> None:
        if name not in NAMES:
            raise _Refused(f"it names {name.replace(' ', '.')[:80]!a}, which is no tensor")
        self._stack.append(_Name(name))

    def _stack_global(self, _none: None) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._global(f"{module} {name}")

    def _reduce(self, _none: None) -> None:
        values, callee = self._stack.pop(), self._stack.pop()
        name = callee.name if isinstance(callee, _Name) else None
        if name == ORDERED and values == ():
            self._stack.append({})
        elif name == TENSOR:
            self._stack.append(_tensor(*values[:4]))
        elif name == PARAMETER and isinstance(values[0], _Tensor):
            self._stack.append(values[0])
        else:
            raise _Refused("it calls something that makes no tensor")

    def _build(self, _none: None) -> None:
        """Attributes of a dict, such as the versions of modules: of no use here."""
        self._stack.pop()
        if type(self._stack[-1]) is not dict:
            raise TypeError

    def _binpersid(self, _none: None) -> None:
        values = self._stack.pop()
        what, kind, key, _device, count = values[:5]
        if what != "storage" or not isinstance(kind, _Name) or kind.name not in STORAGES or not isinstance(key, str):
            raise _Refused("a storage of it is none")
        if len(values) > 5 and values[5] is not None:
            raise _Refused("it has views of storages, as torch before 0.4 wrote them: save it again")
        storage = _Storage(key, STORAGES[kind.name], _natural(count))
        if self._storages.setdefault(key, storage) != storage:
            raise _Refused(f"the storage {key[:40]!a} has two kinds or lengths")
        self._stack.append(storage)


def _tensor(storage: object, offset: object, shape: object, strides: object) -> _Tensor:
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise TypeError
    if len(shape) != len(strides) or len(shape) > MAX_AXES:
        raise TypeError
    return _Tensor(storage, _natural(offset), tuple(map(_natural, shape)), tuple(map(_natural, strides)))


def _natural(value: object) -> int:
    if type(value) is not int or not 0 <= value < sys.maxsize // 16:
        raise TypeError
    return value


MAX_AXES: Final = 8
MAX_PROTOCOL: Final = 5
CONSTANTS: Final[dict[str, Any]] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
VALUES: Final = frozenset(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"))
