# SPDX-License-Identifier: GPL-2.0-only
"""Ten thousand bindings come, move and go; how fast is printed beside `ip -batch`."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dataplane.world import (
    HOME_AGENT,
    World,
    close,
    differences,
    driver,
    ha_tunnel,
    state,
    with_devices,
)
from mip_agents.protocol.tunnel import Tunnel
from support.netns import Node

MANY = 10_000
PARTS = 4
TOGETHER = 500


def pairs() -> Iterator[tuple[str, str]]:
    """Give home and care-of addresses."""
    for number in range(MANY):
        high, low = divmod(number, 250)
        yield f"10.1.{100 + high}.{low + 1}", f"10.2.{high}.{low + 1}"


def tunnels(move: int = 0) -> Iterator[Tunnel]:
    """Give tunnels to the care-of addresses, or to others."""
    for home, care_of in pairs():
        care_of = care_of.replace("10.2.", f"10.{2 + move}.", 1)
        yield ha_tunnel(care_of, home_address=home)


async def install_all(move: int = 0) -> list[float]:
    """Install them; return the seconds that each part took."""
    every = list(tunnels(move))
    took = []
    for start in range(0, MANY, MANY // PARTS):
        began = time.perf_counter()
        part = every[start : start + MANY // PARTS]
        for at in range(0, len(part), TOGETHER):
            assert not any(await driver().install_many(part[at : at + TOGETHER]))
        took.append(time.perf_counter() - began)
    return took


def batch(node: Node) -> float:
    """Have `ip -batch` make the same for one encapsulation; return the seconds."""
    node.sh("ip link add rival type ipip external; ip link set rival up")
    lines = []
    for number, (home, care_of) in enumerate(pairs(), start=1):
        outer = f"encap ip src {HOME_AGENT} dst {care_of}"
        way = "via 192.0.0.8 dev rival onlink mtu 1480"
        lines.append(f"route replace {home} {outer} {way} metric {number}\n")
        lines.append(f"neigh add proxy {home} dev home0\n")
    with tempfile.NamedTemporaryFile("w") as file:
        file.writelines(lines)
        file.flush()
        began = time.perf_counter()
        node.sh(f"ip -batch {file.name}")
        took = time.perf_counter() - began
    node.sh("ip link del rival; ip neigh flush proxy all")
    return took


@with_devices
def test_ten_thousand_bindings() -> None:
    """Both make a route with an outer header and a proxy neighbour for each."""
    w = World(driver="kernel")
    with tempfile.TemporaryDirectory() as folder:
        options = {"state_file": Path(folder, "state")}
        before = state(w.ha)
        rival = batch(w.ha)
        assert not differences(before, state(w.ha))
        agent = w.start_ha(**options)
        parts = agent.call(install_all)
        moves = agent.call(install_all, 1)
        print(f"ip -batch {rival:.2f} s, driver {sum(parts):.2f} s: {rounded(parts)},")
        print(f"all moved {sum(moves):.2f} s: {rounded(moves)}")
        moved = "ip route show table main | grep -c 'encap ip .* dst 10\\.3\\.'"
        assert int(w.ha.sh(moved)) == MANY
        agent.kill()
        w.start_ha(**options).call(close)
        assert not differences(before, state(w.ha))


def rounded(seconds: list[float]) -> str:
    return " ".join(f"{one:.2f}" for one in seconds)
