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

_no_payload = NoPayload()
_new = object.__new__
_set = object.__setattr__


class Compiled(NamedTuple):
    """What a class was compiled into."""

    size: int
    """Bytes of the fixed fields: less input is not for `dissect`."""
    dissect: Callable[[bytes, int, int], Packet]
    """The packet in `data[start:stop]`, all of which belongs to it."""
    build: Callable[[Packet], bytes]
    """The bytes of a packet without payload; raises on what it does not know."""
    convert: dict[str, Callable[[Packet, Any], Any]]
    """Human to internal value by field name, in the order of the declaration."""
    lists: tuple[str, ...]
    """Fields whose default is a list that each packet has for itself."""
    source: str
    """The generated text, for those who want to read it."""


class FastMeta(Packet_metaclass):
    """Gives a class its compiled code when it is first used."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a packet; from bytes alone the compiled way, else as Scapy does."""
        if len(args) == 1 and type(args[0]) is bytes and args[0] and ENABLED:
            if not kwargs or (
                kwargs.keys() <= _DISSECT_KEYWORDS
                and kwargs.get("stop_dissection_after") is None
            ):
                packet = cls.dissect_fast(args[0])
                if packet is not None:
                    if not kwargs.get("_internal"):
                        _set(packet, "time", time.time())
                    if kwargs:
                        _set(packet, "underlayer", kwargs.get("_underlayer"))
                    return packet
        elif not args and "_pkt" not in kwargs and cls.compiled() is not None:
            return type.__call__(cls, **kwargs)
        return super().__call__(*args, **kwargs)

    def compiled(cls) -> Compiled | None:
        """Return the compiled code, or None for a class that has to stay stock."""
        if not ENABLED:
            return None
        try:
            known: Compiled | None = cls.__dict__["_compiled"]
        except KeyError:
            known = cls._compiled = _compile(cls)
        return known

    def dissect_fast(cls, data: bytes) -> Packet | None:
        """Return the packet that is exactly `data`, or None where Scapy has to look."""
        if "dispatch_hook" in cls.__dict__:
            chosen = cls.dispatch_hook(data)
            if chosen is not cls:
                return (
                    chosen.dissect_fast(data) if isinstance(chosen, FastMeta) else None
                )
        compiled = cls.compiled()
        if compiled is None or not cls.is_whole(data, compiled.size):
            return None
        return compiled.dissect(data, 0, len(data))


class FastPacket(Packet, metaclass=FastMeta):
    """A packet with compiled code for the usual ways of making and building it."""

    _compiled: Compiled | None = None

    @classmethod
    def is_whole(cls, data: bytes, size: int) -> bool:
        """Return whether the class takes all of `data`, leaving nothing to a payload.

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
        values: dict[str, Any] = {name: [] for name in compiled.lists}
        _set(self, "fields", values)
        _set(self, "original", b"")
        _set(self, "time", 0.0 if _internal else time.time())
        _set(self, "overload_fields", cls._overload_fields)
        _set(self, "post_transforms", [])
        if _underlayer is not None:
            _set(self, "underlayer", _underlayer)
        if _parent is not None:
            _set(self, "parent", _parent)
        if fields:
            convert = compiled.convert
            for name in convert:
                if name in fields:
                    values[name] = convert[name](self, fields.pop(name))
            if fields:
                raise AttributeError(next(iter(fields)))

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
        "inet_aton": inet_aton,
        "inet_ntoa": inet_ntoa,
        "new": _new,
        "set_attribute": _set,
        "pack": layout.pack,
        "unpack": layout.unpack_from,
        "walk": getattr(tail, "walk", None),
        **{f"names_{n}": getattr(f, "names", None) for n, f in enumerate(fixed)},
    }
    exec(compile(source, f"<compiled {cls.__name__}>", "exec"), scope)
    return Compiled(
        size=layout.size,
        dissect=scope["dissect"],
        build=scope["build"],
        convert={field.name: _converter(field) for field in fields},
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
    lines = ["def dissect(data, start, stop):"]
    lines.append(f"    {', '.join(names)}, = unpack(data, start)")
    shown, watched = [], []
    for number, (field, value) in enumerate(zip(fixed, names, strict=True)):
        if isinstance(field, FlagsField):
            lines += [
                f"    f{number} = new(FlagValue)",
                f"    f{number}.value = {value}",
                f"    f{number}.names = names_{number}",
                f"    f{number}.multi = {isinstance(field.names, list)}",
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
        watched.append(
            f"{tail.name!r}: [(x.fields.copy(), x.payload.raw_packet_cache)"
            " for x in rest]"
        )
    elif tail is not None:
        shown.append(f"{tail.name!r}: data[start + {size} : stop]")
    lines += [
        "    raw = data[start:stop]",
        "    packet = new(cls)",
        "    set_attribute(packet, '__dict__', {",
        f"        'fields': {{{', '.join(shown)}}},",
        f"        'raw_packet_cache_fields': {{{', '.join(watched)}}},",
        "        'original': raw, 'raw_packet_cache': raw, 'explicit': 1,",
        "        'time': 0.0, 'overload_fields': cls._overload_fields,",
        "        'post_transforms': [],",
        "    })",
        "    return packet",
        "",
        "def build(packet):",
        "    fields = packet.fields",
        "    defaults = packet.default_fields",
    ]
    if tail is not None:
        lines.append(f"    rest = {_read(tail.name)}")
        if not hasattr(tail, "walk"):
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
    """Return `any2i` of a field with a short cut for the usual type of value."""
    any2i = field.any2i
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
    return any2i  # type: ignore[no-any-return]
