# SPDX-License-Identifier: GPL-2.0-only
"""The compiled path against Scapy's own: the same calls, the same results."""

import copy
import gc
import pickle
import random
import subprocess
import sys
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.base_classes import Net
from scapy.fields import ByteField, RawVal, ShortField, StrField
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet, Raw, bind_layers, split_layers

from scapy_mip import _fastpath
from scapy_mip.all import (
    MIP,
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    MIPExtension,
    MIPGeneralizedMobileIPAuthentication,
    MIPLongExtension,
    MIPMessage,
    MIPOneBytePadding,
    ReplyCode,
    RequestFlag,
)
from scapy_mip.base import register_message
from support.paths import both, state, stock, watched
from support.strategies import (
    damaged,
    every_class,
    random_damage,
    random_instance,
    random_message,
)

LAYERS = [
    MIP,
    MIPRRQ,
    MIPRRP,
    MIPExtension,
    MIPLongExtension,
    MIPOneBytePadding,
    MIPMHAE,
    MIPGeneralizedMobileIPAuthentication,
    MIPNAI,
]
STOCK = {
    "MIPCareOfAddress",
    "MIPFlowBinding",
    "MIPFlowBindingShort",
    "MIPIPv6PrefixReply",
    "MIPIPv6PrefixRequest",
    "MIPLLAEthernetMAC",
    "MIPMRRouteOptimizationIndication",
    "MIPRouteOptimizationData",
}
"""Rare extensions with lists, conditions or long addresses, which Scapy dissects."""


def texts(packet):
    """Return all that a prompt shows of a packet."""
    return (
        packet.show(dump=True),
        packet.show2(dump=True),
        packet.command(),
        packet.json(),
        packet.summary(),
        repr(packet),
        packet.hashret(),
    )


def edits(packet, rng):
    """Change a packet in one way and return its bytes."""
    flags = packet.fields.get("flags")
    listed = packet.fields.get("extensions")
    kind = rng.randrange(7)
    if kind == 0 and flags is not None:
        flags.S = not flags.S
    elif kind == 1 and listed:
        one = rng.choice(listed)
        one.type = 200
    elif kind == 2 and listed is not None:
        listed.append(MIPNAI(nai="x"))
    elif kind == 3 and listed:
        listed.pop()
    elif kind == 4:
        packet.lifetime = 77
    elif kind == 5 and listed:
        one = rng.choice(listed)
        name = one.fields_desc[-1].name
        one.setfieldval(name, RawVal(b"raw") if rng.random() < 0.3 else b"new")
    else:
        packet.type = 9
    return bytes(packet)


@pytest.fixture
def calls(monkeypatch):
    """Count what only Scapy's own path does."""
    counted = []
    for name in ("do_dissect", "self_build", "init_fields"):
        original = getattr(Packet, name)

        def spy(self, *args, _name=name, _original=original, **kwargs):
            if isinstance(self, _fastpath.FastPacket):
                counted.append(_name)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(Packet, name, spy)
        # The compiled path compares hooks by identity with those it inherits.
        assert getattr(_fastpath.FastPacket, name) is spy
    return counted


# Which path is taken


def test_this_scapy_is_known():
    assert _fastpath.ENABLED
    for cls in LAYERS:
        assert cls.compiled() is not None, cls


def test_compiled_path_does_without_scapys_and_the_switch_brings_it_back(calls):
    message = MIPRRP(extensions=[MIPNAI(nai="a@b"), MIPMHAE(authenticator=b"x" * 16)])
    data = bytes(message)
    MIP(data)
    calls.clear()  # compiling asks Scapy for the defaults, once per class
    again = MIPRRP(extensions=[MIPNAI(nai="a@b"), MIPMHAE(authenticator=b"x" * 16)])
    assert bytes(again) == bytes(MIP(data)) == data
    assert calls == []
    with stock():
        assert bytes(MIPRRP(extensions=[MIPNAI(nai="a@b")]))
        assert {"self_build", "init_fields"} <= set(calls)
        calls.clear()
        assert bytes(MIP(data)) == data
    assert calls.count("do_dissect") == 3


@pytest.mark.parametrize("cls", LAYERS)
def test_generated_source_can_be_read(cls):
    assert cls.compiled().source.startswith("def dissect")


def test_all_extensions_but_a_few_are_compiled():
    stock = {cls.__name__ for cls in every_class() if cls.compiled() is None}
    assert stock == STOCK


# The same from both


def test_dissection_gives_the_same_packets():
    rng = random.Random(1)
    for _time in range(30_000):
        data = random_damage(rng, random_message(rng))
        fast, slow = both(lambda data=data: state(MIP(data)))
        assert fast == slow, data.hex()


def test_dissected_packets_show_the_same():
    rng = random.Random(2)
    for _time in range(250):
        data = random_damage(rng, random_message(rng))
        fast, slow = both(lambda data=data: texts(MIP(data)))
        assert fast == slow, data.hex()


def test_edited_packets_rebuild_the_same():
    rng = random.Random(3)
    for _time in range(1500):
        data = random_damage(rng, random_message(rng))
        seed = rng.getrandbits(32)

        def edited(data=data, seed=seed):
            packet = MIP(data)
            change = random.Random(seed)
            return edits(packet, change), edits(packet, change), state(packet)

        fast, slow = both(edited)
        assert fast == slow, data.hex()


def test_copies_and_pickles_are_the_same():
    rng = random.Random(4)
    for _time in range(200):
        data = random_damage(rng, random_message(rng))

        def copies(data=data):
            packet = MIP(data)
            return [
                state(one)
                for one in (
                    packet.copy(),
                    copy.deepcopy(packet),
                    pickle.loads(pickle.dumps(packet)),
                    next(iter(packet)),
                )
            ]

        fast, slow = both(copies)
        assert fast == slow, data.hex()


@settings(max_examples=200, deadline=None)
@given(damaged())
def test_any_damaged_message_is_the_same(data):
    fast, slow = both(lambda: (state(MIP(data)), texts(MIP(data))))
    assert fast == slow


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(LAYERS), st.binary(max_size=60))
def test_any_bytes_are_the_same_for_every_layer(cls, data):
    """Also bytes that are no packet of the class, or more than one."""
    fast, slow = both(lambda: state(cls(data)))
    assert fast == slow


@pytest.mark.parametrize("keywords", [{}, {"_internal": 1}, {"_underlayer": UDP()}])
def test_keywords_of_a_lower_layer_are_the_same(keywords):
    data = bytes(MIPRRQ() / MIPNAI(nai="a"))
    fast, slow = both(lambda: state(MIP(data, stop_dissection_after=None, **keywords)))
    assert fast == slow
    assert bool(MIP(data, **keywords).time) == ("_internal" not in keywords)


def test_frames_are_the_same():
    data = bytes(IP() / UDP() / MIPRRQ(flags="T") / MIPNAI(nai="a"))

    def dissected():
        message = IP(data)[UDP].payload
        assert message.underlayer.payload is message
        message.underlayer = None
        return state(message)

    fast, slow = both(dissected)
    assert fast == slow


@pytest.mark.parametrize("cls", every_class(), ids=lambda cls: cls.__name__)
def test_every_extension_is_the_same(cls):
    """Made, built, dissected, shown, edited: with bits, flags, subtypes and items."""
    rng = random.Random(8)
    for _time in range(12):
        seed = rng.getrandbits(32)
        data = bytes(random_instance(cls, random.Random(seed)))
        changed = bytearray(data)
        changed[rng.randrange(len(data))] = rng.getrandbits(8)

        def outcome(seed=seed, data=data, changed=bytes(changed)):
            made = random_instance(cls, random.Random(seed))
            found = [state(made), bytes(made), texts(made)]
            for received in (cls(data), MIPExtension(data), MIPExtension(changed)):
                found += [state(received), texts(received)]
            message = MIP(bytes(MIPRRQ()) + changed + data)
            found += [state(message), texts(message)]
            for one in message.extensions:
                flags = one.fields.get("flags")
                if flags is not None:
                    one.flags = int(flags) ^ 1
            message.lifetime = 9
            return [*found, bytes(message), state(message)]

        fast, slow = both(outcome)
        assert fast == slow, data.hex()


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(every_class()), st.binary(max_size=60))
def test_any_bytes_are_the_same_for_every_extension(cls, data):
    fast, slow = both(lambda: state(cls(data)))
    assert fast == slow


VALUES = {
    "type": [1, 7, ReplyCode.ACCEPTED, RawVal(b"x"), None],
    "flags": ["DT", "", 3, RequestFlag.S, RawVal(b""), RawVal(b"ab"), None, 300, ["D"]],
    "code": [0, 133, ReplyCode(133), ReplyCode(133).text, [0, 1], (0, 3)],
    "lifetime": [1, 65535, 70000, -1, None, [5, 6], RawVal(b"abc"), "x", True],
    "home_address": [
        "10.0.0.1",
        b"10.0.0.2",
        "10.0.0.0/30",
        None,
        RawVal(b"x"),
        ["10.0.0.3", "10.0.0.4"],
        Net("10.9.0.0/31"),
    ],
    "identification": [1, 1 << 63, 1 << 64, None, RawVal(b"12345678"), [1, 2]],
    "extensions": [
        [],
        MIPNAI(nai="a"),
        [MIPNAI(nai="a"), MIPOneBytePadding()],
        [MIPNAI(nai="a") / MIPOneBytePadding()],
        [Raw(b"raw"), MIPExtension(type=200, data=b"x")],
        [MIPExtension(type=[200, 201], data=b"x")],
        [MIPExtension(length=RawVal(b"ab"), data=RawVal(b"cd"))],
        [MIPMHAE(authenticator=b"x" * 16)],
        [b"bytes"],
        RawVal(b"tail"),
        [RawVal(b"tail")],
    ],
    "nonsense": [1],
}


def pickable(cls):
    return {field.name for field in cls.fields_desc} | {"nonsense"}


@pytest.mark.parametrize("cls", [MIPRRQ, MIPRRP])
def test_construction_and_building_are_the_same(cls):
    rng = random.Random(5)
    names = sorted(VALUES.keys() & pickable(cls))
    for _time in range(600):
        chosen = rng.sample(names, rng.randrange(len(names)))
        if rng.random() < 0.9 and "nonsense" in chosen:
            chosen.remove("nonsense")
        values = {name: rng.choice(VALUES[name]) for name in chosen}

        def made(values=values):
            packet = cls(**values)
            random.seed(6)  # for values that are random
            return state(packet), bytes(packet), packet.command(), packet.summary()

        fast, slow = both(made)
        assert fast == slow, values


@pytest.mark.parametrize(
    "make",
    [
        lambda: MIPExtension(type=7, length=9, data="text"),
        lambda: MIPExtension(data=RawVal(b"x"), type=RawVal(b"yz")),
        lambda: MIPLongExtension(type=[1, 2], subtype=(0, 3), data=b"x"),
        lambda: MIPNAI(nai="ü@x"),
        lambda: MIPNAI(nai=b"\xff\xfe"),
        lambda: MIPNAI(nai="x" * 300),
        lambda: MIPNAI(nai=None),
        lambda: MIPMHAE(spi=-1, authenticator=b""),
        lambda: MIPMHAE(),
        lambda: MIPMHAE() / MIPNAI(),
        lambda: MIPNAI() / MIPMHAE(authenticator="ab") / Raw(b"x"),
        lambda: MIPOneBytePadding(type=5),
        lambda: MIPRRQ() / Raw(b"payload"),
        lambda: MIPRRQ() / MIPNAI() / Raw(b"payload") / MIPNAI(),
        lambda: IP() / UDP() / MIPRRQ(home_address="10.0.0.0/30") / MIPNAI(),
    ],
)
def test_building_is_the_same(make):
    def built():
        packet = make()
        return bytes(packet), packet.command(), packet.show2(dump=True), len(packet)

    fast, slow = both(built)
    assert fast == slow


@pytest.mark.parametrize(
    "prepare",
    [
        {"wirelen": 99},
        {"explicit": 0},
        {"overloaded_fields": {"lifetime": 5}},
        {"raw_packet_cache_fields": None},
        {"default_fields": {**MIPRRQ().default_fields, "lifetime": 6}},
    ],
    ids=lambda prepare: next(iter(prepare)),
)
@pytest.mark.parametrize("edited", [False, True])
def test_state_set_by_hand_is_heeded(prepare, edited):
    data = bytes(MIPRRQ(lifetime=1, flags="D") / MIPNAI(nai="a@b"))

    def built():
        packet = MIP(data)
        for name, value in prepare.items():
            setattr(packet, name, value)
        if edited:
            packet.flags.S = 1
            packet.extensions[0].nai = "c@d"
        else:
            del packet.lifetime
        return bytes(packet), bytes(packet), state(packet)

    fast, slow = both(built)
    assert fast == slow


WITH_FLAGS_INSIDE = bytes(
    MIPRRQ(
        flags="D",
        extensions=[
            MIPNAI(nai="a@b"),
            *(
                random_instance(cls, random.Random(9))
                for cls in every_class()
                if any(field.name == "flags" for field in cls.fields_desc)
            ),
        ],
    )
)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda message: None,
        lambda message: setattr(message.flags, "S", 1),
        lambda message: message.extensions.reverse(),
        lambda message: message.extensions[0].fields.update(nai=b"c@d"),
        lambda message: [
            setattr(one, "flags", one.fields["flags"] ^ 1)
            for one in message.extensions
            if "flags" in one.fields
        ],
        lambda message: setattr(message, "original", b"changed by hand"),
        lambda message: setattr(message, "raw_packet_cache", b"changed by hand"),
        lambda message: message.clear_cache(),
    ],
)
def test_edit_is_noticed_whether_or_not_the_cache_was_looked_at(change, asked):
    """What an edit is recognised by is made only when someone asks for it."""

    def built():
        message = MIP(WITH_FLAGS_INSIDE)
        if asked:
            assert message.raw_packet_cache == WITH_FLAGS_INSIDE
            assert watched(message).keys() == {"flags", "extensions"}
        change(message)
        return bytes(message), bytes(message.copy()), bytes(message)

    fast, slow = both(built)
    assert fast == slow


@pytest.mark.parametrize("name", ["original", "raw_packet_cache"])
def test_bytes_given_to_a_made_packet_are_not_sent(name):
    def built():
        message = MIPRRQ(lifetime=5)
        setattr(message, name, b"by hand")
        return bytes(message), message.raw_packet_cache_fields, message.explicit

    fast, slow = both(built)
    assert fast == slow


def test_post_transforms_are_applied():
    def built():
        packet = MIPRRQ(post_transform=lambda data: data[::-1])
        return bytes(packet)

    fast, slow = both(built)
    assert fast == slow
    assert fast.endswith(b"\x01")


# Falling back


def hooked(base, hook):
    """Make a subclass that overrides one hook and notes that it was called."""
    seen = []

    def method(self, *args, **kwargs):
        seen.append(hook)
        return getattr(super(cls, self), hook)(*args, **kwargs)

    cls = type(f"_{base.__name__}With{hook}", (base,), {hook: method})
    return cls, seen


@pytest.mark.parametrize("hook", sorted({*_fastpath._HOOKS} - {"__new__"}))
@pytest.mark.parametrize("base", [MIPRRQ, MIPMHAE])
def test_overridden_hook_is_called(base, hook):
    cls, seen = hooked(base, hook)
    assert cls.compiled() is None
    data = bytes(base() if base is MIPRRQ else base(authenticator=b"x" * 16))
    packet = cls(data)
    assert bytes(packet) == data
    assert bytes(cls(**packet.fields)) == data
    packet.type = 5
    bytes(cls() / Raw(b"x"))
    if hook not in ("do_dissect_payload", "guess_payload_class"):
        assert seen


@pytest.mark.parametrize("base", [MIPRRQ, MIPMHAE])
def test_overridden_constructor_is_called(base):
    class _Noted(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.__dict__["note"] = "made"

    data = bytes(base() if base is MIPRRQ else base(authenticator=b"x" * 16))
    assert _Noted(data).note == "made"
    assert _Noted(type=5).note == "made"
    assert bytes(_Noted(data)) == data


def test_overridden_dispatch_is_asked():
    class _MIPChooser(MIPRRQ):
        @classmethod
        def dispatch_hook(cls, _pkt=b"", *args, **kwargs):
            return MIPRRP if _pkt[:1] == b"\x03" else cls

    assert type(_MIPChooser(bytes(MIPRRP()))) is MIPRRP
    assert type(_MIPChooser(bytes(MIPRRQ()))) is _MIPChooser


def test_class_registered_after_first_use_is_given():
    data = bytes(MIPRRQ())
    assert type(MIP(data)) is MIPRRQ

    class _MIPLater(MIPRRQ):
        pass

    try:
        register_message(_MIPLater)
        assert type(MIP(data)) is _MIPLater
    finally:
        register_message(MIPRRQ)
    assert type(MIP(data)) is MIPRRQ


def test_unknown_kind_of_field_stays_stock():
    class _MIPOdd(MIPMessage):
        fields_desc = [  # noqa: RUF012
            ByteField("type", 1),
            StrField("load", b""),
            ShortField("end", 0),
        ]

    assert _MIPOdd.compiled() is None
    assert bytes(_MIPOdd(load=b"x", end=3)) == b"\x01x\x00\x03"


def test_subclass_with_other_defaults_keeps_them():
    class _MIPMine(MIPRRQ):
        lifetime = 60
        name = "mine"

    assert MIPRRQ().lifetime == 1800
    assert _MIPMine().lifetime == 60
    assert bytes(_MIPMine())[2:4] == b"\x00\x3c"
    assert _MIPMine(bytes(MIPRRQ())).lifetime == 1800
    assert "mine" in _MIPMine().show(dump=True)


def test_packet_subclass_with_slots_of_its_own_works():
    class _MIPSlotted(MIPRRQ):
        __slots__ = ["note"]

    packet = _MIPSlotted(lifetime=5)
    packet.note = "kept"
    assert packet.note == "kept"
    assert "note" not in packet.fields
    assert pickle.loads(pickle.dumps(MIPRRQ(lifetime=5))).lifetime == 5


UNKNOWN_SCAPY = """
import scapy.packet
scapy.packet.Packet.__slots__ = [*scapy.packet.Packet.__slots__, "novelty"]
from scapy.config import conf
conf.debug_dissector = True
from scapy.layers.inet import IP, UDP
from scapy_mip import _fastpath
from scapy_mip.all import *
assert not _fastpath.ENABLED
assert MIPRRQ.compiled() is None
made = IP() / UDP() / MIPRRQ(flags="DT", lifetime=5)
made = made / MIPNAI(nai="a@b") / MIPMHAE(authenticator=b"x" * 16)
again = IP(bytes(made))
assert again[MIPNAI].nai == "a@b" and again[MIPRRQ].flags.D
again[MIPRRQ].flags.S = 1
again[MIPRRQ].copy().show2()
print(bytes(again[MIPRRQ]).hex())
"""


def test_unknown_scapy_is_left_alone_and_the_layers_work():
    run = subprocess.run(
        [sys.executable, "-c", UNKNOWN_SCAPY],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    message = MIPRRQ(flags="SDT", lifetime=5) / MIPNAI(nai="a@b")
    message = message / MIPMHAE(authenticator=b"x" * 16)
    assert run.stdout.splitlines()[-1] == bytes(message).hex()


# Bindings, memory


class _Lower(Packet):
    name = "lower"
    fields_desc = [ByteField("kind", 0)]  # noqa: RUF012


def test_binding_made_after_first_use_is_honoured():
    assert bytes(_Lower() / MIPRRQ())[0] == 0
    bind_layers(_Lower, MIPRRQ, kind=5)
    try:
        assert bytes(_Lower() / MIPRRQ())[0] == 5
        assert bytes(_Lower() / MIP(bytes(MIPRRQ())))[0] == 5
        assert type(_Lower(bytes(_Lower() / MIPRRQ())).payload) is MIPRRQ
    finally:
        split_layers(_Lower, MIPRRQ, kind=5)
    assert bytes(_Lower() / MIPRRQ())[0] == 0


def test_dissected_messages_leave_no_cycles():
    rng = random.Random(7)
    data = [bytes(random_message(rng)) for _time in range(100)]
    for one in data:
        MIP(one)
    gc.collect()
    gc.disable()
    try:
        for _time in range(100):
            for one in data:
                MIP(one)
        assert gc.collect() < 50
    finally:
        gc.enable()


def test_messages_leave_nothing_behind_without_a_collector():
    data = bytes(MIPRRQ() / MIPNAI(nai="a@b") / MIPMHAE(authenticator=b"x" * 16))
    MIP(data)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _time in range(1000):
            message = MIP(data)
            assert bytes(message) == data
            assert message.raw_packet_cache_fields
        del message
        assert len(gc.get_objects()) - before < 50
    finally:
        gc.enable()


def test_dropped_message_is_freed_at_once():
    message = MIP(bytes(MIPRRQ() / MIPNAI(nai="a")))
    gone = [weakref.ref(message), weakref.ref(message.extensions[0])]
    gc.disable()
    try:
        del message
        assert [one() for one in gone] == [None, None]
    finally:
        gc.enable()


def test_packets_do_not_share_what_can_be_changed():
    first, second = MIP(bytes(MIPRRQ())), MIP(bytes(MIPRRQ()))
    first.flags.D = 1
    first.post_transforms.append(lambda data: data)
    first.extensions.append(MIPNAI())
    assert not second.flags.D
    assert second.post_transforms == []
    assert second.extensions == []
    assert MIPRRQ().post_transforms == []
