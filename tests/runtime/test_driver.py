# SPDX-License-Identifier: GPL-2.0-only
"""The asyncio driver: timer, requests, data plane worker, tasks."""

import asyncio
from dataclasses import replace

import pytest

from mip_agents.dataplane.api import DataplaneError
from mip_agents.protocol.effects import (
    AnnounceAddress,
    Finished,
    GiveBackAddress,
    HoldAddress,
    InstallTunnel,
    RemoveTunnel,
)
from mip_agents.protocol.events import (
    CancelRequested,
    InterfacesChanged,
    TimerFired,
    TunnelFailed,
    TunnelReady,
)
from mip_agents.protocol.tunnel import Tunnel
from mip_agents.runtime.driver import Driver
from mip_agents.runtime.timesync import SystemClock
from scapy_mip.const import Encapsulation
from support.shell import Journalling, ListNotes, ScriptedEngine, Sending

TUNNEL = Tunnel(
    home_address="10.1.1.10",
    local="10.1.1.20",
    peers=("10.1.2.5",),
    encapsulation=Encapsulation.IPIP,
    reverse=True,
)


class SlowDataplane:
    """Takes its calls one at a time; `gate` holds it up."""

    def __init__(self):
        self.calls = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures = {}

    async def _do(self, name):
        await self.gate.wait()
        self.calls.append(name)
        if name in self.failures:
            raise self.failures[name]

    async def install(self, tunnel):
        await self._do("install")

    async def remove(self, home_address):
        await self._do("remove")

    async def install_many(self, tunnels):
        await self._do(f"install {len(tunnels)}")
        return [self.failures.get(tunnel.home_address) for tunnel in tunnels]

    async def remove_many(self, home_addresses):
        await self._do(f"remove {len(home_addresses)}")

    async def give_back(self, address, interface=None):
        await self._do("give back")

    async def announce(self, address, interface=None):
        await self._do("announce")

    async def hold(self, address, interface):
        await self._do("hold")


def run(test, answer=None):
    """Run `test(driver, engine, dataplane, notes)` in a driver."""

    async def body():
        engine, notes, dataplane = ScriptedEngine(answer), ListNotes(), SlowDataplane()
        log = []
        async with Driver(
            engine,
            clock=SystemClock(),
            net=Sending(log),
            store=Journalling(log),
            dataplane=dataplane,
            notes=notes,
        ) as driver:
            async with asyncio.timeout(10):
                await test(driver, engine, dataplane, notes)

    asyncio.run(body())


async def until(condition):
    """Let the loop turn until something holds; the test's time limit bounds it."""
    while not condition():
        await asyncio.sleep(0)


def test_the_timer_fires_at_its_deadline_and_not_before():
    async def test(driver, engine, dataplane, notes):
        loop = asyncio.get_running_loop()
        engine.due = due = loop.time() + 0.05

        def answer(event):
            engine.due = None
            return []

        engine.answer = lambda event: []
        driver.post(InterfacesChanged({}))
        engine.answer = answer
        await until(lambda: TimerFired() in engine.events)
        event, now = engine.seen[-1]
        assert event == TimerFired()
        assert now.mono >= due

    run(test)


def test_an_earlier_deadline_takes_the_place_of_a_later_one():
    async def test(driver, engine, dataplane, notes):
        loop = asyncio.get_running_loop()
        engine.due = loop.time() + 3600
        driver.post(InterfacesChanged({}))
        engine.due = loop.time() + 0.01
        driver.post(InterfacesChanged({}))
        engine.answer = lambda event: setattr(engine, "due", None) or []
        await until(lambda: engine.events[-1] == TimerFired())

    run(test)


def test_a_deadline_that_never_moves_is_no_busy_loop():
    async def test(driver, engine, dataplane, notes):
        engine.due = 0.0
        driver.post(InterfacesChanged({}))
        begin = asyncio.get_running_loop().time()
        await until(lambda: len(engine.events) > 20)
        assert asyncio.get_running_loop().time() - begin >= 0.015

    run(test)


def test_a_request_is_answered_by_finished_with_its_token():
    def answer(event):
        return [Finished(token=event.token, code=7)]

    async def test(driver, engine, dataplane, notes):
        finished = await driver.request(CancelRequested)
        assert finished.code == 7
        assert (await driver.request(CancelRequested)).token != finished.token

    run(test, answer)


def test_a_request_under_way_is_answered_when_the_driver_ends():
    waiting = []

    async def test(driver, engine, dataplane, notes):
        waiting.append(driver.request(CancelRequested))

    run(test)
    assert waiting[0].result().error == "the agent is stopping"


def test_a_cancelled_request_is_forgotten():
    async def test(driver, engine, dataplane, notes):
        future = driver.request(CancelRequested)
        future.cancel()
        await asyncio.sleep(0)
        driver.finish(Finished(token=engine.events[0].token))  # raises nothing

    run(test)


def test_orders_are_carried_out_one_after_the_other_and_answered():
    def answer(event):
        if event == InterfacesChanged({}):
            return [
                InstallTunnel(1, TUNNEL),
                RemoveTunnel(2, "10.1.1.10"),
                AnnounceAddress("10.1.1.10"),
                GiveBackAddress("10.1.1.10"),
            ]
        return []

    async def test(driver, engine, dataplane, notes):
        dataplane.gate.clear()
        driver.post(InterfacesChanged({}))
        # The driver does not wait for the data plane.
        driver.post(CancelRequested(9))
        assert engine.events[-1] == CancelRequested(9)
        dataplane.gate.set()
        await driver.settle()
        assert dataplane.calls == ["install", "remove", "announce", "give back"]
        assert engine.events[2:] == [TunnelReady(1), TunnelReady(2)]

    run(test, answer)


def to(*numbers):
    """Return orders to install tunnels, with these tokens."""
    return [
        InstallTunnel(number, replace(TUNNEL, home_address=f"10.1.1.{number}"))
        for number in numbers
    ]


def carry_out(orders, failures=()):
    """Have orders carried out; return the calls, the answers and the notes."""
    seen = []

    async def test(driver, engine, dataplane, notes):
        dataplane.failures = dict(failures)
        dataplane.gate.clear()
        driver.post(CancelRequested(1))
        await until(driver._worker._orders.empty)  # it is at work on the first
        driver.post(InterfacesChanged({}))
        dataplane.gate.set()
        await driver.settle()
        instants = {now for _, now in engine.seen[2:]}
        seen.extend((dataplane.calls[1:], engine.events[2:], len(instants), notes))

    def answer(event):
        if event == CancelRequested(1):
            return [AnnounceAddress("10.1.1.10")]
        return orders if event == InterfacesChanged({}) else []

    run(test, answer)
    return seen


def test_what_is_asked_of_several_tunnels_is_one_call_and_one_turn():
    calls, answers, turns, _ = carry_out(to(1, 2, 3))
    assert calls == ["install 3"]
    assert answers == [TunnelReady(1), TunnelReady(2), TunnelReady(3)]
    assert turns == 1


def test_calls_for_several_keep_the_order():
    home = TUNNEL.home_address
    orders = [
        *to(1, 2),
        RemoveTunnel(3, "10.1.1.1"),
        RemoveTunnel(4, "10.1.1.2"),
        AnnounceAddress("10.1.1.10"),
        AnnounceAddress("10.1.1.11"),
        InstallTunnel(5, TUNNEL),
        RemoveTunnel(6, home),
    ]
    calls, answers, _, _ = carry_out(orders)
    assert calls == [
        "install 2", "remove 2", "announce", "announce", "install", "remove"
    ]  # fmt: skip
    assert answers == [TunnelReady(number) for number in range(1, 7)]


def test_two_orders_for_one_home_address_are_two_calls():
    again = replace(TUNNEL, home_address="10.1.1.1", reverse=False)
    orders = [*to(1, 2), InstallTunnel(3, again), *to(4)]
    calls, answers, _, _ = carry_out(orders)
    assert calls == ["install 2", "install 2"]
    assert answers == [TunnelReady(number) for number in range(1, 5)]


def test_one_refusal_among_several_is_told_for_that_one():
    refused = {"10.1.1.2": DataplaneError("no room")}
    calls, answers, _, notes = carry_out(to(1, 2, 3), refused)
    assert calls == ["install 3"]
    assert answers == [TunnelReady(1), TunnelFailed(2, "no room"), TunnelReady(3)]
    assert not notes.crashes


@pytest.mark.parametrize("kind", ["install", "remove"])
def test_a_bug_with_several_is_looked_for_one_by_one(kind):
    orders = to(1, 2)
    if kind == "remove":
        orders = [RemoveTunnel(1, "10.1.1.1"), RemoveTunnel(2, "10.1.1.2")]
    calls, answers, _, notes = carry_out(orders, {f"{kind} 2": KeyError("bug")})
    assert calls == [f"{kind} 2", kind, kind]
    assert answers == [TunnelReady(1), TunnelReady(2)]
    assert not notes.crashes


@pytest.mark.parametrize("kind", [DataplaneError, OSError])
def test_a_refusal_of_the_data_plane_is_told_and_the_next_order_is_carried_out(kind):
    def answer(event):
        if event == InterfacesChanged({}):
            return [InstallTunnel(1, TUNNEL), RemoveTunnel(2, "10.1.1.10")]
        return []

    async def test(driver, engine, dataplane, notes):
        dataplane.failures = {"install": kind("no such device")}
        driver.post(InterfacesChanged({}))
        await driver.settle()
        assert engine.events[1:] == [
            TunnelFailed(1, "no such device"),
            TunnelReady(2),
        ]
        assert not notes.crashes

    run(test, answer)


def test_a_bug_in_the_data_plane_is_noted_with_its_exception_and_told():
    bug = KeyError("bug")

    async def test(driver, engine, dataplane, notes):
        dataplane.failures = {"remove": bug}
        engine.answer = lambda event: (
            [RemoveTunnel(2, "10.1.1.10")] if event == InterfacesChanged({}) else []
        )
        driver.post(InterfacesChanged({}))
        await driver.settle()
        assert engine.events[1] == TunnelFailed(2, "internal error: KeyError")
        assert notes.crashes == [("data plane: RemoveTunnel", bug)]

    run(test)


@pytest.mark.parametrize(
    ("name", "order", "event"),
    [
        ("announce", AnnounceAddress("10.1.1.10"), "announcement_failed"),
        ("give back", GiveBackAddress("10.1.1.10"), "announcement_failed"),
        ("hold", HoldAddress("10.1.1.10/24", "eth0"), "address_failed"),
    ],
)
def test_a_failure_that_nobody_waits_for_is_noted(name, order, event):
    async def test(driver, engine, dataplane, notes):
        dataplane.failures = {name: DataplaneError("link is down")}
        engine.answer = lambda _: [order]
        driver.post(InterfacesChanged({}))
        await driver.settle()
        assert notes.names == [event]

    run(test)


def test_a_task_that_fails_is_noted_and_the_driver_goes_on():
    async def test(driver, engine, dataplane, notes):
        async def broken():
            raise OSError("gone")

        task = driver.spawn("links", broken)
        await asyncio.wait([task])
        assert notes.crashes[0][0] == "links"
        driver.post(CancelRequested(1))
        assert engine.events == [CancelRequested(1)]

    run(test)


def test_what_is_raised_inside_the_block_comes_out_as_it_is():
    async def test(driver, engine, dataplane, notes):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run(test)


def test_a_crash_of_the_engine_answers_every_request_that_waits():
    async def test(driver, engine, dataplane, notes):
        waiting = driver.request(CancelRequested)

        def crash(event):
            raise ValueError("bug")

        engine.answer = crash
        driver.post(TunnelReady(7))
        assert (await waiting).error == "internal error: ValueError; see the log"
        assert len(notes.crashes) == 1

    run(test)


def test_a_timer_that_crashes_every_time_rests_in_between():
    async def test(driver, engine, dataplane, notes):
        def crash(event):
            raise ValueError("bug")

        engine.answer = crash
        engine.due = 0.0
        driver.post(InterfacesChanged({}))
        _, now = engine.seen[-1]
        assert driver._due == now.mono + 1.0

    run(test)
