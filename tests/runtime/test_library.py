# SPDX-License-Identifier: GPL-2.0-only
"""`HomeAgent` and `MobileNode` as a program uses them, in two network namespaces."""

import asyncio
import os
import subprocess
import sys
import threading
from functools import partial

import pytest

from mip_agents import HomeAgent, MipError, MobileNode, RegistrationFailed
from mip_agents.node import AsyncMobileNode
from mip_agents.protocol.effects import Finished, Noted, Severity
from mip_agents.protocol.policy import CareOf, DeliveryStyle
from mip_agents.runtime.events import Notes
from scapy_mip.auth import SecurityAssociation
from support.netns import Node, connect, isolated, sh

KEY = "1234567812345678"
HOME_ADDRESS, HOME_AGENT, CARE_OF = "10.1.1.10", "10.1.1.20", "10.1.2.5"


def two_hosts():
    """Make a host with the home agent's address, and one away from home."""
    home, away = Node("home"), Node("away")
    connect(home, "eth9", away, "eth0")
    home.sh("ip address add 10.1.2.1/24 dev eth9")
    home.sh("ip link add home0 type veth peer name home1")
    home.sh("ip address add 10.1.1.20/24 dev home0")
    home.sh("ip link set home0 up; ip link set home1 up")
    away.sh("ip address add 10.1.2.5/24 dev eth0")
    away.sh("ip route add default via 10.1.2.1")
    return home, away


_held = {}


def start_home_agent(**more):
    agent = _held["ha"] = HomeAgent(
        address=HOME_AGENT, security={256: KEY}, dataplane="none", **more
    )
    agent.start()


def home_agent(method, *arguments):
    return getattr(_held["ha"], method)(*arguments)


def mobile_node(**more):
    options = {
        "home_address": HOME_ADDRESS,
        "home_agent": HOME_AGENT,
        "spi": 256,
        "key": KEY,
        "interfaces": {"eth0": CARE_OF},
        "dataplane": "none",
    }
    return MobileNode(**(options | more))


def as_in_the_readme():
    node = mobile_node()
    granted = node.register("eth0", lifetime=1000, on_error=print)
    status = node.status()
    node.deregister()
    node.close()
    node.close()
    return granted, status


@isolated
def test_register_status_deregister_close():
    home, away = two_hosts()
    home.call(start_home_agent)
    granted, status = away.call(as_in_the_readme)
    assert granted["lifetime"] == 1000
    assert status["state"] == "registered"
    assert status["care_of_address"] == CARE_OF
    assert home.call(home_agent, "status")["counters"]["deregistration_accepted"] == 1
    assert home.call(home_agent, "bindings") == []
    home.call(home_agent, "stop")


def register_without_reverse_tunnel():
    errors = []
    with mobile_node(reverse_tunnel=False) as node:
        try:
            node.register("eth0", on_error=errors.append)
        except RegistrationFailed as error:
            return error.code, error.text, [one.code for one in errors]
    return None


@isolated
def test_a_denied_registration_raises_with_the_code_and_calls_back():
    home, away = two_hosts()
    home.call(partial(start_home_agent, reverse_tunnel="required"))
    code, text, errors = away.call(register_without_reverse_tunnel)
    assert code == 138
    assert "138" in text
    assert errors == [138]


def register_where_nobody_answers():
    errors = []
    with mobile_node() as node:
        try:
            node.register("eth0", timeout=0.3, on_error=errors.append)
        except RegistrationFailed as error:
            return str(error), error.code, len(errors), node.status()["state"]
    return None


def register_through_nothing():
    with mobile_node() as node:
        try:
            node.register("eth7")
        except RegistrationFailed as error:
            return str(error)
    return None


@isolated
def test_giving_up_and_asking_for_nonsense():
    _, away = two_hosts()
    text, code, errors, state = away.call(register_where_nobody_answers)
    assert text == "no answer within 0.3 s"
    assert (code, errors) == (None, 1)
    assert state != "registered"
    assert "eth7" in away.call(register_through_nothing)


def cancel_from_another_thread():
    with mobile_node() as node:
        result = []

        def register():
            try:
                node.register("eth0")
            except RegistrationFailed as error:
                result.append(str(error))

        thread = threading.Thread(target=register)
        asked = threading.Event()
        node._sinks.append(lambda stamped: asked.set())
        thread.start()
        while True:
            try:
                node.cancel()
            except MipError:
                asked.wait(0.01)  # not under way yet
                continue
            break
        thread.join()
        return result


@isolated
def test_a_request_under_way_can_be_cancelled():
    _, away = two_hosts()
    assert away.call(cancel_from_another_thread) == ["cancelled"]


async def node_in_asyncio():
    events = []
    async with mobile_node(on_event=events.append) as node:
        granted = await node.register("eth0", lifetime=300)
        status = await node.status()
        await node.deregister()
    return granted["lifetime"], status["state"], [e["event"] for e in events]


@isolated
def test_the_same_in_asyncio_with_events():
    home, away = two_hosts()
    home.call(start_home_agent)
    lifetime, state, events = away.call(node_in_asyncio)
    assert (lifetime, state) == (300, "registered")
    assert "registration_accepted" in events
    assert events[-1] == "agent_stopped"


class Slow:
    """An agent whose registrations end in the order that the test wants."""

    def __init__(self):
        self.notes = Notes()
        self.ends = {}

    async def register(self, interface, lifetime):
        self.ends[interface] = asyncio.get_running_loop().create_future()
        return await self.ends[interface]

    async def fail_in_order(self, *interfaces):
        """Let two registrations overlap; return who hears of later trouble."""
        heard = []
        node = AsyncMobileNode(self)
        calls = []
        for name in ("first", "second"):
            told = partial(lambda name, error: heard.append((name, str(error))), name)
            calls.append(asyncio.ensure_future(node.register(name, None, told)))
            await asyncio.sleep(0)
        for name in interfaces:
            self.ends[name].set_result(Finished(token=1, error=f"no {name}"))
            await asyncio.sleep(0.01)
        await asyncio.gather(*calls, return_exceptions=True)
        self.notes.note(Noted(event="lost", severity=Severity.WARNING))
        return heard


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_of_two_calls_at_once_the_latest_hears_of_what_comes_later(order):
    heard = asyncio.run(Slow().fail_in_order(*order))
    assert heard == [*((name, f"no {name}") for name in order), ("second", "lost")]


async def agent_in_asyncio():
    agent = HomeAgent(address=HOME_AGENT, security={256: KEY}, dataplane="none")
    async with agent as running:
        status = await running.status()
        bindings = await running.bindings()
        try:
            await running.clear(HOME_ADDRESS)
        except MipError as error:
            return status["home_network"], bindings, str(error)
    return None


@isolated
def test_a_home_agent_in_asyncio_derives_its_home_network():
    home, _ = two_hosts()
    network, bindings, text = home.call(agent_in_asyncio)
    assert network == "10.1.1.0/24"
    assert bindings == []
    assert "no binding" in text


def run_and_stop_from_a_callback():
    agent = None

    def on_event(event):
        if event["event"] == "agent_started":
            agent.stop()

    agent = HomeAgent(
        address=HOME_AGENT, security={256: KEY}, dataplane="none", on_event=on_event
    )
    thread = threading.Thread(target=agent.run)
    thread.start()
    thread.join(20)
    return thread.is_alive()


@isolated
def test_run_blocks_until_stop():
    home, _ = two_hosts()
    assert home.call(run_and_stop_from_a_callback) is False


def ask_from_a_callback(run):
    """Ask the agent that calls back, while it starts, runs and stops."""
    seen, refused = [], []

    def on_event(event):
        status = agent.status()
        agent.start()  # it runs, so this is nothing
        seen.append((event["event"], status["role"], agent.bindings()))
        try:
            agent.clear(HOME_ADDRESS)
        except MipError as error:
            refused.append(str(error))
        if event["event"] == "agent_started":
            agent.stop()

    agent = HomeAgent(
        address=HOME_AGENT, security={256: KEY}, dataplane="none", on_event=on_event
    )

    def body():
        if run:
            agent.run()
        else:
            agent.start()
            agent.stop()

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(20)
    return thread.is_alive(), seen, refused


@pytest.mark.parametrize("run", [True, False])
@isolated
def test_a_callback_may_ask_its_own_agent_but_not_wait_for_it(run):
    home, _ = two_hosts()
    hangs, seen, refused = home.call(ask_from_a_callback, run)
    assert not hangs
    assert ("agent_started", "home_agent", []) in seen
    assert ("agent_stopped", "home_agent", []) in seen
    assert set(refused) == {
        "a callback cannot wait for its own agent: use a thread",
    }


def run_after_start_and_stop():
    started = threading.Event()

    def on_event(event):
        if event["event"] == "agent_started":
            started.set()

    agent = HomeAgent(
        address=HOME_AGENT, security={256: KEY}, dataplane="none", on_event=on_event
    )
    agent.start()
    agent.stop()
    started.clear()
    thread = threading.Thread(target=agent.run, daemon=True)
    thread.start()
    ran = started.wait(20)
    agent.stop()
    thread.join(20)
    return ran, thread.is_alive()


@isolated
def test_a_stop_of_an_earlier_start_does_not_end_run():
    home, _ = two_hosts()
    assert home.call(run_after_start_and_stop) == (True, False)


def callback_that_raises():
    messages = []

    async def body():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: messages.append(context))

        def on_event(event):
            raise LookupError("mine")

        async with mobile_node(on_event=on_event) as node:
            return (await node.status())["counters"]

    counters = asyncio.run(body())
    return counters, repr(messages[0]["exception"])


def in_thread(function):
    """Run outside the loop of the test's node."""
    return asyncio.to_thread(function)


@isolated
def test_a_callback_that_raises_harms_nobody():
    _, away = two_hosts()
    counters, error = away.call(in_thread, callback_that_raises)
    assert "internal_error" not in counters
    assert error == "LookupError('mine')"


@isolated
def test_a_start_that_fails_raises_in_the_caller():
    sh("ip address add 10.1.1.20/32 dev lo")
    first = HomeAgent(
        address=HOME_AGENT,
        security={256: KEY},
        home_network="10.1.1.0/24",
        dataplane="none",
    )
    with first:
        second = HomeAgent(
            address=HOME_AGENT,
            security={256: KEY},
            home_network="10.1.1.0/24",
            dataplane="none",
        )
        with pytest.raises(MipError, match="in use"):
            second.start()
        with pytest.raises(MipError, match="in use"):
            second.run()
    # The port is free again; and an address that nobody has is said so.
    with first:
        pass
    with pytest.raises(MipError, match="no interface has the address"):
        HomeAgent(address="10.9.9.9", security={256: KEY}, dataplane="none").start()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"spi": 12}, "reserved"),
        ({"key": ""}, "key is empty"),
        ({"algorithm": "md4"}, "hmac-md5"),
        ({"home_address": "home"}, "home_address"),
        ({"interfaces": {"eth0": "x"}}, "eth0"),
        ({"encapsulation": "l2tp"}, "ipip, gre, minimal"),
        ({"home_network": "10.1.1.5/24"}, "home_network"),
        ({"quirks": ["magic"]}, "coarse_timestamps"),
        ({"dataplane": "magic"}, "dataplane"),
        ({"lifetime": 0}, "lifetime"),
        ({"care_of": "home"}, "care_of: allowed: auto, co-located, foreign-agent"),
        ({"delivery_style": "x"}, "delivery_style: allowed: direct, encapsulating"),
        ({"foreign_agents": {"10.1.2.1": {3: KEY}}}, "foreign_agents: SPI 3 is"),
        ({"foreign_agents": {"agent": {400: KEY}}}, "foreign_agents: allowed"),
    ],
)
def test_arguments_that_cannot_be_are_refused_at_once(more, words):
    with pytest.raises(MipError, match=words) as caught:
        mobile_node(**more)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"security": {}}, "at least one"),
        ({"security": {3: KEY}}, "reserved"),
        ({"reverse_tunnel": "maybe"}, "reverse_tunnel"),
        ({"broadcasts": ["all"]}, "broadcasts: allowed: limited, subnet"),
        ({"max_lifetime": 0}, "max_lifetime"),
        ({"address": "ha"}, "address"),
    ],
)
def test_home_agent_arguments_too(more, words):
    options = {"address": HOME_AGENT, "security": {256: KEY}} | more
    with pytest.raises(MipError, match=words):
        HomeAgent(**options)


def test_what_a_mobile_node_is_told_of_foreign_agents_reaches_its_engine():
    node = mobile_node(
        care_of="foreign-agent",
        foreign_agents={"10.1.2.1": {400: KEY}},
        delivery_style="encapsulating",
        simultaneous_bindings=True,
    )
    policy = asyncio.run(node._policy())
    assert policy.care_of is CareOf.FOREIGN_AGENT
    shared = policy.foreign_agents.find("10.1.2.1", 400)
    assert shared == SecurityAssociation(400, KEY)
    assert policy.delivery_style is DeliveryStyle.ENCAPSULATING
    assert policy.simultaneous
    assert asyncio.run(mobile_node()._policy()).care_of is CareOf.AUTO


def test_importing_the_package_is_light():
    code = (
        "import sys, mip_agents; assert 'HomeAgent' in dir(mip_agents); "
        "mip_agents.scapy_ext(None); "
        "heavy = {'scapy', 'asyncio', 'pydantic', 'pyroute2', 'httpx', 'ssl'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_an_unknown_name_is_an_attribute_error():
    import mip_agents

    with pytest.raises(AttributeError, match="nothing"):
        mip_agents.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("interface", "lifetime"),
    [("eth0", 1.5), ("eth0", True), ("eth0", "x"), ([], 60)],
)
def test_register_refuses_what_would_fail_in_the_engine(interface, lifetime):
    """A lifetime that is no whole number once left the caller waiting for ever."""
    node = AsyncMobileNode(Slow())
    with pytest.raises(MipError, match=r"lifetime|interface"):
        asyncio.run(node.register(interface, lifetime))
