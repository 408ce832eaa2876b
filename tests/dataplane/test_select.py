# SPDX-License-Identifier: GPL-2.0-only
"""The choice of a driver, its probes, and the driver that only records."""

import asyncio

import pytest

from dataplane.world import ha_tunnel
from mip_agents.dataplane import probe
from mip_agents.dataplane.api import Dataplane, DataplaneError
from mip_agents.dataplane.ebpf import EbpfDataplane
from mip_agents.dataplane.recorder import RecorderDataplane
from mip_agents.dataplane.select import create
from mip_agents.dataplane.tun import TunDataplane
from mip_agents.protocol.tunnel import Role


@pytest.mark.parametrize("name", ["tuna", "kernel", ""])
def test_unknown_names_are_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(DataplaneError, match="auto, ebpf, tun, none"):
        create(name, Role.HOME_AGENT)


def test_none_records() -> None:
    dataplane, _ = create("none", Role.MOBILE_NODE)
    assert dataplane.name == "none"


def test_tun_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "missing_capability", lambda *_: "no CAP_NET_RAW")
    with pytest.raises(DataplaneError, match="no CAP_NET_RAW"):
        create("auto", Role.HOME_AGENT)


def test_probes_leave_no_trace() -> None:
    for function in (
        probe.tun_port_problem,
        probe.veth_port_problem,
        probe.tun_driver_problem,
        probe.ebpf_driver_problem,
    ):
        reason = function()
        assert reason is None or reason


def test_drivers_are_dataplanes() -> None:
    drivers: list[Dataplane] = [
        RecorderDataplane(),
        EbpfDataplane(Role.HOME_AGENT, address="10.1.1.20"),
        TunDataplane(Role.HOME_AGENT, address="10.1.1.20"),
    ]
    assert [driver.name for driver in drivers] == ["none", "ebpf", "tun"]


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
