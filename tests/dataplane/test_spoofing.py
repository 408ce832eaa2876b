# SPDX-License-Identifier: GPL-2.0-only
"""No driver of a home agent lets in what a registered node did not send (RT-07)."""

import asyncio
import socket

import pytest

from dataplane.traffic import send_packets
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    FORMS,
    HOME,
    UDP_PORTS,
    WLAN0,
    World,
    combinations,
    forms_of,
    ha_tunnel,
    install,
    listen,
    reverse_tunnelled,
)
from mip_agents.dataplane.select import DRIVERS
from mip_agents.protocol.tunnel import Form
from support.netns import isolated

OTHER, UNBOUND = "10.1.1.11", "10.1.1.99"
EACH = 5
_marks: list[str] = []


async def watch(address: str, port: int) -> None:
    """Begin to note what arrives."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind((address, port))
    loop = asyncio.get_running_loop()
    loop.add_reader(sock, lambda: _marks.append(sock.recv(64).decode()))


async def seen(last: str) -> list[str]:
    """Wait for `last`; return all that has arrived."""
    async with asyncio.timeout(5):
        while last not in _marks:
            await asyncio.sleep(0.005)
    return _marks


def spoofs(form: Form) -> dict[str, tuple[Form, str, str]]:
    """Return what is to be dropped, by name: form, outer and inner source."""
    found = {
        "wrong outer source": (form, WLAN0, HOME),
        "outer source of nobody": (form, "10.1.2.77", HOME),
        "unbound inner source": (form, ETH0, UNBOUND),
        "other node's inner source": (form, ETH0, OTHER),
        "another's form": (next(f for f in FORMS.values() if f != form), ETH0, HOME),
    }
    if form.receive_key is not None:
        wrong = form._replace(receive_key=form.receive_key + 1)
        found["wrong key"] = wrong, ETH0, HOME
        found["no key"] = form._replace(receive_key=None), ETH0, HOME
    if form.ports is not None:
        ours, theirs = form.ports
        wrong = form._replace(ports=(ours, theirs + 1))
        found["wrong source port"] = wrong, ETH0, HOME
        found["wrong port"] = form._replace(ports=(ours + 1, theirs)), ETH0, HOME
    return found


@pytest.mark.parametrize("driver", combinations(DRIVERS))
@isolated
def test_only_registered_nodes_are_let_in(driver: str) -> None:
    """RT-07, NAT-09, TUN-08, in each form: and the good packet behind them is."""
    w = World(driver=driver)
    agent = w.start_ha()
    agent.call(listen, UDP_PORTS[0])
    w.cn.call(watch, CORRESPONDENT, 7100)
    expected = set()
    for name, form in forms_of(driver).items():
        agent.call(install, ha_tunnel(form=form))
        agent.call(install, ha_tunnel(WLAN0, home_address=OTHER, form=form))
        packets = [
            reverse_tunnelled(*spoof, f"{name}, {what}")
            for what, spoof in spoofs(form).items()
        ]
        good = f"{name}, registered"
        last = f"{name}, the last"
        packets = packets * EACH + [reverse_tunnelled(form, ETH0, HOME, good)] * EACH
        w.mn.call(send_packets, [*packets, reverse_tunnelled(form, ETH0, HOME, last)])
        arrived = w.cn.call(seen, last)
        expected |= {good, last}
        assert set(arrived) == expected
        assert arrived.count(good) == EACH
