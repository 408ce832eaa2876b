# SPDX-License-Identifier: GPL-2.0-only
"""The teaching automaton: its graph, and its way through it with a real home agent."""

import contextlib
import shutil
import threading

import pytest
from scapy.automaton import Automaton
from scapy.config import conf
from scapy.supersocket import L3RawSocket

from scapy_mip import ident
from scapy_mip.all import MIPRRQ, MIP_am, MIPMobileNodeAutomaton, SecurityAssociation
from scapy_mip.ansmachine import ntp_now
from support.netns import isolated

SHARED = SecurityAssociation(256, "1234567812345678")
HOME = "10.1.1.10"


@contextlib.contextmanager
def home_agent(**options):
    """A toy home agent on the loopback interface."""
    listening = threading.Event()
    machine = MIP_am(keys=SHARED, verbose=False, **options)
    sniffer = machine.bg(iface="lo", started_callback=listening.set)
    assert listening.wait(20)
    try:
        yield machine
    finally:
        sniffer.stop()


class Recorded(MIPMobileNodeAutomaton):
    """An automaton that writes down where it was and what it sent."""

    def parse_args(self, *args, **kargs):
        super().parse_args(*args, **kargs)
        self.requests = []

    def ask(self, lifetime):
        super().ask(lifetime)
        self.requests.append((self.state.state, self.sent[MIPRRQ]))


@contextlib.contextmanager
def node(**options):
    conf.ifaces.reload()
    conf.route.resync()
    association = options.pop("association", SHARED)
    made = Recorded(
        HOME, "127.0.0.1", association, iface="lo", ll=L3RawSocket, **options
    )
    try:
        yield made
    finally:
        made.forcestop()
        made.destroy()


def test_graph_has_every_state_and_reaches_every_end():
    dot = MIPMobileNodeAutomaton.build_graph()
    edges = {
        tuple(part.strip().strip('"') for part in line.split("[")[0].split("->"))
        for line in dot.splitlines()
        if "->" in line
    }
    reached, todo = set(), ["HOME"]
    while todo:
        state = todo.pop()
        reached.add(state)
        todo += [to for start, to in edges if start == state and to not in reached]
    assert reached == set(MIPMobileNodeAutomaton.states)
    assert ("REQUESTED", "RESYNCHRONISING") in edges
    assert ("REGISTERED", "REQUESTED") in edges
    assert 'label="mismatch", color=red' in dot


def test_graph_is_drawn(tmp_path):
    if shutil.which(conf.prog.dot) is None:
        pytest.skip("no dot command: sudo apt install graphviz")
    path = tmp_path / "node.png"
    MIPMobileNodeAutomaton.graph(target=str(path), format="png")
    assert path.read_bytes().startswith(b"\x89PNG")


@isolated
def test_node_registers_and_deregisters():
    with node(once=True) as mobile, home_agent() as agent:
        assert mobile.run() == 0
        assert agent.bindings == {}
        assert [(state, sent.lifetime) for state, sent in mobile.requests] == [
            ("REQUESTED", 1800),
            ("DEREGISTERING", 0),
        ]
        assert set(agent.last_accepted) == {HOME}


@isolated
def test_node_renews_until_it_is_told_to_leave():
    with node(lifetime=2) as mobile, home_agent() as agent:
        renewed = threading.Event()
        answer = agent.make_reply

        def counted(request):
            reply = answer(request)
            if len(mobile.requests) > 1:
                renewed.set()
            return reply

        agent.__dict__["make_reply"] = counted
        mobile.runbg()
        assert renewed.wait(20)
        mobile.io.user.send("stay")
        mobile.io.user.send("deregister")
        assert mobile.run() == 0
        states = [state for state, _sent in mobile.requests]
        assert states[:2] == ["REQUESTED", "REQUESTED"]
        assert states[-1] == "DEREGISTERING"
        assert agent.bindings == {}


@isolated
def test_node_resynchronises():
    """Code 133 gives the time of the home agent (RFC 5944 section 5.7.1)."""
    ahead = ident.seconds(5000)
    with node(once=True) as mobile, home_agent(now=lambda: ntp_now() + ahead):
        assert mobile.run() == 0
        stamps = [sent.identification for _state, sent in mobile.requests]
        assert len(stamps) == 3
        assert ident.difference(stamps[1], stamps[0]) > ident.seconds(4990)


@isolated
def test_denied_node_stops_with_the_code():
    with (
        node() as mobile,
        home_agent(code=129),
        pytest.raises(Automaton.ErrorState) as stopped,
    ):
        mobile.run()
    assert stopped.value.state == "DENIED"
    assert stopped.value.result == 129


@isolated
def test_reply_signed_with_another_key_is_not_believed():
    with (
        node(association=SecurityAssociation(256, "other"), retries=0) as mobile,
        home_agent(),
        pytest.raises(Automaton.ErrorState) as stopped,
    ):
        mobile.run()
    assert stopped.value.state == "UNREACHABLE"


@isolated
def test_node_asks_again_with_another_identification_and_gives_up():
    with node(retries=1) as mobile, pytest.raises(Automaton.ErrorState) as stopped:
        mobile.run()
    assert stopped.value.state == "UNREACHABLE"
    assert len({sent.identification for _state, sent in mobile.requests}) == 2
    assert mobile.timer_by_name("retransmit").get() == 2.0
    assert MIPMobileNodeAutomaton.timeout["REQUESTED"].timers[0].get() == 1.0
