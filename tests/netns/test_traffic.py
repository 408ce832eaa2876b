# SPDX-License-Identifier: GPL-2.0-only
"""The flows count exactly what the network does to them; captures hold all of it."""

import json
import os
import signal
import socket
import struct
from functools import partial

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap

from mip_agents.lab import capture, namespaces, traffic
from mip_agents.lab.ledger import ProbeLedger, StreamLedger, longest_gap
from mip_agents.lab.processes import Children
from mip_agents.lab.pump import Pump
from mip_agents.lab.topology import CORRESPONDENT, HOME_ADDRESS, HOME_AGENT, Topology


class Stage:
    """Flows of one test, and what they said."""

    def __init__(self, children):
        self.children = children
        self.pump = Pump()
        self.records = {}
        self.flows = {}

    def flow(self, name, function, namespace=None, ledger=None):
        records = self.records.setdefault(name, [])

        def receive(line):
            records.append(json.loads(line))
            if ledger is not None:
                ledger.feed(records[-1])

        child = self.flows[name] = self.children.fork(name, function, namespace)
        self.pump.add(child.output, receive)
        assert self.pump.until(lambda: {"ready": True} in records, 5), name

    def stop(self, *names):
        for name in names:
            self.flows[name].send(signal.SIGTERM)
        assert self.pump.finish({self.flows[name].output for name in names}, 5)
        return [self.flows[name].stop() for name in names]


def lossy_relay(output, lost_out, lost_back):
    """Relay echo between correspondent and mobile node, without some numbers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOME_AGENT, traffic.ECHO_PORT))
        output.write(b'{"ready": true}\n')
        sender = None
        while True:
            data, peer = sock.recvfrom(2048)
            (number,) = struct.unpack_from("!I", data, 4)
            if peer[0] == HOME_ADDRESS:
                if number not in lost_back:
                    sock.sendto(data, sender)
                continue
            sender = peer
            if number not in lost_out:
                sock.sendto(data, (HOME_ADDRESS, traffic.ECHO_PORT))


@pytest.mark.netns
def test_probe_counts_injected_loss_exactly(sandbox):
    lost_out, lost_back = {*range(20, 30), 40}, {*range(50, 55)}

    def story():
        ledger = ProbeLedger()
        Topology().plug("eth0", "home")
        with Children() as children:
            stage = Stage(children)
            echo = partial(traffic.echo_probe, address=HOME_ADDRESS)
            stage.flow("echo", echo, "mn", ledger)
            relay = partial(lossy_relay, lost_out=lost_out, lost_back=lost_back)
            stage.flow("relay", relay, "ha")
            probe = partial(traffic.send_probe, target=HOME_AGENT)
            stage.flow("probe", probe, "correspondent", ledger)
            assert stage.pump.until(lambda: len(ledger.sent) > 80, 10)
            stage.stop("probe")
            stage.stop("echo")
        return ledger

    ledger = sandbox(story)
    times = ledger.sent.values()
    whole = ledger.window(min(times), max(times) + 1)
    assert whole.sent == len(ledger.sent) > 80
    assert (whole.lost_out, whole.lost_back) == (len(lost_out), len(lost_back))
    assert ledger.duplicates == 0
    assert set(ledger.sent) - set(ledger.echoed) == lost_out
    # Ten lost packets are eleven intervals without an arrival; the window stays open
    # for a second after the last one.
    part = ledger.window(ledger.sent[15], ledger.sent[35])
    assert (part.sent, part.lost_out, part.lost_back) == (20, 10, 0)
    assert 0.100 < part.gap_out < 0.5
    assert 0.100 < part.gap < 0.5


@pytest.mark.netns
def test_stream_carries_every_byte_both_ways(sandbox):
    def story():
        ends = {"server": StreamLedger(), "client": StreamLedger()}
        Topology().plug("eth0", "home")
        with Children() as children:
            stage = Stage(children)
            serve = partial(traffic.serve_stream, address=CORRESPONDENT)
            stage.flow("server", serve, "correspondent", ends["server"])
            connect = partial(
                traffic.open_stream, address=HOME_ADDRESS, target=CORRESPONDENT
            )
            stage.flow("client", connect, "mn", ends["client"])
            enough = 20
            assert stage.pump.until(
                lambda: all(len(end.arrivals) > enough for end in ends.values()), 10
            )
            stage.stop("client", "server")
        return ends

    ends = sandbox(story)
    assert [end.broken for end in ends.values()] == [None, None]
    assert ends["server"].received_bytes == ends["client"].sent_bytes > 10_000
    assert ends["client"].received_bytes == ends["server"].sent_bytes > 10_000


def peer_that_sends(output, what, reset):
    """Accept a connection, send some bytes, and end it."""
    with socket.create_server(("127.0.0.1", traffic.STREAM_PORT)) as listener:
        output.write(b'{"ready": true}\n')
        sock, _ = listener.accept()
        if reset:
            linger = struct.pack("ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        sock.sendall(what)
        if not reset:
            sock.shutdown(socket.SHUT_WR)
        # All that it says is read: closing with data unread would be a reset.
        while sock.recv(65536) and not reset:
            pass
        sock.close()


@pytest.mark.netns
@pytest.mark.parametrize(
    ("what", "reset", "broken"),
    [
        (traffic.pattern(0, 800, 1 << 40), True, "Connection reset by peer"),
        (traffic.pattern(8, 800, 1 << 40), False, "wrong bytes after 0"),
        (b"", False, "closed by the other end"),
    ],
    ids=["reset", "corrupt", "closed"],
)
def test_stream_notices_a_broken_connection(sandbox, what, reset, broken):
    def story():
        Topology()
        ledger = StreamLedger()
        with Children() as children:
            stage = Stage(children)
            stage.flow("peer", partial(peer_that_sends, what=what, reset=reset), "mn")
            connect = partial(
                traffic.open_stream, address="127.0.0.1", target="127.0.0.1"
            )
            stage.flow("client", connect, "mn", ledger)
            assert stage.pump.until(lambda: ledger.broken, 5)
        return ledger.broken

    assert sandbox(story) == broken


def test_pattern_is_the_same_in_pieces_and_never_repeats():
    whole = traffic.pattern(0, 4096, 7)
    pieces = [traffic.pattern(at, 13, 7) for at in range(0, 4096, 13)]
    assert b"".join(pieces)[:4096] == whole
    assert traffic.pattern(4093, 3, 7) == whole[4093:]
    assert len({whole[at : at + 8] for at in range(0, 4096, 8)}) == 512


def test_longest_gap_counts_what_begins_before_and_what_is_still_open():
    arrivals = [0.0, 1.0, 1.5, 4.0]
    assert longest_gap(arrivals, 1.2, 1.6) == 0.5
    assert longest_gap(arrivals, 1.6, 4.5) == 2.5
    assert longest_gap(arrivals, 3.9, 9.0) == 5.0
    assert longest_gap([], 1.0, 3.0) == 2.0


def ping(output, count):
    """Send UDP probes to the mobile node, and wait for each answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((HOME_ADDRESS, traffic.ECHO_PORT))
        sock.settimeout(2)
        output.write(b'{"ready": true}\n')
        for number in range(count):
            sock.send(b"MIPP" + struct.pack("!Id", number, 0.0))
            sock.recv(100)


@pytest.mark.netns
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_captures_hold_both_directions_once(sandbox, tmp_path, number):
    count = 20

    def story():
        Topology().plug("eth0", "home")
        with Children() as children:
            stage = Stage(children)
            stage.flow("capture", partial(capture.capture, folder=tmp_path))
            echo = partial(traffic.echo_probe, address=HOME_ADDRESS)
            stage.flow("echo", echo, "mn")
            stage.flow("ping", partial(ping, count=count), "correspondent")
            assert stage.flows["ping"].wait(5) == 0
            # To the file at last: the capture itself tells when it has all.
            if number == signal.SIGTERM:
                stage.stop("capture")
                return stage.records["capture"][1:]
            sizes = partial(captured, tmp_path / "home.pcap")
            assert stage.pump.until(lambda: sizes() >= 2 * count, 5)
            os.kill(stage.flows["capture"].pid, number)
            stage.flows["capture"].wait(5)
        return None

    said = sandbox(story)
    for name in ("home", "correspondent") if said is None else capture.LINKS:
        packets = rdpcap(str(tmp_path / f"{name}.pcap"))
        probes = [packet for packet in packets if UDP in packet]
        if name.startswith("visited"):
            assert not probes
            continue
        if name == "home" or said is not None:
            assert len(probes) == 2 * count
        sources = [packet[IP].src for packet in probes]
        assert sources == [CORRESPONDENT, HOME_ADDRESS] * (len(probes) // 2)
        assert all(checksums_right(packet) for packet in probes)
        if said is not None:
            assert {"link": name, "packets": len(packets), "dropped": 0} in said


def captured(path):
    return sum(UDP in packet for packet in rdpcap(str(path)))


def checksums_right(packet):
    again = packet[IP].copy()
    del again.chksum, again[UDP].chksum
    return bytes(again) == bytes(packet[IP]) and Ether in packet


@pytest.mark.netns
def test_capture_sees_what_switch_ports_say_to_each_other(sandbox, tmp_path):
    def story():
        Topology().plug("eth0", "home")
        with Children() as children:
            stage = Stage(children)
            stage.flow("capture", partial(capture.capture, folder=tmp_path))
            with namespaces.inside("ha"):
                sock = socket.socket(
                    socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP
                )
            with sock:
                sock.settimeout(2)
                sock.sendto(bytes.fromhex("0800aab54d490001"), (HOME_ADDRESS, 0))
                while sock.recv(100)[20:22] != b"\0\0":
                    pass
            stage.stop("capture")

    sandbox(story)
    found = [p[ICMP].type for p in rdpcap(str(tmp_path / "home.pcap")) if ICMP in p]
    assert found == [8, 0]
