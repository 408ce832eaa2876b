# SPDX-License-Identifier: GPL-2.0-only
"""The toy home agent and the prompt's helpers against each other, on real links."""

import contextlib
import threading

from scapy.config import conf
from scapy.layers.inet import IP, UDP
from scapy.sendrecv import AsyncSniffer, send

from scapy_mip import ident
from scapy_mip.all import (
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    MIP_am,
    MIPAgentAdvertisement,
    MIPAgentSolicitation,
    MIPMobilityAgentAdvertisement,
    MIPRouterEntry,
    MIPSession,
    SecurityAssociation,
    mip_register,
    mip_solicit,
)
from scapy_mip.ansmachine import ntp_now
from support.netns import isolated, sh

KEY = "1234567812345678"
SHARED = SecurityAssociation(256, KEY)
HOME = "10.1.1.10"
AGENT = "127.0.0.1"


def rescan():
    """Let Scapy see the namespace that it is in."""
    conf.ifaces.reload()
    conf.route.resync()


@contextlib.contextmanager
def home_agent(**options):
    """A toy home agent on the loopback interface."""
    rescan()
    listening = threading.Event()
    machine = MIP_am(keys=SHARED, verbose=False, **options)
    sniffer = machine.bg(iface="lo", started_callback=listening.set)
    assert listening.wait(20)
    try:
        yield machine
    finally:
        sniffer.stop()


def register(**options):
    return mip_register(HOME, AGENT, key=KEY, timeout=20, **options)


@isolated
def test_registration_is_granted_renewed_and_ended():
    with home_agent(lifetime=300) as agent:
        reply = register(lifetime=600, extensions=[MIPNAI(nai="mn@example.org")])
        assert (reply[MIPRRP].code, reply[MIPRRP].lifetime) == (0, 300)
        assert reply[MIPRRP].extensions[0].verdict == "valid"
        asked = reply[MIPRRP].request
        assert asked[MIPRRQ].flags == "D"
        assert [type(one) for one in asked[MIPRRQ].extensions] == [MIPNAI, MIPMHAE]
        assert asked[UDP].sport == reply[UDP].dport
        assert agent.bindings[HOME].care_of_address == "127.0.0.1"
        assert register(care_of_address="10.9.9.9")[MIPRRP].code == 0
        assert agent.bindings[HOME].care_of_address == "10.9.9.9"
        assert register(lifetime=0)[MIPRRP].code == 0
        assert agent.bindings == {}


@isolated
def test_node_takes_over_the_time_of_the_home_agent():
    """Code 133 is followed by one more try (RFC 5944 section 5.7.1)."""
    with home_agent(now=lambda: ntp_now() + ident.seconds(5000)) as agent:
        reply = register()
        assert reply[MIPRRP].code == 0
        asked = reply[MIPRRP].request[MIPRRQ].identification
        ahead = ident.difference(asked, ntp_now())
        assert ident.seconds(4990) < ahead < ident.seconds(5002)
        assert HOME in agent.bindings


@isolated
def test_denial_is_returned_with_its_code():
    with home_agent(code=129):
        assert register()[MIPRRP].code == 129
    with home_agent():
        reply = mip_register(HOME, AGENT, key="another key", timeout=20)
        assert reply[MIPRRP].code == 131
        assert reply[MIPRRP].extensions[0].verdict == "invalid"


@isolated
def test_nobody_answers():
    rescan()
    assert mip_register(HOME, AGENT, key=KEY, timeout=0.2) is None


@isolated
def test_session_follows_a_live_registration():
    with home_agent():
        sniffer = AsyncSniffer(
            iface="lo",
            filter="udp port 434",
            session=MIPSession(SHARED),
            started_callback=(started := threading.Event()).set,
            stop_filter=lambda packet: MIPRRP in packet,
        )
        sniffer.start()
        assert started.wait(20)
        register()
        sniffer.join(20)
        seen = [one for one in sniffer.results if MIPRRP in one]
        assert seen[0][MIPRRP].extensions[0].verdict == "valid"
        assert seen[0][MIPRRP].request[MIPRRQ].extensions[0].verdict == "valid"


@isolated
def test_function_of_the_prompt_answers_until_it_has_seen_enough():
    from scapy_mip.all import mip_had

    rescan()
    answering = threading.Thread(
        target=lambda: mip_had(
            {256: KEY},
            iface="lo",
            verbose=False,
            stop_filter=lambda packet: MIPRRP in packet,
        ),
        daemon=True,
    )
    answering.start()
    for _attempt in range(40):  # until it listens
        reply = mip_register(HOME, AGENT, key=KEY, timeout=0.5)
        if reply is not None:
            break
    assert reply[MIPRRP].code == 0
    answering.join(20)
    assert not answering.is_alive()


@isolated
def test_solicitation_is_heard_and_answered():
    sh("ip link add left type veth peer name right")
    for name, address in (("left", "10.1.2.50/24"), ("right", "10.1.2.1/24")):
        sh(f"ip address add {address} dev {name}")
        sh(f"ip link set {name} up")
    rescan()
    advertisement = (
        IP(src="10.1.2.1", dst="224.0.0.1")
        / MIPAgentAdvertisement(entries=[MIPRouterEntry(router_address="10.1.2.1")])
        / MIPMobilityAgentAdvertisement(care_of_addresses=["10.1.2.1"])
    )
    heard = []

    def answer(packet):
        if MIPAgentSolicitation in packet:
            heard.append(packet)
            send(advertisement, iface="right", verbose=0)

    listening = threading.Event()
    agent = AsyncSniffer(
        iface="right",
        filter="icmp",
        prn=answer,
        store=False,
        started_callback=listening.set,
    )
    agent.start()
    assert listening.wait(20)
    try:
        advertisements = mip_solicit("left", timeout=20, count=1)
    finally:
        agent.stop()
    assert (heard[0][IP].src, heard[0][IP].dst) == ("10.1.2.50", "224.0.0.2")
    assert heard[0][IP].ttl == 1
    assert (
        advertisements[0][MIPAgentAdvertisement].entries[0].router_address == "10.1.2.1"
    )
