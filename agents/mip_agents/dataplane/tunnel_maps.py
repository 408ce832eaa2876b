# SPDX-License-Identifier: GPL-2.0-only
"""The maps of `bpf/mip_tunnel.c`, with types."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address
from itertools import chain
from typing import Final

from mip_agents.dataplane.api import Counters, DataplaneError, DropCounters
from mip_agents.dataplane.bpf import reason_of, run_program
from mip_agents.dataplane.outer import Drop
from mip_agents.dataplane.tunnel_programs import TROUBLE, Loaded
from mip_agents.dataplane.tunnel_structs import (
    CONFIG,
    COUNT,
    COUNTERS,
    FORGOTTEN,
    FORM,
    HEAD,
    MAX_PEERS,
    NOWHERE,
    PLAIN,
    REVERSE,
    pack_form,
)
from mip_agents.protocol.tunnel import Role, Tunnel

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

_ETHERNET_HEADER: Final = bytes(14)
_PATIENCE: Final = 10
_REFILL_S: Final = 0.002  # a tick takes 10 ms at most


class TunnelMaps:
    """What the programs of one role know."""

    def __init__(self, role: Role) -> None:
        """Create the maps and load the programs.

        :raises DataplaneError: in one line
        """
        try:
            self._loaded = Loaded(role)
        except TROUBLE as error:
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
        CONFIG.pack_into(
            table.value,
            0,
            *port,
            home_link,
            broadcast.packed if broadcast else NOWHERE,
            port_mac,
            home_mac,
        )
        table.update()

    def set_home(self, home_address: str) -> None:
        """Tell a mobile node's programs to whom broadcasts and multicasts go."""
        table = self._maps["config"]
        table.value[CONFIG.size :] = socket.inet_aton(home_address)
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
        HEAD.pack_into(
            table.value,
            0,
            home,
            socket.inet_aton(tunnel.local),
            ifindex,
            mark,
            peers,
            0 if tunnel.receive_only else peers,
            REVERSE if tunnel.reverse else 0,
        )
        offset = HEAD.size
        for peer, form in tunnel.forms():
            pack_form(table.value, offset, peer, form)
            offset += FORM.size
        self._store(tunnel.home_address)

    def _put_plain(self, tunnel: Tunnel, ifindex: int, mark: int) -> None:
        """Do the same for one peer and a plain form, in one go: the usual case."""
        home = socket.inet_aton(tunnel.home_address)
        self._bindings.key[:] = home
        PLAIN.pack_into(
            self._bindings.value,
            0,
            home,
            socket.inet_aton(tunnel.local),
            ifindex,
            mark,
            1,
            0 if tunnel.receive_only else 1,
            REVERSE if tunnel.reverse else 0,
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
            home_address = list(rests)[done]
            try:
                # Who waited in vain once does not wait for all that follow.
                self._store(home_address, _PATIENCE if not refusals else 0)
            except DataplaneError as refusal:
                refusals[home_address] = refusal
            done += 1
            done += table.update_many(keys[done * 4 :], values[done * each :])
        return refusals

    def _store(self, home_address: str, patience: int = _PATIENCE) -> None:
        """Store what is in the buffers. :raises DataplaneError: nothing has changed.

        The kernel fills up its stock of free entries in an interrupt. Where that comes
        with the next tick, entries are asked for faster than they are made.

        :param patience: how often to try again where there is no memory
        """
        for left in range(patience, -1, -1):
            try:
                self._bindings.update()
            except OSError as error:
                if error.errno == errno.ENOMEM and left:
                    time.sleep(_REFILL_S)
                    continue
                raise DataplaneError(
                    f"{home_address}: {reason_of(error)}; there may be "
                    f"{self._bindings.definition.max_entries} bindings"
                ) from error
            return

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
        return int(COUNTERS.unpack(self._counters.value)[4])

    def drop_many(self, home_addresses: Sequence[str]) -> dict[str, int]:
        """Do what `drop` does for many; return what is not 0."""
        found = {}
        for start in range(0, len(home_addresses), MAX_FORGOTTEN):
            some = home_addresses[start : start + MAX_FORGOTTEN]
            homes = NOWHERE.join(map(socket.inet_aton, some))
            question = _ETHERNET_HEADER + homes + NOWHERE
            data = bytearray(question)
            run_program("ha_forget", self.programs["ha_forget"], data)
            if data == question:  # nothing is filled in, nearly always
                continue
            answers = FORGOTTEN.iter_unpack(data[len(_ETHERNET_HEADER) :])
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
        return Counters(*COUNTERS.unpack(self._counters.value)[:4])

    def all_counters(self) -> dict[str, Counters] | None:
        """Return the traffic of all home addresses that had some, or None.

        None: this kernel gives it one by one only.
        """
        read = self._counters.read_all() if self._maps else (b"", b"")
        if read is None:
            return None
        keys, values = read
        homes = [socket.inet_ntoa(keys[at : at + 4]) for at in range(0, len(keys), 4)]
        counted = COUNTERS.iter_unpack(values)
        return {
            home: Counters(*numbers[:4])
            for home, numbers in zip(homes, counted, strict=True)
        }

    def count_drops(self, into: DropCounters) -> None:
        """Add what the programs threw away."""
        table = self._maps.get("drops")
        if table is None:
            return
        for number, reason in enumerate(DROPS):
            table.key[:] = number.to_bytes(4, "little")
            table.lookup()
            count = sum(value for (value,) in COUNT.iter_unpack(table.value))
            if count:
                into.reasons[str(reason)] = into.reasons.get(str(reason), 0) + count
