# SPDX-License-Identifier: GPL-2.0-only
"""`mip replay`: recorded requests to a live home agent, and how they are made new."""

import json
import socket
import threading
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw
from scapy.utils import wrpcap

from mip_agents import ForeignAgent, HomeAgent, MipError
from mip_agents.captures.check import check_files
from mip_agents.captures.decode import decode_message
from mip_agents.captures.replay import ReplayOptions, replay_file
from mip_agents.captures.replay_differences import Difference, differences
from mip_agents.captures.replay_exchanges import read_exchanges
from mip_agents.captures.replay_requests import Renewal
from mip_agents.protocol.errors import InputError
from scapy_mip import ident
from scapy_mip.all import MIP, MIPMHAE, MIPNAI, MIPRRP, MIPRRQ, verify
from scapy_mip.auth import SecurityAssociation
from scapy_mip.keyring import make_ring
from support.daemons import mip
from support.netns import Node, connect, isolated, sh

RECORDED = Path(__file__).parents[2] / "pcaps" / "recorded"
HOME_AGENT, NODE = "10.1.1.20", "10.1.2.50"
KEY = "1234567812345678"
RIGHT = SecurityAssociation(256, KEY)
WRONG = {
    "mkiol-denied-badauth": SecurityAssociation(256, "8765432187654321"),
    "roothbx-reg-dereg": SecurityAssociation(256, "8888888888888888"),
}
T0 = 1_700_000_000
"""When the captures that are made here begin."""


@contextmanager
def home_agent(key=KEY):
    """Run a home agent for the recorded captures on the loopback interface."""
    for address in (HOME_AGENT, NODE):
        sh(f"ip address add {address}/32 dev lo")
    with HomeAgent(
        address=HOME_AGENT,
        home_network="10.1.1.0/24",
        security={256: key},
        dataplane="none",
        advertise=False,
    ) as agent:
        yield agent


def replayed(name, **options):
    options = {"to": HOME_AGENT, "source": NODE, "timeout": 3.0, **options}
    return list(replay_file(RECORDED / f"{name}.pcap", ReplayOptions(**options)))


def changes(outcomes):
    return [
        [(one.field, one.captured, one.replied) for one in outcome.differences]
        for outcome in outcomes
    ]


@isolated
def test_fresh_requests_of_other_agents_have_the_same_outcome():
    """Wrong keys stay wrong (HA-09), a clock that was off is off as far (HA-30)."""
    with home_agent():
        for name in ("mkiol-reg-dereg", "mkiol-ident-mismatch", *WRONG):
            keys = [one for one in (RIGHT, WRONG.get(name)) if one]
            outcomes = replayed(name, fresh=True, keys=make_ring(keys))
            assert changes(outcomes) == [[]] * len(outcomes)
            assert not any(one.resynchronised for one in outcomes)


@isolated
def test_requests_as_they_were_are_stale():
    """HA-30"""
    with home_agent():
        outcomes = replayed("mkiol-reg-dereg")
    assert [one.replied["fields"]["code"] for one in outcomes] == [133] * 3
    assert changes(outcomes) == [[("code", 0, 133)]] * 3


@isolated
def test_an_agent_with_another_key_denies_with_131():
    with home_agent(key="another key of ours"):
        outcomes = replayed("mkiol-reg-dereg", fresh=True, keys=make_ring(RIGHT))
        assert changes(outcomes) == [[("code", 0, 131)]] * 3
        new = SecurityAssociation(256, "another key of ours")
        outcomes = replayed("mkiol-reg-dereg", fresh=True, keys=make_ring(new))
        assert changes(outcomes) == [[]] * 3


@isolated
def test_the_command_says_what_differs_and_keeps_what_was_exchanged(tmp_path):
    with home_agent():
        keys = tmp_path / "keys.toml"
        keys.write_text(f'[[security_association]]\nspi = 256\nkey_text = "{KEY}"\n')
        keys.chmod(0o600)
        kept = keys.with_suffix(".pcap")
        capture = RECORDED / "mkiol-reg-dereg.pcap"
        to = ("replay", capture, "--to", HOME_AGENT, "--from", NODE)
        stale = mip(*to)
        fresh = mip(*to, "--fresh", "--keys", keys, "--write", kept, "--json")
    written = read_exchanges(kept)
    findings = list(check_files([kept], make_ring(RIGHT)))
    assert stale.returncode == 1
    assert "code: 0 -> 133 (HA: registration Identification mismatch)" in stale.stdout
    assert max(map(len, stale.stdout.splitlines())) <= 80
    assert "--fresh makes them new" in stale.stderr
    assert fresh.returncode == 0, fresh.stderr
    records = [json.loads(line) for line in fresh.stdout.splitlines()]
    assert [one["frame"] for one in records] == [1, 3, 5]
    assert [one["replied"]["fields"]["code"] for one in records] == [0, 0, 0]
    assert all(one["same"] and one["differences"] == [] for one in records)
    assert [one.reply.packet.code for one in written] == [0, 0, 0]
    # They came within microseconds of each other, as nodes must not send (MN-38).
    assert {finding.rule.id for finding in findings} <= {"MN-38"}


@isolated
def test_nobody_there_is_a_missing_answer_at_once():
    outcomes = replayed("mkiol-reg-dereg", to="127.0.0.1", source=None)
    assert changes(outcomes) == [[("reply", 0, None)]] * 3
    assert {one.error for one in outcomes} == {"Connection refused"}
    with pytest.raises(MipError, match=r"192\.0\.2\.1"):
        replayed("mkiol-reg-dereg", to="192.0.2.1", source=None)


@pytest.mark.parametrize("retries", [0, 2])
def test_silence_ends_after_the_retries(retries):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        (outcome,) = replayed(
            "mkiol-ident-mismatch",
            to="127.0.0.1",
            port=silent.getsockname()[1],
            source=None,
            timeout=0.02,
            retries=retries,
        )
    assert outcome.replied is None
    assert len(outcome.datagrams) == 1 + retries
    assert len({one.data for one in outcome.datagrams}) == 1


def test_the_time_of_an_agent_is_adopted_where_none_was_before():
    """MN-35"""
    ahead = ident.seconds(5000)
    codes = []

    def serve(agent):
        for _request in range(4):
            data, sender = agent.recvfrom(2000)
            request, now = MIP(data), ident.from_unix_ns(T0 * 10**9) + ahead
            near = abs(ident.difference(request.identification, now)) < 7 << 32
            codes.append(0 if near else 133)
            high, low = ident.split(request.identification)
            if not near:
                high = ident.split(now)[0]
            reply = MIPRRP(
                code=codes[-1],
                lifetime=request.lifetime,
                home_address=request.home_address,
                home_agent=request.home_agent,
                identification=ident.join(high, low),
                extensions=[MIPMHAE(association=RIGHT)],
            )
            agent.sendto(bytes(reply), sender)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))
        server = threading.Thread(target=serve, args=[agent])
        server.start()
        outcomes = replayed(
            "mkiol-reg-dereg",
            to="127.0.0.1",
            port=agent.getsockname()[1],
            source=None,
            fresh=True,
            keys=make_ring(RIGHT),
        )
        server.join(10)
    assert codes == [133, 0, 0, 0]
    assert [one.resynchronised for one in outcomes] == [True, False, False]
    assert changes(outcomes) == [[]] * 3


def capture(path, *messages):
    """Write messages as (second, source, destination, payload)."""
    packets = []
    for second, source, destination, data in messages:
        packet = IP(src=source, dst=destination) / UDP(sport=434, dport=434)
        frame = Raw(bytes(packet / Raw(bytes(data))))
        frame.time = T0 + second
        packets.append(frame)
    wrpcap(str(path), packets, linktype=101)
    return path


def request(identification, **fields):
    return MIPRRQ(
        home_address="10.1.1.10",
        home_agent=HOME_AGENT,
        care_of_address=NODE,
        identification=identification,
        **fields,
    ) / MIPMHAE(association=RIGHT)


def reply(code, identification):
    message = MIPRRP(code=code, home_address="10.1.1.10", home_agent=HOME_AGENT)
    message.identification = identification
    return MIP(bytes(message / MIPMHAE(association=RIGHT)))


def asked(second, identification, **fields):
    return second, NODE, HOME_AGENT, request(identification, **fields)


def answered(second, code, identification):
    return second, HOME_AGENT, NODE, reply(code, identification)


def stamp(second):
    return ident.from_unix_ns(int((T0 + second) * 10**9))


NOW = ident.from_unix_ns((T0 + 10**6) * 10**9)


def test_time_stamps_keep_their_distance_and_their_order(tmp_path):
    first, second = stamp(1) + 5000, stamp(60) + 1
    path = capture(
        tmp_path / "a.pcap",
        asked(1, first),
        asked(2, first),  # repeated as it was
        asked(60, second),
        asked(60.5, stamp(50)),  # long past
    )
    renewal = Renewal(make_ring(RIGHT))
    data = [renewal.renew(one, NOW) for one in read_exchanges(path)]
    stamps = [MIP(one).identification for one in data]
    assert stamps[0] - NOW == pytest.approx(5000, abs=2**20)  # of 2**32 in a second
    assert data[1] == data[0]
    assert 0 < stamps[2] - stamps[0] < 2**20
    assert (NOW - stamps[3]) / 2**32 == pytest.approx(10.5, abs=0.001)
    assert all(verify(RIGHT, one, 24) for one in data)


def test_a_coarse_time_stamp_stays_coarse(tmp_path):
    path = capture(tmp_path / "a.pcap", asked(1, stamp(1) >> 32 << 32))
    (exchange,) = read_exchanges(path)
    renewed = Renewal(make_ring(RIGHT)).renew(exchange, NOW + 12345)
    assert MIP(renewed).identification % 2**11 == 0


def test_nonces_come_from_the_replies_that_come_now(tmp_path):
    """HA-32"""
    nonces = [0x11111111, 0x22222222, 0x33333333]
    numbers = [ident.join(7, 1), *(ident.join(one, 2) for one in nonces)]
    path = capture(
        tmp_path / "a.pcap",
        asked(1, numbers[0]),
        answered(1, 133, ident.join(nonces[0], 1)),
        asked(2, numbers[1]),
        answered(2, 0, ident.join(nonces[1], 2)),
        asked(3, numbers[2]),
        answered(3, 0, ident.join(nonces[2], 2)),
        asked(4, numbers[1]),  # one that is used up
    )
    renewal = Renewal(make_ring(RIGHT))
    sent = []
    codes = count(0x44444444)
    for exchange in read_exchanges(path):
        data = renewal.renew(exchange, NOW)
        sent.append(MIP(data).identification)
        low = ident.split(sent[-1])[1]
        if exchange.reply is not None:
            code = exchange.reply.packet.code
            again = renewal.learn(
                exchange, data, reply(code, ident.join(next(codes), low))
            )
            assert not again
    highs = [ident.split(one)[0] for one in sent]
    assert highs[1:] == [0x44444444, 0x44444445, 0x44444444]


def test_a_forged_133_teaches_nothing(tmp_path):
    """MN-35"""
    path = capture(tmp_path / "a.pcap", asked(1, stamp(1)), answered(1, 0, stamp(1)))
    (exchange,) = read_exchanges(path)
    renewal = Renewal(make_ring(SecurityAssociation(256, "not this key")))
    data = renewal.renew(exchange, NOW)
    other = ident.join(5, ident.split(MIP(data).identification)[1])
    assert not renewal.learn(exchange, data, reply(133, other))
    assert renewal.renew(exchange, NOW) == data


def test_a_key_of_another_size_and_an_unknown_spi(tmp_path):
    signed = request(stamp(1)) / MIPMHAE(spi=999, authenticator=b"x" * 16)
    path = capture(tmp_path / "a.pcap", (1, NODE, HOME_AGENT, signed))
    (exchange,) = read_exchanges(path)
    longer = SecurityAssociation(256, KEY, "hmac-sha256")
    renewal = Renewal(make_ring(longer))
    renewed = MIP(renewal.renew(exchange, NOW))
    first, second = renewed.extensions
    assert len(first.authenticator) == 32
    assert verify(longer, renewed.original, 24)
    assert (second.spi, second.authenticator) == (999, b"x" * 16)
    assert renewal.unknown_spis == {999}


def test_a_request_and_its_relay_are_told_apart_by_where_they_went(tmp_path):
    foreign_agent, number = "10.1.2.1", stamp(1)
    path = capture(
        tmp_path / "a.pcap",
        (1, NODE, foreign_agent, request(number)),
        (1, foreign_agent, HOME_AGENT, request(number)),
        (1, HOME_AGENT, foreign_agent, reply(0, number)),
        (1, foreign_agent, NODE, reply(69, number)),
    )
    exchanges = read_exchanges(path)
    assert [one.reply.packet.code for one in exchanges] == [69, 0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        options = {"to": "127.0.0.1", "port": silent.getsockname()[1], "retries": 0}
        for wanted, frames in ((None, [1, 2]), (HOME_AGENT, [2])):
            chosen = ReplayOptions(captured_to=wanted, timeout=0.01, **options)
            outcomes = list(replay_file(path, chosen))
            assert [one.exchange.request.frame for one in outcomes] == frames


_held = {}


def start_foreign_agent():
    link = {"interfaces": ["eth1"], "care_of_addresses": ["10.1.2.1"]}
    _held["agent"] = ForeignAgent(**link, dataplane="none")
    _held["agent"].start()


def replayed_to_a_foreign_agent(path):
    options = ReplayOptions(
        to="10.1.2.1", source="10.1.1.10", fresh=True, keys=make_ring(RIGHT)
    )
    (outcome,) = replay_file(path, options)
    return outcome.replied["fields"]["code"], outcome.is_same


@isolated
def test_a_foreign_agent_answers_as_well(tmp_path):
    """FA-20: no route leads to the home agent."""
    agent, node = Node("agent"), Node("node")
    connect(agent, "eth1", node, "eth0")
    agent.sh("ip address add 10.1.2.1/24 dev eth1")
    node.sh("ip address add 10.1.1.10/32 dev eth0; ip route add 10.1.2.0/24 dev eth0")
    number = stamp(1)
    asking = request(number)
    asking.care_of_address = "10.1.2.1"
    denial = MIPRRP(code=80, home_address="10.1.1.10", home_agent=HOME_AGENT)
    denial.identification = number
    path = capture(
        tmp_path / "a.pcap",
        (1, "10.1.1.10", "10.1.2.1", asking),
        (1, "10.1.2.1", "10.1.1.10", denial),
    )
    agent.call(start_foreign_agent)
    assert node.call(partial(replayed_to_a_foreign_agent, path)) == (80, True)


def test_a_reply_without_the_number_of_its_request_is_still_its_reply():
    """juakali's home agent does not repeat Identification (HA-29)."""
    (exchange,) = read_exchanges(RECORDED / "juakali-visited.pcap")
    assert exchange.reply is not None


def shown(message):
    return decode_message(bytes(message), set())[0]


def test_differences_are_fields_and_extensions_but_no_numbers_drawn():
    before = MIPRRP(code=0, lifetime=600, identification=1) / MIPMHAE(association=RIGHT)
    after = MIPRRP(code=0, lifetime=300, identification=2)
    named = after / MIPNAI(nai="mn@example.org") / MIPMHAE(spi=257, authenticator=b"1")
    assert differences(shown(before), shown(before)) == []
    assert differences(shown(before), shown(named)) == [
        Difference("lifetime", 600, 300),
        Difference("mobile_home_authentication.spi", 256, 257),
        Difference("mobile_node_nai", None, {"nai": "mn@example.org"}),
    ]
    swapped = MIPRRP(code=0, lifetime=300) / MIPMHAE(spi=257) / MIPNAI(nai="mn@a.org")
    assert [one.field for one in differences(shown(named), shown(swapped))] == [
        "mobile_node_nai.nai",
        "extensions",
    ]


def test_the_lifetime_of_a_denial_says_nothing_but_with_code_69():
    """RFC 5944 section 3.4"""
    for code, fields in ((131, []), (69, ["lifetime"]), (0, ["lifetime"])):
        pair = [shown(MIPRRP(code=code, lifetime=one)) for one in (10, 20)]
        assert [one.field for one in differences(*pair)] == fields


def test_silence_and_an_answer_differ_and_silence_is_like_silence():
    assert differences(None, None) == []
    assert differences(None, shown(MIPRRP(code=0))) == [Difference("reply", None, 0)]


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("proxymip4-agentadv", {}, "no Registration Request in it"),
        ("missing", {}, "No such file"),
        ("mkiol-reg-dereg", {"fresh": True}, "frame 1: signed with SPI 256"),
        ("mkiol-reg-dereg", {"captured_to": "10.9.9.9"}, "no request went to"),
    ],
)
def test_unusable_input_is_refused_before_anything_is_sent(name, options, says):
    with pytest.raises(InputError, match=says):
        replay_file(RECORDED / f"{name}.pcap", ReplayOptions(to="127.0.0.1", **options))


def test_unusable_input_is_one_line_and_exit_code_2():
    capture = RECORDED / "proxymip4-agentadv.pcap"
    done = mip("replay", capture, "--to", "127.0.0.1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"mip: {capture}: no Registration Request in it\n"
    assert mip("replay", capture, "--to", "nowhere").returncode == 2


def test_an_unsigned_request_needs_no_keys():
    options = ReplayOptions(to="127.0.0.1", port=1, fresh=True, timeout=0.01, retries=0)
    outcomes = list(replay_file(RECORDED / "click-jv-home.pcap", options))
    assert len(outcomes) == 1
    with pytest.raises(InputError):
        replay_file(RECORDED / "mkiol-reg-dereg.pcap", options)


def test_a_full_disk_is_one_line_that_names_the_file():
    capture = RECORDED / "mkiol-reg-dereg.pcap"
    done = mip(
        *("replay", capture, "--to", "127.0.0.1", "--port", "9"),
        *("--timeout", "0.1", "--write", "/dev/full"),
    )
    assert done.returncode == 2
    assert done.stderr == "mip: /dev/full: No space left on device\n"
