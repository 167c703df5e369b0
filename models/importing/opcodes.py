"""A pickle read as data. Nothing is imported, called or built.

PyTorch checkpoints are pickles, and unpickling a file runs whatever program it holds. Here the opcodes
(:func:`pickletools.genops`, which only splits bytes) drive a machine that knows dict, list, tuple, str, int, float,
bool, None, tensors as plain records over numbered storages, and objects of any class as the name of the class with
the values that were saved of it: a pickled network is a tree of those. What a pickle would have *called*, beyond the
makers of tensors and values, ends the reading, with its name and the byte where it stands.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from mmap import mmap
from typing import IO, Any, cast

from triage.errors import ForeignModelError

_MOST_OPCODES = 4_000_000
_TENSOR_MAKERS = frozenset(
    {
        "torch._utils _rebuild_tensor",  # torch before 0.4
        "torch._utils _rebuild_tensor_v2",
    }
)
_PARAMETER_MAKER = "torch._utils _rebuild_parameter"
_ORDERED_DICT = "collections OrderedDict"
STORAGES: Mapping[str, str] = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch BFloat16Storage": "bfloat16",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "|i1",
    "torch ByteStorage": "|u1",
    "torch BoolStorage": "|b1",
}
"""Type of a storage → numpy's name for its elements, or "bfloat16"."""
_SETS = frozenset(f"{module} {name}" for module in ("builtins", "__builtin__") for name in ("set", "frozenset"))
_VALUES = frozenset(
    {
        *(f"numpy.{core}.multiarray {name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
        "numpy dtype",
        "_codecs encode",
        "functools partial",
        "torch Size",
        "torch device",
        "torch.nn.backends.thnn _get_thnn_function_backend",  # in every layer before torch 1.3
    }
)
"""Calls that make a value nobody needs here: what is left of one is its name."""
_MAKERS = _TENSOR_MAKERS | {_PARAMETER_MAKER, _ORDERED_DICT}
_ADVICE = (
    "The file would call functions, which weights do not need. Only where you trust its source: load it with its own "
    "library in an isolated environment, torch.save(model.state_dict(), path), and import that file."
)


@dataclass(frozen=True, slots=True)
class StorageRecord:
    """A block of numbers that lies elsewhere in the file: its key and its number of elements."""

    kind: str
    key: str
    elements: int


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A tensor as the pickle describes it, in elements of its storage; nothing is checked yet."""

    storage: StorageRecord
    offset: object
    shape: object
    stride: object


@dataclass(slots=True, eq=False)
class ObjectRecord:
    """An object that the pickle describes: the name of its class ("module Class") and its attributes, as saved."""

    kind: str
    attributes: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Name:
    """A global, as a word."""

    text: str


def read_pickle(stream: BytesIO | mmap, where: str) -> Any:
    """The one object of a pickle; the stream is left behind its STOP.

    Parameters
    ----------
    stream : BytesIO or mmap
        At the first byte of the pickle. No other file: its ``read`` would make room for any length that is asked for.
    where : str
        For messages: the file and the part of it.

    Raises
    ------
    ForeignModelError
        The pickle would call something outside the whitelist, is cut short or makes no sense.
    """
    machine = _Machine(where)
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(cast("IO[bytes]", stream))):
            if count > _MOST_OPCODES:
                raise ForeignModelError(f"{where} has more than {_MOST_OPCODES} steps; a list of weights needs fewer.")
            machine.step(opcode.name, argument, position or 0)
        return machine.result()
    except ForeignModelError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        # The machine trusts nothing: a pickle that pops an empty stack or uses a list as a key ends here.
        raise ForeignModelError(
            f"{where} is no readable pickle ({type(error).__name__}).",
            next_step="The file is damaged or was written by something else: fetch it again, compare its checksum.",
        ) from error


_Handler = Callable[["_Machine", Any], None]


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._position = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any, position: int) -> None:
        self._position = position
        handler = _HANDLERS.get(name)
        if handler is None:
            raise self._refuse(f"the opcode {name}")
        handler(self, argument)

    def result(self) -> Any:
        (value,) = self._stack
        return value

    def _refuse(self, what: str) -> ForeignModelError:
        return ForeignModelError(
            f"{self._where}, byte {self._position}: {what} is not part of weights; nothing of it was run.",
            next_step=_ADVICE,
        )

    def _marked(self) -> list[Any]:
        """Everything above the last mark, taken off with it."""
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self, _: Any) -> None:
        self._stack.pop()

    def pop_mark(self, _: Any) -> None:
        self._marked()

    def make_tuple(self, _: Any) -> None:
        self.push(tuple(self._marked()))

    def make_list(self, _: Any) -> None:
        self.push(self._marked())

    def make_dict(self, _: Any) -> None:
        items = self._marked()
        self.push(self._dictionary(zip(items[::2], items[1::2], strict=True)))

    def short_tuple(self, size: int) -> None:
        items = tuple(self._stack[-size:])
        if len(items) < size:
            raise IndexError
        del self._stack[-size:]
        self.push(items)

    def append(self, _: Any) -> None:
        item = self._stack.pop()
        self._plain(list).append(item)

    def appends(self, _: Any) -> None:
        items = self._marked()
        self._plain(list).extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._plain(dict).update(self._dictionary([(key, value)]))

    def set_items(self, _: Any) -> None:
        items = self._marked()
        self._plain(dict).update(self._dictionary(zip(items[::2], items[1::2], strict=True)))

    def _dictionary(self, pairs: Iterable[Any] = ()) -> dict[Any, Any]:
        made = {}
        for key, value in pairs:
            if not isinstance(key, str | int | float | None):  # hashing a tuple of a million tuples ends the process
                raise self._refuse(f"a {type(key).__name__} as a key")
            made[key] = value
        return made

    def _plain(self, kind: type) -> Any:
        target = self._stack[-1]
        if isinstance(target, ObjectRecord):
            return kind()  # items of a class of their own, as of a logger's dictionary, are not kept
        if type(target) is not kind:
            raise self._refuse(f"filling a {type(target).__name__} like a {kind.__name__}")
        return target

    def remember(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def recall(self, index: int) -> None:
        self.push(self._memo[index])

    def name(self, text: str) -> None:
        """GLOBAL: "module name", which is not looked up."""
        self.push(_Name(text))

    def stacked_name(self, _: Any) -> None:
        last, module = self._stack.pop(), self._stack.pop()
        self.name(f"{module} {last}")

    def reduce(self, _: Any) -> None:
        """REDUCE would call a function; here a few words have a meaning, and the meaning is a record."""
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise self._refuse("a call of something that is no known word")
        if function.text in _TENSOR_MAKERS:
            storage, offset, shape, stride = arguments[:4]
            if not isinstance(storage, StorageRecord):
                raise self._refuse("a tensor without a storage")
            self.push(TensorRecord(storage, offset, shape, stride))
        elif function.text == _PARAMETER_MAKER and arguments and isinstance(arguments[0], TensorRecord):
            self.push(arguments[0])
        elif function.text == _ORDERED_DICT and len(arguments) <= 1:
            self.push(self._dictionary(*arguments))
        elif function.text in _SETS and len(arguments) <= 1:
            self.push(tuple(arguments[0]) if arguments else ())  # nothing is hashed
        elif function.text in _VALUES:
            self.push(ObjectRecord(function.text))
        else:
            raise self._refuse(f"a call of {function.text.replace(' ', '.')}")

    def new_object(self, _: Any) -> None:
        """NEWOBJ would make an empty object of a class, without its constructor."""
        arguments, kind = self._stack.pop(), self._stack.pop()
        if not isinstance(kind, _Name) or not isinstance(arguments, tuple) or kind.text in _MAKERS:
            raise self._refuse("an object of something that is no class")
        self.push(ObjectRecord(kind.text))

    def build(self, _: Any) -> None:
        """BUILD sets attributes; of an ordered dict these are torch's version numbers, which nobody needs."""
        state, target = self._stack.pop(), self._stack[-1]
        if not isinstance(target, ObjectRecord):
            self._plain(dict)
        elif isinstance(state, dict):
            target.attributes = state

    def storage(self, _: Any) -> None:
        """BINPERSID: ("storage", type, key, device, elements), and a view before torch 1.6."""
        match self._stack.pop():
            case ("storage", _Name(text=kind), str(key), str(), int(elements)) if kind in STORAGES:
                self.push(StorageRecord(kind, key, elements))
            case ("storage", _Name(text=kind), str(key), str(), int(elements), None) if kind in STORAGES:
                self.push(StorageRecord(kind, key, elements))
            case ("module", _Name() as kind, *_):  # before torch 1.6 a class of networks came with its source text
                self.push(kind)
            case _:
                raise self._refuse("a reference to something that is no whole storage")


def _nothing(_: _Machine, __: Any) -> None:
    return


def _constant(value: Any) -> _Handler:
    return lambda machine, _: machine.push(value)


_HANDLERS: Mapping[str, _Handler] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(
        (
            "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE",
            "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING",
        ),
        _Machine.push,
    ),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "MARK": _Machine.mark,
    "TUPLE": _Machine.make_tuple,
    "TUPLE1": lambda machine, _: machine.short_tuple(1),
    "TUPLE2": lambda machine, _: machine.short_tuple(2),
    "TUPLE3": lambda machine, _: machine.short_tuple(3),
    "LIST": _Machine.make_list,
    "DICT": _Machine.make_dict,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.recall),
    "MEMOIZE": _Machine.memoize,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stacked_name,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.storage,
}  # fmt: skip
