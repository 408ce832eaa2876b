# SPDX-License-Identifier: GPL-2.0-only
"""Requests packed by hand do what those of `ip` do, and errors are told apart."""

import errno
import socket

import pytest

from mip_agents.dataplane.probe import clsact_problem
from mip_agents.dataplane.rtnetlink import (
    DefaultRoute,
    Outer,
    Requests,
    clsact,
    drop_filter,
    proxy,
    proxy_place,
    route,
)
from support.netns import isolated, sh

LO = 1
FIELDS = {"table": 254, "metric": 434, "protocol": 134}


def to(number: int, ifindex: int = LO) -> bytes:
    destination = f"10.7.{number // 250}.{number % 250 + 1}/32"
    return route("replace", destination=destination, ifindex=ifindex, **FIELDS)


@isolated
def test_each_request_has_its_own_answer() -> None:
    many = [to(number) for number in range(300)]
    many[7] = many[120] = to(7, ifindex=99)
    with Requests() as requests:
        codes = requests.carry_out(many)
        assert {n for n, code in enumerate(codes) if code} == {7, 120}
        assert codes[7] == errno.ENODEV
        with pytest.raises(OSError, match="No such device"):
            requests.call(to(1, ifindex=99))
        requests.call(to(7))
    lines = sh("ip route show proto 134").splitlines()
    assert len(lines) == 299
    assert "10.7.0.8 dev lo scope link metric 434 " in lines


@isolated
def test_routes_are_as_ip_shows_them() -> None:
    sh("ip link add v0 type veth peer name v1; ip addr add 10.1.0.1/24 dev v0")
    sh("ip link set v1 up; ip link set v0 up")
    index = int(sh("cat /proc/net/dev_mcast | awk '$2 == \"v0\" {print $1; exit}'"))
    with Requests() as requests:
        fields = {"ifindex": index, "metric": 7, "protocol": 134, "table": 434}
        default = {"destination": "0.0.0.0/0", **fields}
        requests.call(
            route("replace", gateway="10.9.9.9", source="10.1.0.1", mtu=1400, **default)
        )
        shown = sh("ip route show table 434").strip()
        assert shown.startswith("default via 10.9.9.9 dev v0 proto 134 src 10.1.0.1 ")
        assert shown.endswith(" metric 7 onlink mtu 1400")
        outer = Outer("10.1.0.1", "10.2.0.2", key=5)
        requests.call(
            route("replace", destination="10.3.0.3/32", outer=outer, **fields)
        )
        shown = sh("ip route show 10.3.0.3 table 434")
        assert "encap ip id 5 src 10.1.0.1 dst 10.2.0.2 ttl 64 tos 1 key" in shown
        requests.call(route("del", destination="10.3.0.3/32", **fields))
        requests.call(route("del", **default))
        assert sh("ip route show table 434 2>/dev/null || true") == ""
        with pytest.raises(ProcessLookupError):
            requests.call(route("del", **default))


@isolated
def test_proxies_with_their_makers() -> None:
    sh("ip neigh add proxy 10.1.1.9 dev lo")
    with Requests() as requests:
        ours = {"address": "10.1.1.10", "ifindex": LO, "protocol": 134}
        requests.call(proxy("add", **ours))
        assert sorted(requests.proxies()) == [
            ("10.1.1.10", LO, 134),
            ("10.1.1.9", LO, 0),
        ]
        requests.call(proxy("del", **ours))
        assert requests.proxies() == [("10.1.1.9", LO, 0)]


@isolated
def test_proxies_are_kept_in_chains_by_place() -> None:
    """The kernel tells of one chain after the other."""
    addresses = [f"10.{n % 7}.{n * 37 % 256}.{n * 101 % 256}" for n in range(400)]
    with Requests() as requests:
        codes = requests.carry_out(
            proxy("add", address=address, ifindex=LO, protocol=134)
            for address in addresses
        )
        assert not any(codes)
        places = [proxy_place(address) for address, _, _ in requests.proxies()]
    assert len(places) == 400
    assert len(set(places)) == 16
    assert places == sorted(places)


@isolated
def test_default_routes_are_found_among_many() -> None:
    sh("ip link add v0 type veth peer name v1; ip addr add 10.1.0.1/24 dev v0")
    sh("ip link set v1 up; ip link set v0 up; ip link set lo up")
    index = socket.if_nametoindex("v0")
    with Requests() as requests:
        assert requests.default_routes() == []
        assert not any(requests.carry_out(to(number) for number in range(3000)))
        sh("ip route add default via 10.1.0.2 metric 9")
        sh("ip route add default dev v0; ip route add 0.0.0.0/1 dev v0")
        sh("ip route add default via 10.1.0.3 table 434")
        sh("ip route add unreachable default metric 99")
        assert sorted(requests.default_routes(), key=lambda one: one.metric) == [
            DefaultRoute(index, None, 0),
            DefaultRoute(index, "10.1.0.2", 9),
        ]


@isolated
def test_routes_of_a_maker_are_flushed_in_all_tables() -> None:
    sh("ip link add v0 type veth peer name v1; ip addr add 10.1.0.1/24 dev v0")
    sh("ip link set v1 up; ip link set v0 up; ip link set lo up")
    before = sh("ip route show table all")
    index = socket.if_nametoindex("v0")
    with Requests() as requests:
        assert not any(requests.carry_out(to(number) for number in range(300)))
        fields = {"ifindex": index, "metric": 7, "protocol": 134, "table": 434}
        outer = Outer("10.1.0.1", "10.2.0.2", key=5)
        for one in (
            route("replace", destination="10.3.0.3/32", outer=outer, **fields),
            route(
                "replace",
                destination="0.0.0.0/0",
                gateway="10.1.0.2",
                source="10.1.0.1",
                mtu=1400,
                **fields,
            ),
        ):
            requests.call(one)
        sh("ip route add broadcast 10.5.0.5 dev v0 table local proto 134")
        assert requests.flush_routes(135) == 0
        assert requests.flush_routes(134) == 303
        assert sh("ip route show table all") == before


@isolated
def test_nothing_comes_in_where_all_is_dropped() -> None:
    problem = clsact_problem()
    if problem is not None:
        pytest.skip(problem)
    sh("ping -c1 -W3 127.0.0.1")
    with Requests() as requests:
        requests.call(clsact("add", LO))
        requests.call(drop_filter(LO))
    with pytest.raises(RuntimeError, match="0 received"):
        sh("ping -c1 -W0.1 127.0.0.1")
