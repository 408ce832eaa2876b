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
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Self, TypeVar

from scapy.base_classes import Packet_metaclass
from scapy.fields import (
    BitEnumField,
    BitField,
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
from scapy.utils import inet_aton

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
    "__new__",
    "__setattr__",
    "build",
    "build_done",
    "dissect",
    "dissection_done",
    "do_build",
    "do_build_payload",
    "do_dissect",
    "do_dissect_payload",
    "getfieldval",
    "guess_payload_class",
    "init_fields",
    "post_build",
    "post_dissect",
    "post_dissection",
    "pre_dissect",
    "self_build",
)
"""Methods through which a class may change what is compiled: if one does, it is not."""

_packed = functools.lru_cache(16384)(inet_aton)  # addresses recur: 4 MB at most
_OCTETS = [str(octet) for octet in range(256)]
_DOTTED = [f"{octet}." for octet in range(256)]
SPELLING: Final[Mapping[str, Any]] = types.MappingProxyType(
    {"dotted": _DOTTED, "octets": _OCTETS, "packed": _packed}
)
"""What the generated text needs to turn addresses into text and back."""
_no_payload = NoPayload()
_nothing: Final[Mapping[str, Any]] = types.MappingProxyType({})
_new: Any = object.__new__
_set_state: Any = Packet.__dict__["__dict__"].__set__
_now = time.time
_set = object.__setattr__


Entry = Callable[[bytes], Packet | None]


class Compiled(NamedTuple):
    """What a class was compiled into."""

    size: int
    """Bytes of the fixed fields: less input is not for `dissect`."""
    dissect: Callable[[bytes], Packet]
    """The packet in `data`, all of which belongs to it, with the time of its making.
    Raises `struct.error` on less than `size` bytes."""
    cut: Callable[[bytes, int, int], Packet]
    """The same for `data[start:stop]`, an element of a list: it has no time."""
    build: Callable[[Packet], bytes]
    """The bytes of a packet without payload; raises on what it does not know."""
    fill: Callable[[Packet, dict[str, Any]], int]
    """Give a packet the values of its fields; return how many of them were fields."""
    head: Callable[[dict[str, Any]], bytes]
    """The bytes of the fixed fields with these values: numbers and, for addresses,
    text. Raises `struct.error`, `TypeError` or `OSError` on anything else."""
    names: frozenset[str]
    """Of the fixed fields."""
    takes_rest: bool
    """Whether the last field takes all bytes behind the fixed ones."""
    watched: tuple[Any, ...]
    """The fields with values that can be edited in place."""
    source: str
    """The generated text, for those who want to read it."""


class _Entries(dict[int, Entry]):
    """The ways from bytes to packets, by the first byte; found when first needed."""

    def __init__(self, cls: FastMeta) -> None:
        super().__init__()
        self._cls = cls

    def __missing__(self, first: int) -> Entry:
        table = self._cls.__dict__.get("dispatch_table")
        self[first] = entry = (
            _own_entry(self._cls) if table is None else table[first]._entries[first]
        )
        return entry


class FastMeta(Packet_metaclass):
    """Gives a class its compiled code when it is first used."""

    def __init__(cls, name: str, bases: tuple[type, ...], dct: dict[str, Any]) -> None:
        super().__init__(name, bases, dct)
        cls._known = False
        cls._compiled: Compiled | None = None
        cls.forget()
        if "_overload_fields" in cls.__dict__:
            cls.overload_fields = cls._overload_fields

    def __setattr__(cls, name: str, value: Any) -> None:
        """Follow `bind_layers()`, which changes what packets get as a class value."""
        super().__setattr__(name, value)
        if name == "_overload_fields":
            super().__setattr__("overload_fields", value)

    def __call__(cls, _pkt: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Make a packet, the compiled way or as Scapy does."""
        if _pkt.__class__ is bytes and ENABLED and not args:
            if not kwargs or _only_dissects(kwargs):
                try:
                    packet = cls._entries[_pkt[0]](_pkt)
                except (struct.error, IndexError, KeyError):
                    packet = None  # short, empty, or of an unknown type
                if packet is not None:
                    if kwargs:
                        state = packet.__dict__
                        state["underlayer"] = kwargs.get("_underlayer")
                        if kwargs.get("_internal"):
                            state["time"] = 0.0
                    return packet
        elif _pkt is None and ENABLED and not args:
            compiled = cls._compiled if cls._known else cls.compiled()
            if compiled is not None:
                packet = _new(cls)
                _set_state(packet, {"time": _now()})
                if compiled.fill(packet, kwargs) == len(kwargs):
                    return packet
                return type.__call__(cls, **kwargs)
        if _pkt is not None:
            args = _pkt, *args
        return super().__call__(*args, **kwargs)

    def compiled(cls) -> Compiled | None:
        """Return the compiled code, or None for a class that has to stay stock."""
        if not ENABLED:
            return None
        if not cls._known:
            cls._known = True
            cls._compiled = _compile(cls)
        return cls._compiled

    def forget(cls) -> None:
        """Choose the classes for bytes again: one has been registered."""
        cls._entries = _Entries(cls)


_ADDS_KEYWORDS: set[Any] = set()
Init = TypeVar("Init", bound=Callable[..., None])


def adds_keywords(init: Init) -> Init:
    """Mark an `__init__` that does nothing without the keywords that it adds."""
    _ADDS_KEYWORDS.add(init)
    return init


def _only_dissects(kwargs: dict[str, Any]) -> bool:
    """Return whether the keywords are those of a lower layer, with nothing special."""
    return (
        kwargs.keys() <= _DISSECT_KEYWORDS
        and kwargs.get("stop_dissection_after") is None
    )


def _own_entry(cls: Any) -> Entry:
    """Return the way from bytes to a packet of this class, or of one it dispatches to.

    It gives None, or raises `struct.error`, `IndexError` or `KeyError`, where Scapy has
    to look at the bytes.
    """
    compiled: Compiled | None = cls.compiled()
    if compiled is None:
        return lambda _data: None
    dissect, size = compiled.dissect, compiled.size
    if cls.takes_all and "dispatch_hook" not in cls.__dict__:
        return dissect

    def own(data: bytes) -> Packet | None:
        if len(data) != size and not compiled.takes_rest:
            return None
        return dissect(data) if cls.takes_all or cls.is_whole(data, size) else None

    if "dispatch_hook" not in cls.__dict__:
        return own

    def entry(data: bytes) -> Packet | None:
        chosen = cls.dispatch_hook(data)
        if chosen is cls:
            return own(data)
        if not isinstance(chosen, FastMeta):
            return None
        return chosen._entries[data[0]](data)

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

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Give the packet a dictionary of its own.

        Otherwise Python shares the names in it among all packets of the class, with
        room in each new one for every name that one of them ever had: if Scapy's path
        makes a packet first, with its twenty slots, all others take a third longer.
        """
        packet: Self = _new(cls)
        _set_state(packet, {})
        return packet

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
        state["time"] = 0.0 if _internal else _now()
        if _underlayer is not None:
            state["underlayer"] = _underlayer
        if _parent is not None:
            state["parent"] = _parent
        if compiled.fill(self, fields) < len(fields):
            names = {field.name for field in self.fields_desc}
            raise AttributeError(next(name for name in fields if name not in names))

    def build(self) -> bytes:
        """Build with the payload, if there is one."""
        compiled = type(self)._compiled
        if compiled is not None and ENABLED and _is_single(self):
            return _build(self, compiled)
        return super().build()

    def do_build(self) -> bytes:
        """Build the compiled way where nothing is odd, else as Scapy does."""
        compiled = type(self)._compiled
        if compiled is not None and ENABLED and _is_single(self):
            return _build(self, compiled)
        return super().do_build()


def _is_single(packet: Packet) -> bool:
    """Return whether a packet is no more than its own fields."""
    state = packet.__dict__
    return not (
        state.get("payload", _no_payload) is not _no_payload
        or state.get("post_transforms")
        or state.get("overloaded_fields")
    )


def _build(packet: Packet, compiled: Compiled) -> bytes:
    """Return the bytes of a packet that is no more than its own fields.

    For what was dissected that is quicker than to look for edits: its fields give the
    bytes that it came in.
    """
    state, received = packet.__dict__, packet.original
    cached: bytes | None = state.get("raw_packet_cache", received)
    if cached is not None:
        if state.get("raw_packet_cache_fields", cached) is None:
            return Packet.do_build(packet)
        if not compiled.watched:
            return cached
        if cached is not received or not packet.explicit:
            return Packet.do_build(packet)  # a copy, or changed by hand
    try:
        built = compiled.build(packet)
    except (struct.error, TypeError, AttributeError, OSError, ValueError):
        return Packet.do_build(packet)  # or it raises, with its own words
    if cached is not None and built != cached:
        packet.raw_packet_cache = packet.raw_packet_cache_fields = None
        packet.wirelen = None
    return built


def as_received(cls: Any, data: bytes) -> Any:
    """Return a packet of a compiled class that came in as `data`.

    Its fields are dissected when someone asks for them.
    """
    packet = _new(cls)
    _set_state(packet, {"original": data, "time": _now()})
    return packet


class _WhenAsked:
    """An attribute that a packet gets when someone asks for it."""

    def __init__(self, name: str, make: Callable[[Any], Any]) -> None:
        self._name = name
        self._make = make

    def __get__(self, packet: Packet | None, owner: type) -> Any:
        if packet is None:
            return self
        return packet.__dict__.setdefault(self._name, self._make(packet))


def _fields(packet: Any) -> dict[str, Any]:
    """Return the fields of a packet that was made by `as_received`."""
    found: dict[str, Any] = type(packet)._compiled.dissect(packet.original).fields
    return found


def _editable_values(packet: Any) -> Mapping[str, Any]:
    """Return what an edit is recognised by: editable values as the bytes have them.

    Scapy copies them while it dissects. The bytes are still there when someone asks,
    and most messages are dropped before that.
    """
    compiled = type(packet)._compiled
    if not compiled.watched:
        return _nothing
    again = compiled.cut(packet.original, 0, len(packet.original))
    return {
        field.name: again._raw_packet_cache_field_value(
            field, again.fields[field.name], copy=True
        )
        for field in compiled.watched
    }


if ENABLED:
    # Class attributes in front of Packet's slots: a packet then holds in one dictionary
    # only what differs, instead of storing some twenty values that never change.
    # The containers are empty stand-ins: each packet or class replaces them.
    _stock = Packet()
    for _slot in _KNOWN_SLOTS - {"_pkt", "_answered"}:
        setattr(FastPacket, _slot, getattr(_stock, _slot))
    FastPacket.explicit = 1
    for _slot, _make in {
        "fields": _fields,
        "post_transforms": lambda _packet: [],
        "raw_packet_cache": lambda packet: packet.original,
        "raw_packet_cache_fields": _editable_values,
    }.items():
        setattr(FastPacket, _slot, _WhenAsked(_slot, _make))
    FastPacket.time = 0.0
    FastPacket.overload_fields = FastPacket._overload_fields
    del _stock, _slot, _make


_NEVER: Final = 1 << 32


class Walker:
    """Takes the extensions of a message apart with their compiled code.

    The loop itself is part of the generated code. For types with an 8-bit length it
    looks up in `least` the smallest size and in `makers` what dissects them; `longs`
    has both for a 16-bit length. Extensions without a variable end, those with
    subtypes, and whatever is odd, go through `other`.

    :param one: the plain way for one extension: `(data, start, stop)` to the packet and
        the start of the next one. It handles all that is odd.
    :param place: the same without a packet: to the class and the start of the next one.
    :param short: class by type, of the extensions with an 8-bit length.
    :param long: the same for those with a subtype and a 16-bit length.
    """

    def __init__(
        self,
        one: Callable[[bytes, int, int], tuple[Packet, int]],
        place: Callable[[bytes, int, int], tuple[type[Packet], int]],
        short: Callable[[], Iterable[tuple[int, FastMeta]]],
        long: Callable[[], Iterable[tuple[int, FastMeta]]],
    ) -> None:
        self._one = one
        self._place = place
        self._short = short
        self._long = long
        self.longs: dict[int, tuple[int, Callable[[bytes, int, int], Packet]]] = {}
        self._prepared = False
        self.least = [_NEVER] * 256
        self.makers: list[Any] = [None] * 256
        self.classes: list[Any] = [None] * 256

    def forget(self) -> None:
        """Compile the tables again: a class has been registered."""
        self._prepared = False
        self.longs.clear()
        self.least[:] = [_NEVER] * 256

    def _prepare(self) -> None:
        self._prepared = True
        for kind, cls in self._short():
            compiled = cls.compiled()
            if compiled is not None and compiled.takes_rest:
                self.least[kind], self.makers[kind] = compiled.size, compiled.cut
                self.classes[kind] = cls
        for kind, cls in self._long():
            compiled = cls.compiled()
            if compiled is not None and compiled.takes_rest:
                self.longs[kind] = compiled.size, compiled.cut

    def other(self, data: bytes, start: int, stop: int) -> tuple[Packet, int]:
        """Return the extension at `start` and where the next one starts."""
        if not self._prepared:
            self._prepare()
        return self._one(data, start, stop)

    def place(self, data: bytes, start: int, stop: int) -> tuple[type[Packet], int]:
        """Return the class of the extension at `start`, and where the next starts."""
        if not self._prepared:
            self._prepare()
        return self._place(data, start, stop)


_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def _compile(cls: Any) -> Compiled | None:
    """Turn `fields_desc` into code, or return None where a part of it is unknown."""
    if any(getattr(cls, hook) is not getattr(FastPacket, hook) for hook in _HOOKS):
        return None
    if cls.__init__ is not FastPacket.__init__ and cls.__init__ not in _ADDS_KEYWORDS:
        return None
    fields: list[Any] = cls.fields_desc
    if not fields:
        return None
    fixed, tail = split_tail(fields)
    units = units_of(fixed)
    if units is None:
        return None
    _prepare_class(cls)
    layout = struct.Struct("!" + "".join(unit.code for unit in units))
    reading = struct.Struct("!" + "".join(unit.read_code for unit in units))
    source = "\n".join(
        [
            *_generate_dissect(units, tail, layout.size, whole=True),
            *_generate_dissect(units, tail, layout.size, whole=False),
            *_generate_build(units, tail),
            *_generate_fill(fields),
            *_generate_head(units),
        ]
    )
    scope: dict[str, Any] = {
        "cls": cls,
        "FlagValue": FlagValue,
        # FlagValue has a `__setattr__` of its own: its slots are set past it.
        **{
            f"set_{slot}": FlagValue.__dict__[slot].__set__
            for slot in ("value", "names", "multi")
        },
        "RawVal": RawVal,
        **SPELLING,
        "new": _new,
        "now": _now,
        "pack": layout.pack,
        "set_state": _set_state,
        "unpack": reading.unpack_from,
        "tail": tail,
        **{f"names_{n}": getattr(f, "names", None) for n, f in enumerate(fixed)},
        **{f"any2i_{n}": f.any2i for n, f in enumerate(fields)},
    }
    walk: Walker | None = getattr(tail, "walk", None)
    if walk is not None:
        scope |= {
            "least": walk.least,
            "makers": walk.makers,
            "longs": walk.longs,
            "other": walk.other,
        }
    exec(compile(source, f"<compiled {cls.__name__}>", "exec"), scope)
    return Compiled(
        size=layout.size,
        dissect=scope["dissect"],
        cut=scope["cut"],
        build=scope["build"],
        fill=scope["fill"],
        head=scope["head"],
        names=frozenset(field.name for field in fixed),
        takes_rest=tail is not None,
        watched=tuple(
            field
            for field in fields
            if isinstance(field, FlagsField) or hasattr(field, "walk")
        ),
        source=source,
    )


def split_tail(fields: list[Any]) -> tuple[list[Any], Any]:
    """Return the fixed fields, and the variable end of a layer if it has one."""
    return (fields[:-1], fields[-1]) if _is_tail(fields[-1]) else (fields, None)


def _is_tail(field: Any) -> bool:
    """Return whether a field may be the variable end of a layer."""
    return hasattr(field, "walk") or (
        isinstance(field, StrLenField)
        and type(field).getfield is StrLenField.getfield
        and type(field).m2i is StrLenField.m2i
    )


class Unit(NamedTuple):
    """What one `struct` code stands for: a field, or bits that fill whole bytes."""

    code: str
    fields: tuple[tuple[int, Any], ...]
    """The fields with their places in `fields_desc`."""
    bits: int
    """Width, where the unit consists of bits; 0 for a field on its own."""

    @property
    def is_address(self) -> bool:
        """Whether it is an IPv4 address, shown as text."""
        return type(self.fields[0][1]) is IPField

    @property
    def read_code(self) -> str:
        """The code to read it with: the octets of an address become text by a table."""
        return "4B" if self.is_address else self.code

    def shifts(self) -> Iterable[tuple[int, Any, int]]:
        """Give place, field and distance from the least significant bit."""
        left = self.bits
        for number, field in self.fields:
            left -= field.size
            yield number, field, left


def units_of(fields: list[Any]) -> list[Unit] | None:
    """Group fixed fields into units, or return None where one is of unknown kind."""
    units: list[Unit] = []
    run: list[tuple[int, Any]] = []
    width = 0
    for number, field in enumerate(fields):
        if isinstance(field, (BitField, BitEnumField, FlagsField)):
            if not _is_plain_bits(field):
                return None
            run.append((number, field))
            width += field.size
            if width % 8 == 0:
                code = _CODES.get(width // 8, f"{width // 8}s")
                units.append(Unit(code, tuple(run), width))
                run, width = [], 0
            continue
        single = _code(field)
        if single is None or run:
            return None
        units.append(Unit(single, ((number, field),), 0))
    return None if run else units


def _is_plain_bits(field: Any) -> bool:
    """Return whether a bit field is stored as an integer, most significant first."""
    kind = type(field)
    return bool(
        kind.getfield is BitField.getfield
        and kind.addfield is BitField.addfield
        and kind.i2m is BitField.i2m
        and (kind.m2i is BitField.m2i or kind is FlagsField)
        and not field.rev
    )


def _code(field: Any) -> str | None:
    """Return the `struct` code of a fixed field, None where it is of unknown kind."""
    if not isinstance(field, Field):
        return None
    kind = type(field)
    if kind is IPField:
        return "4s"
    plain = kind.addfield is Field.addfield and kind.getfield is Field.getfield
    counted = hasattr(field, "plus")
    if kind.m2i is not Field.m2i or not (plain or counted):
        return None
    code: str = field.fmt.lstrip("!")
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


def _generate_dissect(
    units: list[Unit], tail: Any, size: int, *, whole: bool
) -> list[str]:
    """Write `dissect(data)`, or `cut(data, start, stop)`."""
    readings = [read_unit(unit, f"u{number}") for number, unit in enumerate(units)]
    targets = ", ".join(reading.target for reading in readings)
    lines = [
        "def dissect(data):" if whole else "def cut(data, start, stop):",
        f"    {targets}, = unpack(data{'' if whole else ', start'})",
    ]
    shown = []
    for unit, reading in zip(units, readings, strict=True):
        lines += reading.lines
        for number, field in unit.fields:
            read = reading.values[field.name]
            if isinstance(field, FlagsField):
                lines += [
                    f"    f{number} = new(FlagValue)",
                    f"    set_value(f{number}, {read})",
                    f"    set_names(f{number}, names_{number})",
                    f"    set_multi(f{number}, {isinstance(field.names, list)})",
                ]
                read = f"f{number}"
            shown.append(f"{field.name!r}: {read}")
    first = str(size) if whole else f"start + {size}"
    if hasattr(tail, "walk"):
        if whole:
            lines.append("    stop = len(data)")
        lines += _WALK.format(first=first).splitlines()
        shown.append(f"{tail.name!r}: rest")
    elif tail is not None:
        shown.append(f"{tail.name!r}: data[{first}:{'' if whole else 'stop'}]")
    received = "data" if whole else "data[start:stop]"
    return [
        *lines,
        "    packet = new(cls)",
        "    set_state(packet, {",
        f"        'fields': {{{', '.join(shown)}}},",
        f"        'original': {received},",
        *(["        'time': now(),"] if whole else []),
        "    })",
        "    return packet",
        "",
    ]


class Reading(NamedTuple):
    """How the values of a unit are had from what `struct` gives."""

    target: str
    """What is unpacked into."""
    lines: list[str]
    values: dict[str, str]
    """How each is written behind these lines, by its name; flags as integers."""


def read_unit(unit: Unit, value: str) -> Reading:
    """Write how a unit is read, into variables that begin with `value`."""
    lines: list[str] = []
    if not unit.bits:
        ((_number, field),) = unit.fields
        if not unit.is_address:
            return Reading(value, lines, {field.name: value})
        octets = [f"{value}{place}" for place in "abcd"]
        return Reading(", ".join(octets), lines, {field.name: _dotted(octets)})
    if unit.code.endswith("s"):
        lines.append(f"    {value} = int.from_bytes({value}, 'big')")
    values = {}
    for _number, field, shift in unit.shifts():
        read = value
        if len(unit.fields) > 1:
            read = f"({value} >> {shift} & {(1 << field.size) - 1})"
        values[field.name] = read
    return Reading(value, lines, values)


def _dotted(octets: list[str]) -> str:
    """Write an address from its octets: faster than `inet_ntoa`, without a memory."""
    *first, last = octets
    return (
        "f'" + "".join(f"{{dotted[{one}]}}" for one in first) + f"{{octets[{last}]}}'"
    )


_WALK = """\
    rest = []
    at = {first}
    last = stop - 1
    while at < last:
        kind = data[at]
        end = at + 2 + data[at + 1]
        if at + least[kind] <= end <= stop:
            rest.append(makers[kind](data, at, end))
            at = end
            continue
        if kind in longs and at + 4 <= stop:
            size, make = longs[kind]
            end = at + 4 + (data[at + 2] << 8 | data[at + 3])
            if at + size <= end <= stop:
                rest.append(make(data, at, end))
                at = end
                continue
        packet, at = other(data, at, stop)
        rest.append(packet)
    if at == last:
        rest.append(other(data, at, stop)[0])
"""
"""The extensions as packets; in front of the last byte, each has a length or is odd."""


def _generate_build(units: list[Unit], tail: Any) -> list[str]:
    """Write `build(packet)`."""
    names = [f"u{number}" for number in range(len(units))]
    lines = [
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
    for unit, value in zip(units, names, strict=True):
        if unit.bits:
            lines += _generate_bits(unit, value)
            continue
        ((_number, field),) = unit.fields
        lines.append(f"    {value} = {_read(field.name)}")
        if type(field) is IPField:
            lines.append(f"    {value} = packed({value})")
        elif hasattr(field, "plus"):
            counted = "len(rest) + " if field.length_of else ""
            lines.append(f"    if {value} is None: {value} = {counted}{field.plus}")
    built = f"pack({', '.join(names)})"
    if hasattr(tail, "walk"):
        lines += [
            f"    data = {built}",
            "    for item in rest:",
            "        data += item.build_after(data, packet)",
            "    return data",
        ]
    else:
        lines.append(f"    return {built}" + (" + rest" if tail is not None else ""))
    return [*lines, ""]


def _generate_bits(unit: Unit, value: str) -> list[str]:
    """Write how one unit of bits is put together."""
    lines, parts = [], []
    for number, field, shift in unit.shifts():
        part = f"v{number}"
        lines.append(f"    {part} = {_read(field.name)}")
        if isinstance(field, FlagsField):
            lines.append(f"    if {part}.__class__ is FlagValue: {part} = {part}.value")
        if len(unit.fields) == 1:
            parts.append(part)
        else:
            parts.append(f"({part} & {(1 << field.size) - 1}) << {shift}")
    lines.append(f"    {value} = {' | '.join(parts)}")
    if unit.code.endswith("s"):
        lines.append(f"    {value} = {value}.to_bytes({unit.bits // 8}, 'big')")
    return lines


def _read(name: str) -> str:
    return f"fields[{name!r}] if {name!r} in fields else defaults[{name!r}]"


def _generate_fill(fields: list[Any]) -> list[str]:
    """Write `fill(packet, given)`, with a short cut for values of the usual type."""
    own = ", ".join(f"{f.name!r}: []" for f in fields if isinstance(f.default, list))
    lines = [
        "def fill(packet, given):",
        "    state = packet.__dict__",
        f"    state['fields'] = values = {{{own}}}",
        "    state['explicit'] = 0",
        "    state['raw_packet_cache'] = state['raw_packet_cache_fields'] = None",
        "    count = 0",
    ]
    for number, field in enumerate(fields):
        convert = f"value = any2i_{number}(packet, value)"
        lines += [
            f"    if {field.name!r} in given:",
            "        count += 1",
            f"        value = given[{field.name!r}]",
        ]
        if type(field) is IPField:
            lines += [
                "        if value.__class__ is str:",
                "            try: packed(value)",
                f"            except OSError: {convert}",
                f"        elif value.__class__ is not RawVal: {convert}",
            ]
        else:
            usual = " and value.__class__ is not int" if _keeps_int(field) else ""
            lines.append(f"        if value.__class__ is not RawVal{usual}: {convert}")
        lines.append(f"        values[{field.name!r}] = value")
    return [*lines, "    return count", ""]


def _generate_head(units: list[Unit]) -> list[str]:
    """Write `head(given)`."""
    return [
        "def head(given):",
        "    get = given.get",
        f"    return pack({', '.join(packed_units(units, _given))})",
        "",
    ]


def packed_units(units: list[Unit], given: Callable[[Any], str]) -> list[str]:
    """Write what is packed for each unit.

    :param given: writes where the value of a field is found.
    """
    packed = []
    for unit in units:
        if unit.bits:
            parts = [
                f"({given(field)} & {(1 << field.size) - 1}) << {shift}"
                for _number, field, shift in unit.shifts()
            ]
            value = " | ".join(parts)
            if len(parts) == 1:
                value = given(unit.fields[0][1])  # too large a value is refused
            if unit.code.endswith("s"):
                value = f"({value}).to_bytes({unit.bits // 8}, 'big')"
        else:
            value = given(unit.fields[0][1])
            if unit.is_address:
                value = f"packed({value})"
        packed.append(value)
    return packed


def _given(field: Any) -> str:
    """Write how a value is found, or the default."""
    return f"get({field.name!r}, {default_of(field)!r})"


def default_of(field: Any) -> Any:
    """Return the default of a fixed field as it is packed."""
    default = field.default
    if isinstance(default, FlagValue):
        default = default.value
    elif isinstance(default, int):
        default = int(default)  # not the name that an enumeration shows
    return default


def _keeps_int(field: Any) -> bool:
    """Return whether `any2i` of a field gives an integer back as it is."""
    return isinstance(field, (ByteEnumField, ByteField)) or (
        type(field).any2i is Field.any2i and type(field).h2i is Field.h2i
    )
