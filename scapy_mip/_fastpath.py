# SPDX-License-Identifier: GPL-2.0-only
"""Compiled dissection, construction and building of layers, from their `fields_desc`.

Scapy interprets `fields_desc` for every packet: one Python call per field, some twenty
slot assignments per layer, and two helper packets for every element of a packet list. A
registration with its extensions costs 40 to 170 microseconds that way. Here the same
declaration is turned, once per class, into three functions: one `struct` call each way
for the fixed fields, and one dictionary per packet instead of the slots.

The packets stay what Scapy made them: all other behaviour is inherited. Whatever the
compiled code does not know - short input, random, list or raw values, a field type it
has not met, an overridden hook, another Scapy - takes Scapy's own path, and
`tests/wire/test_fastpath.py` holds both paths against each other.
"""

from __future__ import annotations

import functools
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from scapy.base_classes import Packet_metaclass
from scapy.fields import (
    ByteEnumField,
    ByteField,
    Field,
    FlagsField,
    FlagValue,
    IPField,
    RawVal,
    StrLenField,
)
from scapy.packet import NoPayload, Packet
from scapy.utils import inet_aton, inet_ntoa

_KNOWN_SLOTS = {
    "_answered",
    "_pkt",
    "comments",
    "default_fields",
    "direction",
    "explicit",
    "fields",
    "fieldtype",
    "name",
    "original",
    "overload_fields",
    "overloaded_fields",
    "packetfields",
    "parent",
    "payload",
    "post_transforms",
    "process_information",
    "raw_packet_cache",
    "raw_packet_cache_fields",
    "sent_time",
    "sniffed_on",
    "stop_dissection_after",
    "time",
    "underlayer",
    "wirelen",
}

ENABLED = set(Packet.__slots__) == _KNOWN_SLOTS
"""Whether this Scapy is one whose packets are known here; if not, all is stock."""

_DISSECT_KEYWORDS = {"_internal", "_underlayer", "stop_dissection_after"}
_HOOKS = (
    "__setattr__",
    "build",
    "build_done",
    "dissect",
    "dissection_done",
    "do_build",
    "do_build_payload",
    "do_dissect",
    "do_dissect_payload",
    "guess_payload_class",
    "init_fields",
    "post_build",
    "post_dissect",
    "post_dissection",
    "pre_dissect",
    "self_build",
)
"""Methods through which a class may change what is compiled: if one does, it is not."""

_inet_ntoa = functools.lru_cache(4096)(inet_ntoa)  # the same few addresses recur
_no_payload = NoPayload()
_new = object.__new__
_set = object.__setattr__


class Compiled(NamedTuple):
    """What a class was compiled into."""

    size: int
    """Bytes of the fixed fields: less input is not for `dissect`."""
    dissect: Callable[..., Packet]
    """The packet in `data[start:stop]`, all of which belongs to it; `start` and `stop`
    default to the whole. Raises `struct.error` on less than `size` bytes."""
    build: Callable[[Packet], bytes]
    """The bytes of a packet without payload; raises on what it does not know."""
    convert: list[tuple[str, Callable[[Packet, Any], Any]]]
    """Human to internal value for each field, in the order of the declaration."""
    lists: tuple[str, ...]
    """Fields whose default is a list that each packet has for itself."""
    source: str
    """The generated text, for those who want to read it."""


class FastMeta(Packet_metaclass):
    """Gives a class its compiled code when it is first used."""

    def __init__(cls, name: str, bases: tuple[type, ...], dct: dict[str, Any]) -> None:
        super().__init__(name, bases, dct)
        cls._known = False
        cls._compiled: Compiled | None = None
        cls._entry: Callable[[bytes], Packet | None] = functools.partial(
            _first_entry, cls
        )
        if "_overload_fields" in cls.__dict__:
            cls.overload_fields = cls._overload_fields

    def __setattr__(cls, name: str, value: Any) -> None:
        """Follow `bind_layers()`, which changes what packets get as a class value."""
        super().__setattr__(name, value)
        if name == "_overload_fields":
            super().__setattr__("overload_fields", value)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a packet; from bytes alone the compiled way, else as Scapy does."""
        if not args:
            if "_pkt" not in kwargs and cls.compiled() is not None:
                return type.__call__(cls, **kwargs)
        elif (
            type(args[0]) is bytes
            and len(args) == 1
            and ENABLED
            and (not kwargs or _only_dissects(kwargs))
        ):
            try:
                packet = cls._entry(args[0])
            except (struct.error, IndexError, KeyError):
                packet = None  # short, empty, or of an unknown type
            if packet is not None:
                if not kwargs.get("_internal"):
                    packet.__dict__["time"] = time.time()
                if kwargs:
                    packet.__dict__["underlayer"] = kwargs.get("_underlayer")
                return packet
        return super().__call__(*args, **kwargs)

    def compiled(cls) -> Compiled | None:
        """Return the compiled code, or None for a class that has to stay stock."""
        if not ENABLED:
            return None
        if not cls._known:
            cls._known = True
            cls._compiled = _compile(cls)
            cls._entry = _make_entry(cls)
        return cls._compiled


def _only_dissects(kwargs: dict[str, Any]) -> bool:
    """Return whether the keywords are those of a lower layer, with nothing special."""
    return (
        kwargs.keys() <= _DISSECT_KEYWORDS
        and kwargs.get("stop_dissection_after") is None
    )


def _first_entry(cls: FastMeta, data: bytes) -> Packet | None:
    """Compile, then dissect: the entry of a class that has not been used yet."""
    cls.compiled()
    return cls._entry(data)


def _make_entry(cls: Any) -> Callable[[bytes], Packet | None]:
    """Return the way from bytes to a packet of this class, or of one it dispatches to.

    It gives None, or raises `struct.error`, `IndexError` or `KeyError`, where Scapy has
    to look at the bytes.
    """
    compiled: Compiled | None = cls._compiled
    table = cls.__dict__.get("dispatch_table")
    if table is not None:
        return lambda data: table[data[0]]._entry(data)
    if compiled is None:
        return lambda _data: None
    dissect, size = compiled.dissect, compiled.size
    if "dispatch_hook" not in cls.__dict__:
        if cls.takes_all:
            return dissect
        return lambda data: dissect(data) if cls.is_whole(data, size) else None

    def entry(data: bytes) -> Packet | None:
        chosen = cls.dispatch_hook(data)
        if chosen is cls:
            whole = cls.takes_all or cls.is_whole(data, size)
            return dissect(data) if whole else None
        return chosen._entry(data) if isinstance(chosen, FastMeta) else None

    return entry


class FastPacket(Packet, metaclass=FastMeta):
    """A packet with compiled code for the usual ways of making and building it."""

    takes_all = False
    """Whether the fields take all bytes that there are, leaving none to a payload."""

    @classmethod
    def is_whole(cls, data: bytes, size: int) -> bool:
        """Return whether `data` is exactly one packet of this class.

        :param size: bytes of the fixed fields.
        """
        return False

    def __init__(
        self,
        _pkt: bytes = b"",
        post_transform: Any = None,
        _internal: int = 0,
        _underlayer: Packet | None = None,
        _parent: Packet | None = None,
        stop_dissection_after: type[Packet] | None = None,
        **fields: Any,
    ) -> None:
        cls = type(self)
        compiled = cls.compiled()
        if compiled is None or _pkt or post_transform is not None:
            super().__init__(
                _pkt,
                post_transform,
                _internal,
                _underlayer,
                _parent,
                stop_dissection_after,
                **fields,
            )
            return
        state = self.__dict__
        values: dict[str, Any] = {name: [] for name in compiled.lists}
        state["fields"] = values
        state["time"] = 0.0 if _internal else time.time()
        state["post_transforms"] = []
        if _underlayer is not None:
            state["underlayer"] = _underlayer
        if _parent is not None:
            state["parent"] = _parent
        if fields:
            given = 0
            for name, any2i in compiled.convert:
                if name in fields:
                    values[name] = any2i(self, fields[name])
                    given += 1
            if given < len(fields):
                raise AttributeError(next(iter(fields.keys() - values.keys())))

    def build(self) -> bytes:
        """Build with the payload, if there is one."""
        return self.do_build() if self.payload is _no_payload else super().build()

    def do_build(self) -> bytes:
        """Build the compiled way where nothing is odd, else as Scapy does."""
        if (
            self.raw_packet_cache is None
            and self.payload is _no_payload
            and not self.overloaded_fields
            and not self.post_transforms
        ):
            compiled = type(self).compiled()
            if compiled is not None:
                try:
                    return compiled.build(self)
                except (struct.error, TypeError, AttributeError, OSError, ValueError):
                    pass  # Scapy's own path handles it, or raises with its own words
        return super().do_build()


if ENABLED:
    # Class attributes in front of Packet's slots: a packet then holds in one dictionary
    # only what differs, instead of storing some twenty values that never change.
    # The containers are empty stand-ins: each packet or class replaces them.
    _stock = Packet()
    for _slot in _KNOWN_SLOTS - {"_pkt", "_answered"}:
        setattr(FastPacket, _slot, getattr(_stock, _slot))
    FastPacket.time = 0.0
    FastPacket.overload_fields = FastPacket._overload_fields
    del _stock, _slot


class Walker:
    """Takes the extensions of a message apart with their compiled code.

    :param one: the plain way for one extension: `(data, start, stop)` to the packet and
        the start of the next one. It handles all that is odd.
    :param classes: class by type, of the extensions with an 8-bit length.
    """

    def __init__(
        self,
        one: Callable[[bytes, int, int], tuple[Packet, int]],
        classes: Callable[[], Iterable[tuple[int, FastMeta]]],
    ) -> None:
        self._one = one
        self._classes = classes
        self._table: list[tuple[int, Callable[[bytes, int, int], Packet]] | None] = []

    def forget(self) -> None:
        """Compile the table again: a class has been registered."""
        self._table = []

    def _prepare(self) -> None:
        self._table = [None] * 256
        for kind, cls in self._classes():
            compiled = cls.compiled()
            if compiled is not None:
                self._table[kind] = (compiled.size, compiled.dissect)

    def __call__(self, data: bytes, start: int, stop: int) -> list[Packet]:
        """Return the extensions in `data[start:stop]`."""
        if not self._table:
            self._prepare()
        table = self._table
        found: list[Packet] = []
        while start < stop:
            entry = table[data[start]]
            if entry is not None and start + 1 < stop:
                end = start + 2 + data[start + 1]
                if end <= stop and end - start >= entry[0]:
                    found.append(entry[1](data, start, end))
                    start = end
                    continue
            packet, start = self._one(data, start, stop)
            found.append(packet)
        return found


_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def _compile(cls: Any) -> Compiled | None:
    """Turn `fields_desc` into code, or return None where a part of it is unknown."""
    if any(getattr(cls, hook) is not getattr(FastPacket, hook) for hook in _HOOKS):
        return None
    fields: list[Any] = cls.fields_desc
    if not fields:
        return None
    *fixed, last = fields
    tail: Any = last if _is_tail(last) else None
    if tail is None:
        fixed = fields
    codes = [_code(field) for field in fixed]
    if not all(codes):
        return None
    _prepare_class(cls)
    source = _generate(fixed, tail)
    layout = struct.Struct("!" + "".join(code for code in codes if code))
    scope: dict[str, Any] = {
        "cls": cls,
        "FlagValue": FlagValue,
        # FlagValue has a `__setattr__` of its own: its slots are set past it.
        **{
            f"set_{slot}": FlagValue.__dict__[slot].__set__
            for slot in ("value", "names", "multi")
        },
        "inet_aton": inet_aton,
        "inet_ntoa": _inet_ntoa,
        "new": _new,
        "pack": layout.pack,
        "unpack": layout.unpack_from,
        "tail": tail,
        "walk": getattr(tail, "walk", None),
        **{f"names_{n}": getattr(f, "names", None) for n, f in enumerate(fixed)},
    }
    exec(compile(source, f"<compiled {cls.__name__}>", "exec"), scope)
    return Compiled(
        size=layout.size,
        dissect=scope["dissect"],
        build=scope["build"],
        convert=[(field.name, _converter(field)) for field in fields],
        lists=tuple(field.name for field in fields if isinstance(field.default, list)),
        source=source,
    )


def _is_tail(field: Any) -> bool:
    """Return whether a field may be the variable end of a layer."""
    return hasattr(field, "walk") or (
        isinstance(field, StrLenField)
        and type(field).getfield is StrLenField.getfield
        and type(field).m2i is StrLenField.m2i
    )


def _code(field: Any) -> str | None:
    """Return the `struct` code of a fixed field, None where it is of unknown kind."""
    kind = type(field)
    if isinstance(field, FlagsField):
        return _CODES.get(field.size // 8) if field.size % 8 == 0 else None
    if kind is IPField:
        return "4s"
    plain = kind.addfield is Field.addfield and kind.getfield is Field.getfield
    counted = hasattr(field, "plus")
    if kind.m2i is not Field.m2i or not (plain or counted):
        return None
    code = field.fmt.lstrip("!")
    return code if code in _CODES.values() else None


def _prepare_class(cls: Any) -> None:
    """Put the values that all packets of a class share on the class."""
    stock = Packet.__new__(cls)
    for name, empty in (("fields", {}), ("fieldtype", {}), ("packetfields", [])):
        _set(stock, name, empty)
    _set(stock, "default_fields", {})
    Packet.init_fields(stock, True)
    for name in ("default_fields", "fieldtype", "packetfields"):
        setattr(cls, name, getattr(stock, name))
    cls.name = cls.__name__ if cls._name is None else cls._name


def _generate(fixed: list[Any], tail: Any) -> str:
    """Write the text of `dissect(data, start, stop)` and `build(packet)`."""
    names = [f"v{number}" for number in range(len(fixed))]
    lines = ["def dissect(data, start=0, stop=None):"]
    lines.append("    if stop is None: stop = len(data)")
    lines.append(f"    {', '.join(names)}, = unpack(data, start)")
    shown, watched = [], []
    for number, (field, value) in enumerate(zip(fixed, names, strict=True)):
        if isinstance(field, FlagsField):
            lines += [
                f"    f{number} = new(FlagValue)",
                f"    set_value(f{number}, {value})",
                f"    set_names(f{number}, names_{number})",
                f"    set_multi(f{number}, {isinstance(field.names, list)})",
            ]
            shown.append(f"{field.name!r}: f{number}")
            watched.append(f"{field.name!r}: {value}")
        elif type(field) is IPField:
            shown.append(f"{field.name!r}: inet_ntoa({value})")
        else:
            shown.append(f"{field.name!r}: {value}")
    size = struct.calcsize("!" + "".join(_code(field) or "" for field in fixed))
    if hasattr(tail, "walk"):
        lines.append(f"    rest = walk(data, start + {size}, stop)")
        shown.append(f"{tail.name!r}: rest")
        watched.append(f"{tail.name!r}: [(x.fields.copy(), None) for x in rest]")
    elif tail is not None:
        shown.append(f"{tail.name!r}: data[start + {size} : stop]")
    lines += [
        "    raw = data[start:stop]",
        "    packet = new(cls)",
        "    state = packet.__dict__",
        f"    state['fields'] = {{{', '.join(shown)}}}",
        f"    state['raw_packet_cache_fields'] = {{{', '.join(watched)}}}",
        "    state['original'] = state['raw_packet_cache'] = raw",
        "    state['explicit'] = 1",
        "    state['post_transforms'] = []",
        "    return packet",
        "",
        "def build(packet):",
        "    fields = packet.fields",
        "    defaults = packet.default_fields",
    ]
    if tail is not None:
        lines.append(f"    rest = {_read(tail.name)}")
        if not hasattr(tail, "walk"):
            if tail.default is None:
                lines.append("    if rest is None: rest = tail.i2m(packet, None)")
            lines.append("    if rest.__class__ is not bytes: raise TypeError")
    for field, value in zip(fixed, names, strict=True):
        lines.append(f"    {value} = {_read(field.name)}")
        if isinstance(field, FlagsField):
            lines.append(
                f"    if {value}.__class__ is FlagValue: {value} = {value}.value"
            )
        elif type(field) is IPField:
            lines.append(f"    {value} = inet_aton({value})")
        elif hasattr(field, "plus"):
            lines.append(f"    if {value} is None: {value} = len(rest) + {field.plus}")
    built = f"pack({', '.join(names)})"
    if hasattr(tail, "walk"):
        lines += [
            f"    data = {built}",
            "    for item in rest:",
            "        data += item.build_after(data)",
            "    return data",
        ]
    else:
        lines.append(f"    return {built}" + (" + rest" if tail is not None else ""))
    return "\n".join(lines) + "\n"


def _read(name: str) -> str:
    return f"fields[{name!r}] if {name!r} in fields else defaults[{name!r}]"


def _converter(field: Any) -> Callable[[Packet, Any], Any]:
    """Return what Scapy does to a value, with a short cut for its usual type."""

    def any2i(packet: Packet, value: Any) -> Any:
        return value if isinstance(value, RawVal) else field.any2i(packet, value)

    if type(field) is IPField:

        def convert_address(packet: Packet, value: Any) -> Any:
            if type(value) is str:
                try:
                    inet_aton(value)
                except OSError:
                    return any2i(packet, value)
                return value
            return any2i(packet, value)

        return convert_address
    if (
        isinstance(field, (ByteEnumField, ByteField))
        or type(field).any2i is Field.any2i
    ):

        def convert_number(packet: Packet, value: Any) -> Any:
            return value if type(value) is int else any2i(packet, value)

        return convert_number
    return any2i
