# SPDX-License-Identifier: GPL-2.0-only
"""`mip ha` as a process that is killed at work, and under a flood."""

import random
import select
import socket
import sqlite3
from ipaddress import IPv4Address
from pathlib import Path

from scapy_mip.const import MIP_PORT
from support.daemons import KEY_HEX, Daemon
from support.netns import Node, isolated, sh
from support.requests import HOME_ADDRESS, HandNode, request

HOME_AGENT, CARE_OF = "10.1.255.1", "10.2.0.1"
ATTACKERS = ("10.2.1.1", "10.2.1.2")

HA = f"""\
[home_agent]
address = "{HOME_AGENT}"
home_network = "10.1.0.0/16"
state_dir = "state"
control_socket = "ha.sock"
dataplane = "none"
[[mobile_node]]
home_address = "10.1.0.0/16"
spi = 256
key_hex = "{KEY_HEX}"
"""


def start(tmp_path):
    config = tmp_path / "ha.toml"
    config.write_text(HA)
    config.chmod(0o600)
    daemon = Daemon("ha", config, tmp_path / "ha.sock")
    daemon.wait_ready()
    return daemon


def homes(count):
    first = int(IPv4Address("10.1.0.1"))
    return [str(IPv4Address(first + number)) for number in range(count)]


def exchange(node, requests, enough, window=64):
    """Send requests with a window; return the home addresses granted, up to `enough`.

    :param requests: by home address.
    """
    granted, waiting = set(), list(requests.values())[::-1]
    in_flight = 0
    while len(granted) < enough and (waiting or in_flight):
        while waiting and in_flight < window:
            node.send(waiting.pop())
            in_flight += 1
        assert select.select([node.sock], [], [], 20)[0], "no reply within 20 s"
        granted |= replies(node)
        in_flight = len(requests) - len(waiting) - len(granted)
    return granted


def replies(node):
    """Return the home addresses of the grants that are there already."""
    granted = set()
    while select.select([node.sock], [], [], 0)[0]:
        try:
            reply = node.read()
        except ConnectionRefusedError:
            break  # nobody listens any more
        assert reply.code == 0
        granted.add(reply.home_address)
    return granted


@isolated
def test_kill_9_amid_5000_registrations_loses_none_that_was_acknowledged(tmp_path):
    """HA-02, HA-30: whole or not at all, and nothing is accepted twice."""
    for address in (HOME_AGENT, CARE_OF):
        sh(f"ip address add {address}/32 dev lo")
    ha = start(tmp_path)
    node = HandNode(CARE_OF, HOME_AGENT, MIP_PORT)
    requests = {
        home: request(HOME_AGENT, CARE_OF, home_address=home) for home in homes(5000)
    }
    acknowledged = exchange(node, requests, enough=2500)
    ha.kill()
    acknowledged |= replies(node)
    assert 2500 <= len(acknowledged) < 5000

    ha = start(tmp_path)
    with ha.client() as client:
        bindings = {binding["home_address"]: binding for binding in client.bindings()}
        assert acknowledged <= bindings.keys()
        assert len(bindings) < 5000
        for home, binding in bindings.items():
            assert bytes.fromhex(binding["identification"]) == requests[home][16:24]
            assert binding["care_of_address"] == CARE_OF
        for number, home in enumerate(bindings):
            node.send(requests[home])
            if number % 64 == 0:  # wait, so that none finds a full buffer
                insist(node, "10.1.254.1")
        insist(node, "10.1.254.1")
        counters = client.status()["counters"]
        answered = counters["request_repeated"] + counters["reply_held_back"]
        assert answered == len(bindings)
        assert counters["registration_accepted"] == 1
        again = {one["home_address"]: one for one in client.bindings()}
        for home, binding in bindings.items():
            assert again[home]["remaining"] <= binding["remaining"]
    node.close()
    assert ha.stop() == 0
    with sqlite3.connect(tmp_path / "state" / "home-agent.sqlite") as journal:
        kept = dict(journal.execute("SELECT home_address, identification FROM binding"))
        known = dict(
            journal.execute(
                "SELECT home_address, identification FROM binding WHERE newest"
                " UNION SELECT * FROM identification"
            )
        )
    assert kept.keys() == again.keys()
    assert all(known[home] == identification for home, identification in kept.items())


def flood(count, seed):
    """Send that many datagrams that deserve nothing, as fast as they go."""
    rng = random.Random(seed)
    forged = request(HOME_AGENT, CARE_OF)[:-16]
    socks = []
    for address in ATTACKERS:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, 0))
        socks.append(sock)
    for number in range(count):
        bad = forged + rng.randbytes(16) if number % 2 else b"\xff" + rng.randbytes(45)
        socks[number // 2 % 2].sendto(bad, (HOME_AGENT, MIP_PORT))


def overflown():
    """Return how many datagrams found the agent's socket full."""
    for line in Path("/proc/thread-self/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].split(":")[1], 16) == MIP_PORT:
            return int(fields[-1])
    raise AssertionError("nobody listens")


def insist(node, home_address):
    """Register as a node does: once a second until a reply comes, a few times.

    Return how many requests it took.
    """
    for sent in range(1, 11):
        node.send(request(HOME_AGENT, CARE_OF, home_address=home_address))
        while select.select([node.sock], [], [], 1)[0]:
            reply = node.read()
            assert reply.code == 0
            if reply.home_address == home_address:
                return sent
    raise AssertionError("no reply in spite of ten requests")


@isolated
def test_a_flood_of_bad_requests_stops_no_good_one(tmp_path):
    """COM-08, HA-07; every datagram is counted, but not everyone gets a line."""
    attacker = Node("attacker")
    sh(f"ip link add eth9 type veth peer name eth0 netns {attacker.pid}")
    sh("ip link set eth9 up; ip address add 10.2.1.254/24 dev eth9")
    for address in (HOME_AGENT, CARE_OF):
        sh(f"ip address add {address}/32 dev lo")
    for address in ATTACKERS:
        attacker.sh(f"ip address add {address}/24 dev eth0")
    attacker.sh("ip link set eth0 up; ip route add default via 10.2.1.254")
    ha = start(tmp_path)
    node = HandNode(CARE_OF, HOME_AGENT, MIP_PORT)
    count = 20_000
    finish = attacker.start(flood, count, 1)
    good = homes(40)
    sent = sum(insist(node, home_address) for home_address in good)
    finish()
    sent += insist(node, HOME_ADDRESS)  # behind the last of the flood
    status = ha.status()
    assert status["bindings"] == len({*good, HOME_ADDRESS})
    counters = status["counters"]
    seen = ("message_dropped", "registration_denied", "registration_accepted",
            "registration_refreshed", "request_repeated")  # fmt: skip
    taken = sum(counters.get(name, 0) for name in seen)
    assert taken == count + sent - overflown()
    with ha.client() as client:
        metrics = client.metrics()
    assert 'mip_refused_messages_total{event="message_dropped",rule="COM-03"' in metrics
    assert 'rule="HA-07",reason="too many failed authentications' in metrics
    node.close()
    assert ha.stop() == 0
    assert len(ha.lines) < 400
    assert ha.log.count('"log_held_back"') >= 2
    held = counters.get("reply_held_back", 0)
    assert counters["registration_denied"] - held <= 200
