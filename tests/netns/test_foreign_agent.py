# SPDX-License-Identifier: GPL-2.0-only
"""`mip fa` as a process between a visitor and its home agent, everything real."""

import json
import os
from types import SimpleNamespace

import pytest

from mip_agents.dataplane.datagrams import UdpDatagram, make_udp
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import AgentFlag, RequestFlag
from support.control import answer, named_for
from support.daemons import KEY_HEX, Daemon, mip
from support.netns import Node, connect, isolated, sh
from support.requests import KEY
from support.visitor import HandVisitor, spoil_checksum

HOME_ADDRESS, HOME_AGENT, CARE_OF = "10.1.1.10", "10.1.1.20", "10.1.2.1"
CORRESPONDENT, LINK = "10.1.1.30", "eth1"
SHARED = SecurityAssociation(400, b"the visitor's key")

HA = f"""\
[home_agent]
address = "{HOME_AGENT}"
home_network = "10.1.1.0/24"
advertise = false
state_dir = "state"
control_socket = "ha.sock"
dataplane = "DATAPLANE"
[[mobile_node]]
home_address = "10.1.1.0/24"
spi = 256
key_hex = "{KEY_HEX}"
[[foreign_agent]]
address = "{CARE_OF}"
spi = 300
key_text = "between the agents"
"""

FA = f"""\
[foreign_agent]
interfaces = ["{LINK}"]
care_of_addresses = ["{CARE_OF}"]
# keys
advertisement_interval = 1.0
pending_timeout = 1
control_socket = "fa.sock"
dataplane = "DATAPLANE"
# more
[[home_agent]]
address = "{HOME_AGENT}"
spi = 300
key_text = "between the agents"
"""


def world(tmp_path, dataplane, more="", keys=""):
    """Make a visited link, which ends here, the agents' hosts, and a home network."""
    here = Node("here", inside=SimpleNamespace(pid=os.getpid()))
    foreign, home, other = Node("foreign"), Node("home"), Node("other")
    connect(here, "eth0", foreign, LINK)
    connect(foreign, "eth0", home, "eth0")
    connect(home, "home0", other, "eth0")
    foreign.sh(f"ip address add {CARE_OF}/24 dev {LINK}")
    foreign.sh("ip address add 192.0.2.1/24 dev eth0")
    foreign.sh("ip route add 10.1.1.0/24 via 192.0.2.2")
    home.sh("ip address add 192.0.2.2/24 dev eth0")
    home.sh(f"ip address add {HOME_AGENT}/24 dev home0")
    home.sh("ip route add 10.1.2.0/24 via 192.0.2.1")
    other.sh(f"ip address add {CORRESPONDENT}/24 dev eth0")
    files = {}
    for role, text in (("ha", HA), ("fa", FA)):
        files[role] = tmp_path / f"{role}.toml"
        text = text.replace("DATAPLANE", dataplane).replace("# more", more)
        text = text.replace("# keys", keys)
        files[role].write_text(text)
        files[role].chmod(0o600)
    ha = Daemon("ha", files["ha"], tmp_path / "ha.sock", home)
    fa = Daemon("fa", files["fa"], tmp_path / "fa.sock", foreign)
    for daemon in (ha, fa):
        daemon.wait_ready()
    visitor = HandVisitor("eth0", HOME_ADDRESS, HOME_AGENT, KEY)
    return SimpleNamespace(
        ha=ha, fa=fa, visitor=visitor, foreign=foreign, home=home, other=other
    )


@isolated
def test_a_visitor_registers_is_shown_and_leaves(tmp_path):
    """AG-02, FA-17, FA-18, FA-24, FA-27, FA-28, HA-10: by frames alone."""
    place = world(tmp_path, "none")
    visitor, fa = place.visitor, place.fa
    visitor.solicit()
    agent = visitor.hear()
    assert agent.advertisement.care_of_addresses == (CARE_OF,)
    assert AgentFlag.F in agent.advertisement.flags
    assert visitor.ask(agent, visitor.request(agent)).code == 0
    table = mip("visitors", "--socket", fa.socket)
    assert (table.returncode, table.stderr) == (0, "")
    title, row = table.stdout.splitlines()
    assert row.split()[:4] == [
        HOME_ADDRESS,
        LINK,
        json.loads(sh("ip -json link show eth0"))[0]["address"],
        HOME_AGENT,
    ]
    assert max(len(title), len(row)) <= 80
    (entry,) = json.loads(mip("visitors", "--socket", fa.socket, "--json").stdout)
    assert (entry["state"], entry["delivery_style"]) == ("registered", "direct")
    assert entry.keys() == set(answer("/v1/visitors")["items"]["required"])
    status = fa.status()
    assert status.keys() >= named_for("foreign agents")
    assert (status["role"], status["visitors"]) == ("foreign_agent", 1)
    shown = mip("status", "--socket", fa.socket)
    assert f"{LINK} up, {CARE_OF}/24" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    with fa.client() as client:
        lines = client.metrics().splitlines()
    assert "mip_visitors 1" in lines
    assert "mip_busy 0" in lines
    (binding,) = json.loads(
        mip("bindings", "--socket", place.ha.socket, "--json").stdout
    )
    assert binding["care_of_address"] == binding["source"] == CARE_OF
    assert visitor.ask(agent, visitor.request(agent, lifetime=0)).lifetime == 0
    assert "no visitors" in mip("visitors", "--socket", fa.socket).stdout
    assert fa.stop() == 0
    assert visitor.hear(lambda heard: heard.lifetime == 0)


@isolated
def test_what_is_refused_says_why(tmp_path):
    """FA-08, FA-11, FA-20, RT-02: a wrong checksum gets no answer, a wrong MFAE 67, a
    TTL below 255 76, and a home agent without a daemon 82."""
    shared = (
        f'[[mobile_node]]\nhome_address = "{HOME_ADDRESS}"\nspi = 400\n'
        'key_text = "the visitor\'s key"\n'
    )
    place = world(tmp_path, "none", shared)
    visitor, fa = place.visitor, place.fa
    agent = visitor.hear()
    good = visitor.request(agent, mobile_foreign=SHARED)
    packet = make_udp(HOME_ADDRESS, agent.source, 255, UdpDatagram(434, 434, good))
    visitor.port.send(spoil_checksum(packet), agent.link_address)
    fa.wait_for("wrong checksum")
    assert visitor.ask(agent, visitor.request(agent)).code == 67
    reply = visitor.ask(agent, visitor.request(agent, mobile_foreign=SHARED))
    assert reply.code == 0
    assert [one.type for one in reply.authentications] == [32, 33]
    fa.wait_for('"registration_accepted"')
    # Others, since a node is denied once a second (FA-06).
    far, late = (HandVisitor("eth0", f"10.1.1.{n}", HOME_AGENT, KEY) for n in (11, 12))
    assert far.ask(agent, far.request(agent), ttl=64).code == 76
    place.ha.stop()
    assert late.ask(agent, late.request(agent)).code == 82


@isolated
def test_a_visitors_packets_go_both_ways(tmp_path):
    """FA-28, FA-31, RT-08: through both agents' tunnels, and to the visitor without a
    question by ARP; when the agent ends, nothing of it is left."""
    place = world(tmp_path, "auto")
    visitor, foreign = place.visitor, place.foreign
    before = foreign.sh("ip -4 rule; ip -4 route show table all; ip -br link")
    agent = visitor.hear()
    assert visitor.ask(agent, visitor.request(agent)).code == 0
    sh(f"ip address add {HOME_ADDRESS}/32 dev eth0")
    sh("sysctl -qw net.ipv4.conf.eth0.arp_ignore=8")  # answers no question at all
    sh(f"ip neighbour replace {CARE_OF} lladdr {agent.link_address} dev eth0")
    sh(f"ip route add default via {CARE_OF} dev eth0 onlink")
    assert "1 received" in place.other.sh(f"ping -c 1 -W 5 {HOME_ADDRESS}")
    assert "1 received" in sh(f"ping -c 1 -W 5 -I {HOME_ADDRESS} {CORRESPONDENT}")
    (entry,) = json.loads(mip("visitors", "--socket", place.fa.socket, "--json").stdout)
    assert entry["sent_packets"] >= 2
    assert entry["received_packets"] >= 2
    assert place.fa.stop() == 0
    assert foreign.sh("ip -4 rule; ip -4 route show table all; ip -br link") == before


@isolated
@pytest.mark.parametrize(
    ("flags", "keys"),
    [
        (RequestFlag.T | RequestFlag.G, ""),
        (RequestFlag.T | RequestFlag.G, "gre_keys = true"),
        (RequestFlag(0), ""),
    ],
    ids=["gre", "keys", "one-way"],
)
def test_other_forms_of_tunnels_carry_packets_too(tmp_path, flags, keys):
    """FA-29, FA-31, TUN-09: GRE, with keys, too, and a one-way tunnel, whose answers
    are routed as usual."""
    place = world(tmp_path, "tun", keys=keys)
    visitor = place.visitor
    agent = visitor.hear()
    assert visitor.ask(agent, visitor.request(agent, flags=flags)).code == 0
    sh(f"ip address add {HOME_ADDRESS}/32 dev eth0")
    sh(f"ip neighbour replace {CARE_OF} lladdr {agent.link_address} dev eth0")
    sh(f"ip route add default via {CARE_OF} dev eth0 onlink")
    place.home.sh("sysctl -qw net.ipv4.ip_forward=1")
    assert "1 received" in place.other.sh(f"ping -c 1 -W 5 {HOME_ADDRESS}")


@isolated
def test_a_killed_foreign_agent_leaves_nothing_to_the_next(tmp_path):
    """AG-11, FA-30: the next one begins with sequence number 0 and no visitors, and
    takes away what the dead one had in the kernel."""
    place = world(tmp_path, "tun")
    visitor, foreign = place.visitor, place.foreign
    agent = visitor.hear()
    assert visitor.ask(agent, visitor.request(agent)).code == 0
    assert HOME_ADDRESS in foreign.sh("ip rule; ip neighbour; ip route show table all")
    place.fa.kill()
    fa = Daemon("fa", tmp_path / "fa.toml", tmp_path / "fa.sock", foreign)
    fa.wait_ready()
    assert visitor.hear(lambda heard: heard.sequence_number == 0)
    assert fa.status()["visitors"] == 0
    assert HOME_ADDRESS not in foreign.sh(
        "ip rule; ip neighbour; ip route show table all"
    )
    again = visitor.hear()
    assert visitor.ask(again, visitor.request(again)).code == 0
    assert fa.stop() == 0


@isolated
def test_a_foreign_agent_serves_on_when_its_link_is_there_again(tmp_path):
    """It advertises there again, and a visitor's packets find their way."""
    place = world(tmp_path, "tun")
    foreign = place.foreign
    agent = place.visitor.hear()
    assert place.visitor.ask(agent, place.visitor.request(agent)).code == 0
    foreign.sh(f"ip link del {LINK}")
    connect(
        Node("here", inside=SimpleNamespace(pid=os.getpid())), "eth0", foreign, LINK
    )
    foreign.sh(f"ip address add {CARE_OF}/24 dev {LINK}")
    visitor = HandVisitor("eth0", HOME_ADDRESS, HOME_AGENT, KEY)
    agent = visitor.hear()
    assert visitor.ask(agent, visitor.request(agent)).code == 0
    sh(f"ip address add {HOME_ADDRESS}/32 dev eth0")
    sh(f"ip route add default via {CARE_OF} dev eth0 onlink")
    place.home.sh("sysctl -qw net.ipv4.ip_forward=1")
    assert "1 received" in place.other.sh(f"ping -c 1 -W 5 {HOME_ADDRESS}")
    assert place.fa.stop() == 0
    assert place.ha.stop() == 0
    assert "Traceback" not in place.fa.log, place.fa.log
    left = foreign.sh("ip rule; ip neighbour; ip route show table all")
    assert HOME_ADDRESS not in left
