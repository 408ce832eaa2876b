# SPDX-License-Identifier: GPL-2.0-only
"""The choice of a driver, its probes, and the driver that only records."""

import asyncio
import socket
from functools import partial

import pytest

from dataplane.world import ha_tunnel
from mip_agents.dataplane import probe
from mip_agents.dataplane.api import Dataplane, DataplaneError
from mip_agents.dataplane.ebpfhome import make_ebpf
from mip_agents.dataplane.kernel import make_kernel
from mip_agents.dataplane.recorder import RecorderDataplane
from mip_agents.dataplane.select import DRIVERS, Driver, create
from mip_agents.dataplane.tun import TunDataplane
from mip_agents.dataplane.tunforeign import make_tun
from mip_agents.protocol.tunnel import Category, Role
from scapy_mip.const import Encapsulation


@pytest.mark.parametrize("name", ["tuna", ""])
def test_unknown_names_are_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(DataplaneError, match="auto, ebpf, kernel, tun, none"):
        create(name, Role.HOME_AGENT)


def test_none_records() -> None:
    dataplane, _ = create("none", Role.MOBILE_NODE)
    assert dataplane.name == "none"


def test_tun_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "missing_capability", lambda *_: "no CAP_NET_RAW")
    with pytest.raises(DataplaneError, match="no CAP_NET_RAW"):
        create("auto", Role.HOME_AGENT)


def test_probes_leave_no_trace() -> None:
    before = socket.if_nameindex()
    for function in (
        probe.tun_port_problem,
        probe.veth_port_problem,
        probe.tunnel_devices_problem,
        *(
            partial(driver.problem, role)
            for driver in DRIVERS.values()
            for role in Role
        ),
    ):
        reason = function()
        assert reason is None or reason
    assert socket.if_nameindex() == before


def test_drivers_are_dataplanes() -> None:
    drivers: list[Dataplane] = [
        RecorderDataplane(),
        make_ebpf(Role.HOME_AGENT, address="10.1.1.20"),
        make_ebpf(Role.MOBILE_NODE),
        TunDataplane(Role.HOME_AGENT, address="10.1.1.20"),
        make_kernel(Role.HOME_AGENT, address="10.1.1.20"),
        make_kernel(Role.MOBILE_NODE),
        make_tun(Role.FOREIGN_AGENT),
    ]
    assert [driver.name for driver in drivers] == [
        "none",
        "ebpf",
        "ebpf",
        "tun",
        "kernel",
        "kernel",
        "tun",
    ]


def test_auto_says_why_it_passed_over_the_faster_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ebpf", "kernel"):
        monkeypatch.setitem(
            DRIVERS, name, Driver(lambda _: "no gre devices", make_kernel)
        )
    monkeypatch.setitem(DRIVERS, "tun", Driver(lambda _: None, TunDataplane))
    dataplane, passed_over = create("auto", Role.MOBILE_NODE)
    assert dataplane.name == "tun"
    assert ("kernel", "no gre devices") in passed_over


def test_recorder_keeps_the_list_of_changes() -> None:
    async def scenario() -> RecorderDataplane:
        recorder = RecorderDataplane()
        await recorder.open()
        await recorder.install(ha_tunnel())
        await recorder.install(ha_tunnel())
        await recorder.install(ha_tunnel("10.1.3.5"))
        await recorder.announce("10.1.1.10", "eth0")
        await recorder.remove("10.1.1.10")
        await recorder.remove("10.1.1.10")
        recorder.fail_with = "no"
        with pytest.raises(DataplaneError, match="no"):
            await recorder.install(ha_tunnel())
        await recorder.close()
        await recorder.close()
        return recorder

    recorder = asyncio.run(scenario())
    assert [change.action for change in recorder.changes] == [
        "open",
        "install",
        "refresh",
        "replace",
        "announce",
        "remove",
        "close",
    ]
    assert not recorder.tunnels()


def test_auto_finds_a_driver_for_what_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, driver in DRIVERS.items():
        monkeypatch.setitem(DRIVERS, name, driver._replace(problem=lambda _: None))
    role, minimal = Role.HOME_AGENT, frozenset((Encapsulation.MINIMAL,))
    asked, _ = create("kernel", role, encapsulations=minimal)
    assert asked.name == "kernel"
    found, _ = create("auto", role, encapsulations=minimal)
    assert found.name == "ebpf"
    monkeypatch.setitem(
        DRIVERS, "ebpf", DRIVERS["ebpf"]._replace(problem=lambda _: "no CAP_BPF")
    )
    found, passed_over = create("auto", role, encapsulations=minimal)
    assert found.name == "tun"
    assert ("kernel", "it cannot carry minimal") in passed_over
    found, passed_over = create("auto", role, categories=frozenset(Category))
    assert found.name == "tun"
    assert ("kernel", "it cannot carry limited, multicast, subnet") in passed_over


def test_auto_finds_a_driver_for_every_delivery_style(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RT-01: only one puts packets into a tunnel to a foreign agent."""
    for name, driver in DRIVERS.items():
        monkeypatch.setitem(DRIVERS, name, driver._replace(problem=lambda _: None))
    found, passed_over = create("auto", Role.MOBILE_NODE, encapsulating=True)
    assert found.name == "tun"
    reason = "it cannot carry packets to foreign agents in a tunnel"
    assert passed_over == [("ebpf", reason), ("kernel", reason)]


def test_foreign_agents_have_one_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "missing_capability", lambda *_: None)
    monkeypatch.setattr(probe, "tun_port_problem", lambda: None)
    found, passed_over = create("auto", Role.FOREIGN_AGENT)
    assert found.name == "tun"
    reason = "not for foreign agents"
    assert passed_over == [("ebpf", reason), ("kernel", reason)]
    for name in ("ebpf", "kernel"):
        with pytest.raises(DataplaneError, match=f"{name}: {reason}"):
            create(name, Role.FOREIGN_AGENT)
