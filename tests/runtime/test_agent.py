# SPDX-License-Identifier: GPL-2.0-only
"""A whole home agent, its socket and journal real, its data plane a recorder."""

import asyncio
import errno
import os
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.recorder import RecorderDataplane
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import HomeAgentPolicy
from mip_agents.protocol.security import SecurityTable
from mip_agents.runtime.agent import Agent
from mip_agents.runtime.client import AgentClient
from mip_agents.runtime.options import AgentOptions
from mip_agents.runtime.schema import SCHEMA
from mip_agents.runtime.store import MemoryStore
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import ReplyCode
from scapy_mip.ident import seconds
from support.control import named_for
from support.netns import isolated, sh
from support.requests import ASSOCIATION, HOME_ADDRESS, HandNode, request
from support.shell import FAILED

ADDRESS, CARE_OF, ELSEWHERE = "10.1.1.20", "10.1.2.5", "10.1.3.5"
HOME_NETWORK = IPv4Network("10.1.1.0/24")
POLICY = HomeAgentPolicy(
    address=ADDRESS,
    home_network=HOME_NETWORK,
    mobile_nodes=SecurityTable.for_network(HOME_NETWORK, [ASSOCIATION]),
)
OPTIONS = AgentOptions(listen=ADDRESS, port=0)


class Parts:
    def __init__(self, agent, dataplane):
        self.agent = agent
        self.dataplane = dataplane
        self.port = agent._net.port
        self.node = HandNode(CARE_OF, ADDRESS, self.port)

    @property
    def actions(self):
        return [change.action for change in self.dataplane.changes]

    def kernel_actions(self):
        return [action for action in self.actions if action != "announce"]


def add_addresses():
    """Have all addresses on this machine, which is a fresh network namespace."""
    for address in (ADDRESS, CARE_OF, ELSEWHERE):
        sh(f"ip address replace {address}/32 dev lo")


@asynccontextmanager
async def running(options=OPTIONS, **more):
    add_addresses()
    dataplane = more.setdefault("dataplane", RecorderDataplane())
    agent = Agent(POLICY, options, **more)
    async with asyncio.timeout(20), agent.running():
        parts = Parts(agent, dataplane)
        try:
            yield parts
        finally:
            parts.node.close()


def register(**more):
    return request(ADDRESS, CARE_OF, **more)


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


@isolated
def test_a_registration_gets_its_reply_its_tunnel_and_its_entry():
    async def body():
        async with running() as parts:
            reply = await parts.node.ask(register(lifetime=600))
            assert (reply.code, reply.lifetime) == (0, 600)
            (binding,) = parts.agent.bindings()
            assert binding["home_address"] == HOME_ADDRESS
            assert binding["care_of_address"] == CARE_OF
            assert binding["sent_packets"] == 0
            assert parts.kernel_actions() == ["open", "install"]
            status = parts.agent.status()
            assert status["role"] == "home_agent"
            assert status["pid"] == os.getpid()
            assert status["bindings"] == 1
            assert status["counters"]["registration_accepted"] == 1
            assert status["dataplane"]["name"] == "none"

    asyncio.run(body())


@isolated
def test_a_refresh_is_answered_within_the_wake_up_and_makes_no_kernel_call():
    async def body():
        async with running() as parts:
            await parts.node.ask(register())
            before = parts.actions
            replies = []
            send_all = parts.agent._net._udp._send_all

            def sending(answers):
                send_all(answers)
                # Nothing else has run since the datagram was read.
                replies.append(parts.node.read())

            parts.agent._net._udp._send_all = sending
            parts.node.send(register())
            await until(lambda: replies)
            assert replies[0].code == 0
            assert parts.actions == before

    asyncio.run(body())


@isolated
def test_a_batch_of_registrations_is_one_commit(monkeypatch):
    class Counting(MemoryStore):
        commits = 0

        def commit(self, changes):
            self.commits += 1
            super().commit(changes)

    async def body():
        store = Counting()
        async with running(store=store) as parts:
            for number in range(20):
                home = f"10.1.1.{100 + number}"
                parts.node.send(register(home_address=home))
            await until(lambda: len(parts.agent.bindings()) == 20)
            await until(lambda: len(store.identifications) == 20)
            assert len(store.bindings) == 20
        assert store.commits <= 3

    asyncio.run(body())


@pytest.mark.parametrize("kind", ["stopped", "killed"])
@isolated
def test_a_restart_brings_bindings_back_and_refuses_what_was_accepted(tmp_path, kind):
    options = replace(OPTIONS, state_dir=tmp_path)

    async def first_life():
        async with running(options) as parts:
            early = register()
            assert (await parts.node.ask(early)).code == 0
            assert (await parts.node.ask(register(lifetime=500))).code == 0
        return early

    def die_after(life):
        """Run it in a process that ends without any clean-up."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):

                async def doomed():
                    async with running(options) as parts:
                        early = register()
                        await parts.node.ask(early)
                        await parts.node.ask(register(lifetime=500))
                        os.write(writer, early)
                        os.kill(os.getpid(), 9)

                asyncio.run(doomed())
            os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            early = pipe.read()
        assert os.waitpid(pid, 0)[1] == 9
        return early

    early = asyncio.run(first_life()) if kind == "stopped" else die_after(first_life)

    async def second_life():
        async with running(options) as parts:
            # The tunnel is there before the first datagram is read.
            assert parts.actions == ["open", "install"]
            (binding,) = parts.agent.bindings()
            assert binding["care_of_address"] == CARE_OF
            assert 490 <= binding["remaining"] <= 500
            replayed = await parts.node.ask(early)
            assert replayed.code == ReplyCode.HA_IDENTIFICATION_MISMATCH
            assert parts.agent.bindings()[0]["lifetime"] == 500
            assert parts.kernel_actions() == ["open", "install"]

    asyncio.run(second_life())


@isolated
def test_a_journal_that_cannot_be_written_denies_and_the_agent_lives():
    class Failing(MemoryStore):
        failure = FAILED

        def commit(self, changes):
            if self.failure is not None:
                raise self.failure
            super().commit(changes)

    async def body():
        store = Failing()
        async with running(store=store) as parts:
            reply = await parts.node.ask(register())
            assert reply.code == ReplyCode.HA_INSUFFICIENT_RESOURCES
            assert parts.agent.bindings() == []
            store.failure = None
            assert (await parts.node.ask(register())).code == 0

    asyncio.run(body())


@isolated
def test_a_data_plane_that_refuses_denies_and_the_agent_lives():
    async def body():
        async with running() as parts:
            parts.dataplane.fail_with = "no tunnel device"
            reply = await parts.node.ask(register())
            assert reply.code == ReplyCode.HA_INSUFFICIENT_RESOURCES
            parts.dataplane.fail_with = None
            assert (await parts.node.ask(register())).code == 0

    asyncio.run(body())


@isolated
def test_what_is_wrong_gets_its_code_or_silence_and_is_counted():
    wrong = SecurityAssociation(256, "another key than ours")

    async def body():
        async with running() as parts:
            for garbage in (b"", b"\x01", b"\xff" * 100, register()[:40], bytes(2000)):
                parts.node.send(garbage)
            reply = await parts.node.ask(register(association=wrong))
            assert reply.code == ReplyCode.HA_MN_FAILED_AUTHENTICATION
            old = await parts.node.ask(register(identification=seconds(1000)))
            assert old.code == ReplyCode.HA_IDENTIFICATION_MISMATCH
            assert parts.agent.bindings() == []
            counters = parts.agent.status()["counters"]
            # No answer but the two, and nothing uncounted.
            with pytest.raises(BlockingIOError):
                parts.node.read()
            assert sum(counters.values()) >= 7
            assert "internal_error" not in counters

    asyncio.run(body())


@isolated
def test_clearing_removes_binding_and_tunnel_but_not_the_memory_of_it():
    async def body():
        async with running() as parts:
            data = register()
            await parts.node.ask(data)
            assert (await parts.agent.clear(HOME_ADDRESS)).error is None
            assert parts.agent.bindings() == []
            assert parts.kernel_actions() == ["open", "install", "remove"]
            assert (await parts.agent.clear(HOME_ADDRESS)).error is not None
            reply = await parts.node.ask(data)
            assert reply.code == ReplyCode.HA_IDENTIFICATION_MISMATCH

    asyncio.run(body())


@isolated
def test_start_and_stop_happen_in_order_and_backwards():
    log = []

    class Logging(RecorderDataplane):
        async def open(self):
            log.append("data plane open")

        async def install(self, tunnel):
            log.append("install")

        async def close(self):
            log.append("data plane close")

    class LoggingStore(MemoryStore):
        def load(self):
            log.append("load")
            return super().load()

        def close(self):
            log.append("store close")

    async def body():
        async with running(dataplane=Logging(), store=LoggingStore()) as parts:
            log.append("running")
            del parts

    asyncio.run(body())
    assert log == [
        "data plane open",
        "load",
        "running",
        "data plane close",
        "store close",
    ]


@isolated
def test_a_start_that_fails_half_way_leaves_nothing(tmp_path):
    path = tmp_path / "ha.sock"

    class Broken(RecorderDataplane):
        closed = False

        async def open(self):
            raise DataplaneError("no port to the kernel: run as root")

        async def close(self):
            self.closed = True

    async def body():
        dataplane = Broken()
        options = replace(OPTIONS, control_socket=path, state_dir=tmp_path)
        agent = Agent(POLICY, options, dataplane=dataplane)
        add_addresses()
        with pytest.raises(DataplaneError, match="run as root"):
            async with agent.running():
                pass
        assert dataplane.closed
        assert not path.exists()
        port = agent._net.port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((ADDRESS, port))
        # The lock of the state_dir is free again, too.
        async with running(replace(OPTIONS, state_dir=tmp_path)):
            pass

    asyncio.run(body())


@isolated
def test_a_port_in_use_is_an_error_before_anything_is_touched():
    async def body():
        async with running() as parts:
            dataplane = RecorderDataplane()
            agent = Agent(
                POLICY, replace(OPTIONS, port=parts.port), dataplane=dataplane
            )
            with pytest.raises(MipError, match="is in use"):
                async with agent.running():
                    pass
            assert dataplane.changes == []

    asyncio.run(body())


@isolated
def test_the_control_socket_of_a_real_agent(tmp_path):
    path = tmp_path / "ha.sock"

    def look():
        with AgentClient(path) as client:
            status = client.status()
            assert status["bindings"] == 1
            (binding,) = client.bindings()
            described = {route["path"]: route for route in SCHEMA["routes"]}
            entry = described["/v1/bindings"]["answer"]["items"]
            assert binding.keys() == set(entry["required"])
            assert client.status().keys() >= named_for("home agents")
            assert binding["home_address"] == HOME_ADDRESS
            assert 'mip_events_total{event="registration_accepted",code="0"} 1' in (
                client.metrics()
            )
            client.clear(HOME_ADDRESS)
            assert client.bindings() == []

    async def body():
        async with running(replace(OPTIONS, control_socket=path)) as parts:
            await parts.node.ask(register())
            await asyncio.to_thread(look)
        assert not path.exists()

    asyncio.run(body())


@isolated
def test_no_key_is_in_anything_that_is_said(tmp_path):
    seen = []

    async def body():
        async with running(sinks=[seen.append]) as parts:
            await parts.node.ask(register())
            wrong = SecurityAssociation(256, "another key than ours")
            await parts.node.ask(register(association=wrong))
            return parts.agent.status(), parts.agent.bindings(), parts.agent.metrics()

    said = repr(asyncio.run(body())) + repr([stamped.as_json() for stamped in seen])
    assert "12345678" not in said
    assert b"12345678".hex() not in said
    assert "another key" not in said
    assert "registration_accepted" in said


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (OSError(errno.EPERM, "no netlink"), "internal_error"),
        (DataplaneError("cannot list interfaces: no memory"), "links_unknown"),
    ],
)
@isolated
def test_a_watch_over_links_that_fails_does_not_keep_the_agent_from_running(
    monkeypatch, error, event
):
    async def broken(changed):
        raise error

    monkeypatch.setattr("mip_agents.runtime.agent.watch_links", broken)

    async def body():
        async with running() as parts:
            assert (await parts.node.ask(register())).code == 0
            assert parts.agent.status()["counters"][event] == 1

    asyncio.run(body())


@isolated
def test_requests_that_found_no_room_are_in_status_and_metrics_and_can_be_repeated():
    async def body():
        async with running() as parts:
            sock = parts.agent._net._udp._socket
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
            data = register()
            for _ in range(300):
                parts.node.send(b"noise")
            parts.node.send(data)  # lost
            await until(lambda: parts.agent.status()["drops"])
            lost = parts.agent.status()["drops"]["control_queue_full"]
            sample = f'mip_dropped_packets_total{{reason="control_queue_full"}} {lost}'
            assert sample in parts.agent.metrics()
            assert not parts.agent.bindings()
            assert (await parts.node.ask(data)).code == 0

    asyncio.run(body())


@isolated
def test_another_care_of_address_replaces_the_tunnel_in_one_step():
    async def body():
        async with running() as parts:
            await parts.node.ask(register())
            other = HandNode(ELSEWHERE, ADDRESS, parts.port)
            try:
                reply = await other.ask(request(ADDRESS, ELSEWHERE))
            finally:
                other.close()
            assert reply.code == 0
            assert parts.kernel_actions() == ["open", "install", "replace"]

    asyncio.run(body())


def test_configured_gateways_take_the_place_of_the_kernels():
    options = replace(OPTIONS, gateways={"eth0": "10.1.2.254"})
    agent = Agent(POLICY, options, dataplane=RecorderDataplane())
    eth0 = InterfaceState(name="eth0", up=True, gateway="10.1.2.1")
    wlan0 = replace(eth0, name="wlan0", gateway="10.1.3.1")
    seen = agent._with_gateways({"eth0": eth0, "wlan0": wlan0})
    assert seen == {"eth0": replace(eth0, gateway="10.1.2.254"), "wlan0": wlan0}
