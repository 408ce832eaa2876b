# SPDX-License-Identifier: GPL-2.0-only
"""The gate of a home agent's tunnel devices: who may come in (RT-07), and how much.

An external device takes tunnel packets from anywhere. Two eBPF programs, on its way in
and on its way out, hold each packet against the bindings; both are too small to need a
compiler. On the way in the outer source must be a care-of address of the inner source,
by the device and the GRE key that were negotiated. On the way out nothing goes back to
where it came from (TUN-02). What passes is counted by home address, what does not by
reason, in the words of the `tun` driver. Segments that the kernel handles as one packet
(GSO, GRO) are counted as one.
"""

from __future__ import annotations

import functools
import os
from ipaddress import IPv4Address
from socket import htonl, htons
from struct import Struct
from typing import Final, NamedTuple

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane.api import Counters, DataplaneError, DropCounters
from mip_agents.dataplane.bpf import load_program, reason_of
from mip_agents.dataplane.bpf_assembler import LICENSE, Assembler
from mip_agents.dataplane.bpf_table import ARRAY, HASH, Table

REASONS: Final = (
    "not_ipv4",
    "ttl_zero",
    "reverse_no_binding",
    "reverse_wrong_outer_source",
    "reverse_wrong_encapsulation",
    "reverse_wrong_key",
    "reverse_not_negotiated",
    "exit_address",
)

MOST_BINDINGS: Final = 1 << 16
"""Memory for all, 12 MB, is taken at once: asked for piece by piece, as fast as
bindings are restored after a restart, a kernel may fail to have it ready."""

_ETH_P_IP: Final = 0x0800
_PASS, _DROP = 0, 2
_LOOK_UP, _GET_TUNNEL_KEY, _LOAD_BYTES = 1, 20, 68
_FROM_NETWORK_HEADER: Final = 1
_STACK: Final = 10
"""Register with the end of the stack."""

# struct __sk_buff
_LEN, _PROTOCOL, _IFINDEX = 0, 16, 40
# struct bpf_tunnel_key; the shorter form, without the local address, is enough to
# receive. Its addresses are in host byte order.
_KEY_ID, _KEY_REMOTE, _KEY_LOCAL = 0, 4, 28
_KEY_SHORT, _KEY_WHOLE = 28, 44
# struct iphdr
_TTL, _SOURCE, _DESTINATION, _HEADER_SIZE = 8, 12, 16, 20
# Where on the stack things are
_HEADER, _KEY, _PAIR, _NUMBER = -24, -72, -80, -84

_SENT, _RECEIVED = 0, 16
"""Where in `_TRAFFIC` packets and, behind them, bytes of a direction are."""
_NODE = Struct("=I")
_TRAFFIC = Struct("=QQQQ")
_ENDS = Struct("=II")
_BINDING = Struct("=III")
_REASON = Struct("=I")
_COUNT = Struct("=Q")


class Passage(NamedTuple):
    """How packets of one binding have to come in."""

    care_of: str
    ifindex: int
    key: int
    """Of GRE; 0 also where there is none, as programs cannot tell."""
    reverse: bool


def problem() -> str | None:
    """Say why this kernel does not take the programs, by loading them."""
    try:
        _try()
    except OSError as error:
        return reason_of(error)
    return None


@functools.cache
def _try() -> None:
    Gate(most_bindings=1).close()


class Gate:
    """The programs, once for all devices, and their tables."""

    def __init__(self, most_bindings: int | None = None) -> None:
        """Load everything. :raises OSError: as the kernel answers.

        :param most_bindings: None: `MOST_BINDINGS`
        """
        entries = most_bindings or MOST_BINDINGS
        self._tables: dict[str, Table] = {}
        self._programs: list[int] = []
        try:
            self._nodes = self._table("nodes", HASH, _NODE, _TRAFFIC, entries)
            self._bindings = self._table("bindings", HASH, _ENDS, _BINDING, entries)
            self._dropped = self._table("dropped", ARRAY, _REASON, _COUNT, len(REASONS))
            self._inward = self._load("mip_in", self._way_in())
            self._outward = self._load("mip_out", self._way_out())
        except BaseException:
            self.close()
            raise

    def _table(
        self, name: str, kind: int, key: Struct, value: Struct, entries: int
    ) -> Table:
        self._tables[name] = Table(name, kind, key, value, entries)
        return self._tables[name]

    def _load(self, name: str, program: Assembler) -> int:
        maps = {name: table.map for name, table in self._tables.items()}
        loaded = load_program(name, program.assembled(), maps, LICENSE)
        self._programs.append(loaded)
        return loaded

    def close(self) -> None:
        """Let go of everything; devices that still use it keep it alive."""
        for table in self._tables.values():
            table.close()
        for descriptor in self._programs:
            os.close(descriptor)
        self._tables.clear()
        self._programs.clear()

    async def guard(self, ipr: AsyncIPRoute, ifindex: int) -> None:
        """Put the programs on a device, with which they go.

        :raises DataplaneError: the kernel has no such filters.
        """
        try:
            await ipr.tc("add", "clsact", ifindex)
            for parent, name, descriptor in (
                ("ffff:fff2", "mip-in", self._inward),
                ("ffff:fff3", "mip-out", self._outward),
            ):
                await ipr.tc(
                    "add-filter",
                    "bpf",
                    ifindex,
                    ":1",
                    fd=descriptor,
                    name=name,
                    parent=parent,
                    classid=1,
                    direct_action=True,
                )
        except NetlinkError as error:
            raise DataplaneError(
                f"this kernel takes no eBPF filters (clsact, cls_bpf): {error}"
            ) from error

    # Bindings

    def admit(self, home_address: str, passage: Passage) -> None:
        """Let a node's packets pass. :raises DataplaneError: there is no room."""
        node = _network_order(home_address)
        try:
            if self._nodes.get((node,)) is None:
                self._nodes.put((node,), (0, 0, 0, 0))
            self._bindings.put(
                (node, int(IPv4Address(passage.care_of))),
                (passage.ifindex, passage.key, passage.reverse),
            )
        except OSError as error:
            raise DataplaneError(
                f"{home_address}: no room among {MOST_BINDINGS} bindings: "
                f"{error.strerror}"
            ) from error

    def refuse(self, home_address: str, care_of: str) -> None:
        """Let nothing pass from this care-of address any more."""
        self._bindings.drop((_network_order(home_address), int(IPv4Address(care_of))))

    def forget(self, home_address: str) -> None:
        """Forget a node and its traffic."""
        self._nodes.drop((_network_order(home_address),))

    def counters(self, home_address: str) -> Counters:
        """Return the traffic of a node."""
        return Counters(*self._nodes.get((_network_order(home_address),)) or ())

    def drops(self) -> DropCounters:
        """Return what was thrown away, by reason."""
        counted = DropCounters()
        for number, reason in enumerate(REASONS):
            (count,) = self._dropped.get((number,)) or (0,)
            if count:
                counted.reasons[reason] = count
        return counted

    # Programs. Register 6 has the packet throughout.

    def _way_in(self) -> Assembler:
        program = _begin(otherwise="not_ipv4")
        program.load(1, _STACK, _HEADER + _TTL, 1)
        program.jump_if_equal(1, 0, "ttl_zero")
        _tunnel_key(program, _KEY_SHORT, otherwise="reverse_wrong_encapsulation")
        program.load(1, _STACK, _HEADER + _SOURCE)
        program.store(_STACK, _PAIR, 1)
        program.load(1, _STACK, _KEY + _KEY_REMOTE)
        program.store(_STACK, _PAIR + 4, 1)
        _look_up(program, "bindings", _PAIR)
        program.jump_if_equal(0, 0, "unbound")
        for offset, reason in ((0, "encapsulation"), (4, "key")):
            program.load(1, 0, offset)
            if reason == "key":
                program.load(2, _STACK, _KEY + _KEY_ID)
            else:
                program.load(2, 6, _IFINDEX)
            program.jump_if_different(1, 2, f"reverse_wrong_{reason}")
        program.load(1, 0, 8)
        program.jump_if_equal(1, 0, "reverse_not_negotiated")
        _look_up(program, "nodes", _HEADER + _SOURCE)
        self._count_and_pass(program, _RECEIVED)
        program.label("unbound")
        _look_up(program, "nodes", _HEADER + _SOURCE)
        program.jump_if_equal(0, 0, "reverse_no_binding")
        program.jump("reverse_wrong_outer_source")
        self._end(program)
        return program

    def _way_out(self) -> Assembler:
        program = _begin(otherwise="dropped")
        _tunnel_key(program, _KEY_WHOLE, otherwise="dropped")
        program.load(1, _STACK, _HEADER + _SOURCE)
        program.to_network_order(1)
        program.load(2, _STACK, _KEY + _KEY_LOCAL)
        program.jump_if_same(1, 2, "exit_address")
        _look_up(program, "nodes", _HEADER + _DESTINATION)
        self._count_and_pass(program, _SENT)
        self._end(program)
        return program

    def _count_and_pass(self, program: Assembler, direction: int) -> None:
        """Count for the node that was looked up, if it is there."""
        program.jump_if_equal(0, 0, "pass")
        program.set(1, 1)
        program.count(0, direction, 1)
        program.load(1, 6, _LEN)
        program.count(0, direction + 8, 1)
        program.label("pass")
        program.set(0, _PASS)
        program.leave()

    def _end(self, program: Assembler) -> None:
        """Give each reason a place to go to, where it is counted."""
        for reason in program.missing():
            if reason not in REASONS:
                continue
            program.label(reason)
            program.set(1, REASONS.index(reason))
            program.jump("drop")
        program.label("drop")
        program.store(_STACK, _NUMBER, 1)
        _look_up(program, "dropped", _NUMBER)
        program.jump_if_equal(0, 0, "dropped")
        program.set(1, 1)
        program.count(0, 0, 1)
        program.label("dropped")
        program.set(0, _DROP)
        program.leave()


def _begin(otherwise: str) -> Assembler:
    """Begin a program: the inner IPv4 header is on the stack, if there is one."""
    program = Assembler()
    program.move(6, 1)
    program.load(1, 6, _PROTOCOL)
    program.jump_if_not_equal(1, htons(_ETH_P_IP), otherwise)
    program.move(1, 6)
    program.set(2, 0)
    program.move(3, _STACK)
    program.add(3, _HEADER)
    program.set(4, _HEADER_SIZE)
    program.set(5, _FROM_NETWORK_HEADER)
    program.call(_LOAD_BYTES)
    program.jump_if_not_equal(0, 0, otherwise)
    return program


def _tunnel_key(program: Assembler, size: int, otherwise: str) -> None:
    """Have what the kernel knows of the outer header on the stack."""
    program.move(1, 6)
    program.move(2, _STACK)
    program.add(2, _KEY)
    program.set(3, size)
    program.set(4, 0)
    program.call(_GET_TUNNEL_KEY)
    program.jump_if_not_equal(0, 0, otherwise)


def _look_up(program: Assembler, table: str, key: int) -> None:
    """Look the entry up whose key is there on the stack."""
    program.load_map(1, table)
    program.move(2, _STACK)
    program.add(2, key)
    program.call(_LOOK_UP)


def _network_order(address: str) -> int:
    return htonl(int(IPv4Address(address)))
