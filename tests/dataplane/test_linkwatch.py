# SPDX-License-Identifier: GPL-2.0-only
"""The watch over interfaces, with a real kernel."""

import asyncio
import contextlib

from mip_agents.dataplane import linkwatch
from mip_agents.protocol.links import InterfaceState
from support.netns import ash, isolated

MAC = "02:00:00:00:00:01"


async def until(watch, condition):
    """Return the first snapshot that satisfies `condition`."""
    async with asyncio.timeout(10):
        async for snapshot in watch:
            if condition(snapshot):
                return snapshot
    raise AssertionError


async def scenario() -> None:
    await ash(f"ip link add eth0 address {MAC} type veth peer name far")
    await ash("ip link set far up; ip tuntap add ppp0 mode tun")
    async with contextlib.aclosing(linkwatch.watch()) as watch:
        first = await anext(watch)
        assert first["eth0"] == InterfaceState("eth0", False, link_address=MAC)
        assert first["ppp0"].link_address is None
        assert "lo" not in first
        await ash("ip addr add 10.1.2.5/24 dev eth0; ip link set eth0 up")
        await ash("ip addr add 10.1.2.6/24 dev eth0")
        await ash("ip route add default via 10.1.2.2 dev eth0 metric 9")
        await ash("ip route add default via 10.1.2.1 dev eth0 metric 5")
        wanted = InterfaceState(
            "eth0", True, ("10.1.2.5/24", "10.1.2.6/24"), "10.1.2.1", MAC
        )
        await until(watch, lambda now: now["eth0"] == wanted)
        await ash("ip link set far down")  # no carrier, still administratively up
        gone = await until(watch, lambda now: not now["eth0"].up)
        assert gone["eth0"].addresses == wanted.addresses
        await ash("ip link set far up")
        await until(watch, lambda now: now["eth0"].up)
        await ash("ip route del default via 10.1.2.1")
        await until(watch, lambda now: now["eth0"].gateway == "10.1.2.2")
        await ash("ip addr del 10.1.2.5/24 dev eth0")
        await until(watch, lambda now: "10.1.2.5/24" not in now["eth0"].addresses)
        await ash("ip link set eth0 address 02:00:00:00:00:02")
        await until(watch, lambda now: now["eth0"].link_address == "02:00:00:00:00:02")
        await ash("ip link del eth0; ip link del ppp0")
        await until(watch, lambda now: not now)


@isolated
def test_every_kind_of_change_is_told() -> None:
    asyncio.run(scenario())


async def burst() -> None:
    await ash("ip link add eth0 type veth peer name far; ip link set eth0 up")
    seen = []
    task = asyncio.create_task(linkwatch.follow(seen.append))
    await asyncio.sleep(0)
    # More notifications than the socket's buffer takes while nobody reads: the loss
    # (ENOBUFS) must cost nothing but one more look.
    import subprocess

    commands = "".join(
        f"addr add 10.{i // 250}.{i % 250}.1/32 dev eth0\n" for i in range(4000)
    )
    subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
    async with asyncio.timeout(30):
        while not seen or len(seen[-1]["eth0"].addresses) < 4000:
            await asyncio.sleep(0.01)
    task.cancel()
    assert len(seen) < 20


@isolated
def test_burst_costs_few_looks_and_overrun_is_survived() -> None:
    asyncio.run(burst())


async def routes_of_others() -> None:
    await ash("ip link set lo up")
    changed = asyncio.Event()
    with linkwatch._subscribe(linkwatch._GROUPS) as sock:
        for command, told in (
            ("ip route add 10.7.0.1 dev lo; ip route del 10.7.0.1", False),
            ("ip route add 10.7.0.0/16 dev lo", False),
            ("ip route add default dev lo", True),
            ("ip route del default", True),
            ("ip addr add 10.1.2.6/24 dev lo", True),
        ):
            await ash(command)
            linkwatch._drain(sock, changed)
            assert changed.is_set() is told, command
            changed.clear()


@isolated
def test_routes_that_are_no_default_ask_for_no_look() -> None:
    """A home agent makes one for each binding."""
    asyncio.run(routes_of_others())
