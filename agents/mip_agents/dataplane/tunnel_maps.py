# SPDX-License-Identifier: GPL-2.0-only
"""The maps and programs of `bpf/mip_tunnel.c`, with types.

The structures here are those of the C source; their sizes are compared when the object
is loaded, and the names of the drop reasons by a test.
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address
from itertools import chain
from pathlib import Path
from struct import Struct
from typing import Final

from mip_agents.dataplane.api import Counters, DataplaneError, DropCounters
from mip_agents.dataplane.bpf import Map, load_program, reason_of, run_program
from mip_agents.dataplane.bpf_object import read_object
from mip_agents.dataplane.outer import Drop
from mip_agents.protocol.tunnel import Form, Role, Tunnel
from scapy_mip.const import Encapsulation

OBJECT: Final = Path(__file__).with_name("bpf") / "mip_tunnel.o"

MAX_PEERS: Final = 8
"""Simultaneous bindings of one home address."""

MAX_FORGOTTEN: Final = 64
"""Home addresses that the program `ha_forget` takes at a time."""

MARK_SHIFT: Final = 24
MARK_MASK: Final = 0x3F << MARK_SHIFT
"""Bits of a packet's mark that say by which route it goes into the port."""

DROPS: Final = (
    Drop.NOT_IPV4,
    Drop.TRUNCATED,
    Drop.BAD_LENGTH,
    Drop.BAD_CHECKSUM,
    Drop.UNKNOWN_PROTOCOL,
    Drop.TTL_ZERO,
    Drop.TOO_BIG,
    Drop.EXIT_ADDRESS,
    Drop.OWN_TUNNEL,
    Drop.GRE_FLAGS,
    Drop.GRE_VERSION,
    Drop.GRE_PROTOCOL,
    Drop.MINIMAL_CHECKSUM,
    "no_tunnel",
    "receive_only",
    "reverse_no_binding",
    "reverse_wrong_outer_source",
    "reverse_wrong_outer_destination",
    "reverse_wrong_encapsulation",
    "reverse_wrong_ports",
    "reverse_wrong_key",
    "reverse_not_negotiated",
    "forward_no_tunnel",
    "forward_wrong_outer_source",
    "forward_wrong_encapsulation",
    "forward_wrong_ports",
    "forward_wrong_key",
    "send_emsgsize",
    "send_enetunreach",
    "send_enobufs",
    "port_no_route",
)
"""Reasons in the order of `enum drop`."""

_REVERSE = 1
_SEND_KEY, _RECEIVE_KEY, _UDP = 1, 2, 4

_HEAD = Struct("=4s4sIIBBBx")
_FORM = Struct("=4sBB2s2sxx4s4s")
_PLAIN = Struct("=4s4sIIBBBx4sB15x")
"""Head, and a form without keys and ports."""
_COUNTERS = Struct("=5Q")
_CONFIG = Struct("=III4s6s6s")
_COUNT = Struct("=Q")
_FORGOTTEN = Struct("=4sI")
_ETHERNET_HEADER: Final = bytes(14)
_NOWHERE = bytes(4)
_NO_PORT = bytes(2)
_SIZES: Final = {
    "bindings": _HEAD.size + MAX_PEERS * _FORM.size,
    "counters": _COUNTERS.size,
    "locals": 1,
    "ports": 1,
    "drops": _COUNT.size,
    "config": _CONFIG.size + len(_NOWHERE),
}

_TROUBLE: Final = (OSError, ValueError, KeyError)
"""From the kernel, or from an object that is not of this version."""

_PROGRAMS: Final = {
    Role.HOME_AGENT: ("ha_link_in", "ha_link_out", "ha_port", "ha_forget"),
    Role.MOBILE_NODE: ("mn_link_in", "mn_port"),
}


def problem(role: Role) -> str | None:
    """Say why this kernel does not take the programs, by loading them.

    That takes some 50 ms and leaves nothing. A yes holds good for this process.
    """
    try:
        _try(role)
    except _TROUBLE as error:
        return reason_of(error)
    return None


@functools.cache
def _try(role: Role) -> None:
    _Loaded(role, most_entries=1).close()


class _Loaded:
    """Maps and programs of one role."""

    def __init__(self, role: Role, most_entries: int | None = None) -> None:
        """Create and load them.

        :param most_entries: of each map; None: as many as the source says
        :raises OSError: as the kernel answers
        :raises ValueError, KeyError: the object is not of this version
        """
        self.programs: dict[str, int] = {}
        """Descriptors by the names in the source."""
        self.maps: dict[str, Map] = {}
        try:
            self._load(role, most_entries)
        except BaseException:
            self.close()
            raise

    def _load(self, role: Role, most_entries: int | None) -> None:
        content = read_object(OBJECT)
        for name, size in _SIZES.items():
            definition = content.maps[name]
            if definition.value_size != size:
                raise ValueError(f"{OBJECT}: {name} has another size: `make bpf`")
            if most_entries is not None:
                definition = definition._replace(max_entries=most_entries)
            self.maps[name] = Map(name, definition)
        for name in _PROGRAMS[role]:
            self.programs[name] = load_program(
                name, content.programs[name], self.maps, content.license
            )

    def close(self) -> None:
        """Release everything; what a filter uses lives as long as the filter."""
        for descriptor in self.programs.values():
            os.close(descriptor)
        self.programs.clear()
        for one in self.maps.values():
            one.close()
        self.maps.clear()


class TunnelMaps:
    """What the programs of one role know."""

    def __init__(self, role: Role) -> None:
        """Create the maps and load the programs.

        :raises DataplaneError: in one line
        """
        try:
            self._loaded = _Loaded(role)
        except _TROUBLE as error:
            raise DataplaneError(
                f'eBPF: {reason_of(error)}; use dataplane = "tun", or run as root'
            ) from error
        self.programs = self._loaded.programs
        self._maps = self._loaded.maps
        self._bindings = self._maps["bindings"]
        self._counters = self._maps["counters"]
        self._locals: dict[str, int] = {}
        self._ports: set[int] = set()

    def close(self) -> None:
        """Release everything; what a filter uses lives as long as the filter."""
        self._loaded.close()

    def configure(
        self,
        *,
        port: tuple[int, int],
        port_mac: bytes,
        home_link: int,
        home_mac: bytes,
        broadcast: IPv4Address | None,
    ) -> None:
        """Tell the programs where they are; see `struct config`."""
        table = self._maps["config"]
        _CONFIG.pack_into(
            table.value,
            0,
            *port,
            home_link,
            broadcast.packed if broadcast else _NOWHERE,
            port_mac,
            home_mac,
        )
        table.update()

    def set_home(self, home_address: str) -> None:
        """Tell a mobile node's programs to whom broadcasts and multicasts go."""
        table = self._maps["config"]
        table.value[_CONFIG.size :] = socket.inet_aton(home_address)
        table.update()

    def put(self, tunnel: Tunnel, ifindex: int, mark: int) -> None:
        """Use `tunnel` from now on, in the place of what was there, in one step.

        :param ifindex: where outer packets leave; 0: routing decides
        :param mark: of packets that are to be routed into the port
        :raises DataplaneError: nothing has changed then.
        """
        peers = len(tunnel.peers)
        if peers == 1 and not tunnel.peer_forms:
            self._put_plain(tunnel, ifindex, mark)
            return
        if peers > MAX_PEERS:
            raise DataplaneError(
                f"{tunnel.home_address}: {peers} simultaneous bindings; the ebpf "
                f"driver carries {MAX_PEERS}: lower max_bindings_per_node"
            )
        table = self._bindings
        home = socket.inet_aton(tunnel.home_address)
        table.key[:] = home
        _HEAD.pack_into(
            table.value,
            0,
            home,
            socket.inet_aton(tunnel.local),
            ifindex,
            mark,
            peers,
            0 if tunnel.receive_only else peers,
            _REVERSE if tunnel.reverse else 0,
        )
        offset = _HEAD.size
        for peer, form in tunnel.forms():
            _pack_form(table.value, offset, peer, form)
            offset += _FORM.size
        self._store(tunnel.home_address)

    def _put_plain(self, tunnel: Tunnel, ifindex: int, mark: int) -> None:
        """Do the same for one peer and a plain form, in one go: the usual case."""
        home = socket.inet_aton(tunnel.home_address)
        self._bindings.key[:] = home
        _PLAIN.pack_into(
            self._bindings.value,
            0,
            home,
            socket.inet_aton(tunnel.local),
            ifindex,
            mark,
            1,
            0 if tunnel.receive_only else 1,
            _REVERSE if tunnel.reverse else 0,
            socket.inet_aton(tunnel.peers[0]),
            tunnel.encapsulation,
        )
        self._store(tunnel.home_address)

    def put_many(self, rests: Mapping[str, bytes]) -> dict[str, DataplaneError]:
        """Store entries by one system call, each in one step of its own.

        Return what could not be stored, and why.

        :param rests: by home address, see `plain_rest`
        """
        homes = list(map(socket.inet_aton, rests))
        keys = b"".join(homes)
        values = b"".join(chain.from_iterable(zip(homes, rests.values(), strict=True)))
        refusals: dict[str, DataplaneError] = {}
        table = self._bindings
        each = len(table.value)
        done = table.update_many(keys, values)
        while done < len(homes):
            # The next one has been refused; or this kernel stores one at a time.
            table.key[:] = homes[done]
            table.value[:] = values[done * each : (done + 1) * each]
            home_address = socket.inet_ntoa(homes[done])
            try:
                self._store(home_address)
            except DataplaneError as refusal:
                refusals[home_address] = refusal
            done += 1
            done += table.update_many(keys[done * 4 :], values[done * each :])
        return refusals

    def _store(self, home_address: str) -> None:
        try:
            self._bindings.update()
        except OSError as error:
            raise DataplaneError(
                f"{home_address}: {error}; there may be "
                f"{self._bindings.definition.max_entries} bindings"
            ) from error

    def drop(self, home_address: str) -> int:
        """Use no tunnel for a home address any more, and forget its counters.

        Return the interface where this host has asked for its link-layer address, and
        so has our answer among its neighbours; 0 if it has not.
        """
        home = socket.inet_aton(home_address)
        self._bindings.key[:] = home
        self._bindings.delete()
        self._counters.key[:] = home
        if not self._counters.take():
            return 0
        return int(_COUNTERS.unpack(self._counters.value)[4])

    def drop_many(self, home_addresses: Sequence[str]) -> dict[str, int]:
        """Do what `drop` does for many; return what is not 0."""
        found = {}
        for start in range(0, len(home_addresses), MAX_FORGOTTEN):
            some = home_addresses[start : start + MAX_FORGOTTEN]
            homes = _NOWHERE.join(map(socket.inet_aton, some))
            data = bytearray(_ETHERNET_HEADER + homes + _NOWHERE)
            run_program(self.programs["ha_forget"], data)
            answers = _FORGOTTEN.iter_unpack(data[len(_ETHERNET_HEADER) :])
            for home_address, (_, ifindex) in zip(some, answers, strict=True):
                if ifindex:
                    found[home_address] = ifindex
        return found

    def add_local(self, address: str, users: int = 1) -> None:
        """Take tunnel packets for `address`, some users more."""
        before = self._locals.get(address, 0)
        if not before:
            table = self._maps["locals"]
            table.key[:] = socket.inet_aton(address)
            table.update()
        self._locals[address] = before + users

    def drop_local(self, address: str, users: int = 1) -> None:
        """Take it back; the last user ends it."""
        left = self._locals.pop(address) - users
        if left:
            self._locals[address] = left
        else:
            table = self._maps["locals"]
            table.key[:] = socket.inet_aton(address)
            table.delete()

    def set_ports(self, ports: Collection[int]) -> None:
        """Take Tunnel Data that comes to these UDP ports of ours, and to no other."""
        wanted = set(ports)
        if wanted == self._ports:
            return
        table = self._maps["ports"]
        for port in wanted ^ self._ports:
            table.key[:] = port.to_bytes(2, "big")
            if port in wanted:
                table.update()
            else:
                table.delete()
        self._ports = wanted

    def counters(self, home_address: str) -> Counters:
        """Return the traffic of a home address."""
        if not self._maps:
            return Counters()
        self._counters.key[:] = socket.inet_aton(home_address)
        if not self._counters.lookup():
            return Counters()
        return Counters(*_COUNTERS.unpack(self._counters.value)[:4])

    def count_drops(self, into: DropCounters) -> None:
        """Add what the programs threw away."""
        table = self._maps.get("drops")
        if table is None:
            return
        for number, reason in enumerate(DROPS):
            table.key[:] = number.to_bytes(4, "little")
            table.lookup()
            count = sum(value for (value,) in _COUNT.iter_unpack(table.value))
            if count:
                into.reasons[str(reason)] = into.reasons.get(str(reason), 0) + count


def plain_rest(
    local: str,
    peers: tuple[str, ...],
    encapsulation: Encapsulation,
    reverse: bool,
    *,
    mark: int,
) -> bytes:
    """Return all behind the home address in the entry of a home agent's plain tunnel.

    It has one peer, and neither keys nor ports.
    """
    entry = bytearray(_SIZES["bindings"])
    _PLAIN.pack_into(
        entry,
        0,
        _NOWHERE,
        socket.inet_aton(local),
        0,
        mark,
        1,
        1,
        _REVERSE if reverse else 0,
        socket.inet_aton(peers[0]),
        encapsulation,
    )
    return bytes(entry[len(_NOWHERE) :])


def _pack_form(value: memoryview, offset: int, peer: str, form: Form) -> None:
    flags = 0
    send_key = receive_key = _NOWHERE
    ours = theirs = _NO_PORT
    if form.send_key is not None:
        flags |= _SEND_KEY
        send_key = form.send_key.to_bytes(4, "big")
    if form.receive_key is not None:
        flags |= _RECEIVE_KEY
        receive_key = form.receive_key.to_bytes(4, "big")
    if form.ports is not None:
        flags |= _UDP
        ours, theirs = (port.to_bytes(2, "big") for port in form.ports)
    _FORM.pack_into(
        value, offset, socket.inet_aton(peer), int(form.encapsulation),
        flags, ours, theirs, send_key, receive_key,
    )  # fmt: skip
