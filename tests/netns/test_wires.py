# SPDX-License-Identifier: GPL-2.0-only
"""Long wires: frames come later, or not at all."""

import contextlib
import json
import socket
from functools import partial

from mip_agents.lab import namespaces
from mip_agents.lab.processes import Children
from mip_agents.lab.topology import NETWORKS, Topology
from mip_agents.lab.wires import carry

FAR, NEAR = NETWORKS["visited-a"].uplink


def with_wire(use):
    """Build the networks with one long wire, and hand over pings and orders."""
    topology = Topology(wired=["visited-a"])
    orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with Children() as children:
        wires = topology.wires
        child = children.fork("wires", partial(carry, orders=theirs, wires=wires))
        with open(child.output, "rb") as output:
            assert json.loads(output.readline()) == {"ready": True}

        def order(**changes):
            orders.send(json.dumps({"wire": "visited-a", **changes}).encode())
            assert orders.recv(1) == b"\0"

        with namespaces.inside("internet"):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((FAR, 0))
        with namespaces.inside("visited-a"):
            other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            other.bind((NEAR, 0))
        with one, other:
            return use(order, one, other)


def arrive(one, other, count, timeout):
    """Send numbered datagrams; return the numbers that arrive."""
    other.settimeout(timeout)
    for number in range(count):
        one.sendto(bytes([number]), other.getsockname())
    found: list[int] = []
    with contextlib.suppress(TimeoutError):
        while len(found) < count:
            found += other.recv(10)
    return found


def test_wire_carries_all_in_order_both_ways(sandbox):
    def use(order, one, other):
        # While ARP goes on, what is sent early can overtake what waits for the answer.
        arrive(one, other, 1, 2)
        arrive(other, one, 1, 2)
        return arrive(one, other, 50, 2), arrive(other, one, 50, 2)

    assert sandbox(lambda: with_wire(use)) == (list(range(50)),) * 2


def test_delay_is_at_least_what_was_ordered(sandbox):
    def use(order, one, other):
        arrive(one, other, 1, 2)  # ARP is done
        order(delay=0.2)
        other.settimeout(0.15)
        one.sendto(b"x", other.getsockname())
        try:
            other.recv(10)
        except TimeoutError:
            other.settimeout(2)
            return other.recv(10)
        return None

    assert sandbox(lambda: with_wire(use)) == b"x"


def test_cut_wire_carries_nothing_until_it_is_mended(sandbox):
    def use(order, one, other):
        arrive(one, other, 1, 2)
        order(cut=True)
        cut = arrive(one, other, 5, 0.3)
        order(cut=False)
        return cut, arrive(one, other, 5, 2)

    assert sandbox(lambda: with_wire(use)) == ([], [0, 1, 2, 3, 4])


def test_loss_takes_some(sandbox):
    def use(order, one, other):
        arrive(one, other, 1, 2)
        order(loss=0.5)
        return len(arrive(one, other, 100, 0.5))

    assert 20 < sandbox(lambda: with_wire(use)) < 80
