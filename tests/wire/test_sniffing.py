# SPDX-License-Identifier: GPL-2.0-only
"""`MIPSession` in `sniff()`: verdicts, pairs, and what it leaves alone."""

import pytest
from scapy.config import conf
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.l2 import Ether
from scapy.sendrecv import sniff
from scapy.sessions import IPSession
from scapy.utils import PcapReader, rdpcap, wrpcapng

from scapy_mip.all import (
    MIP,
    MIPFHAE,
    MIPMHAE,
    MIPRRP,
    MIPRRQ,
    KeyRing,
    MIPExtension,
    MIPHomeTest,
    MIPHomeTestInit,
    MIPMessage,
    MIPRegistrationRevocation,
    MIPRegistrationRevocationAcknowledgment,
    MIPSession,
    SecurityAssociation,
)
from scapy_mip.extensions.auth import MIPAuthentication
from scapy_mip.keyring import make_ring
from support.manifest import PCAPS, entries, ring_of

SHARED = SecurityAssociation(256, "1234567812345678")
NODE, AGENT, RELAY = "10.1.2.50", "10.1.1.20", "10.1.2.1"


def request(identification=7, **fields):
    return MIPRRQ(
        home_address="10.1.1.10", identification=identification, **fields
    ) / MIPMHAE(association=SHARED)


def reply(identification=7, **fields):
    return MIPRRP(
        home_address="10.1.1.10", identification=identification, **fields
    ) / MIPMHAE(association=SHARED)


def datagram(source, destination, message, sport=434, dport=434):
    """A frame as it comes from a wire."""
    frame = IP(src=source, dst=destination) / UDP(sport=sport, dport=dport) / message
    return IP(bytes(frame))


def sniffed(packets, session):
    return sniff(offline=packets, session=session, quiet=True)


def verdicts(packet):
    return [
        extension.verdict
        for extension in packet[MIPMessage].extensions
        if isinstance(extension, MIPAuthentication)
    ]


# Captures of other implementations


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry["file"])
def test_every_authenticator_of_a_capture_is_judged(entry):
    ring = ring_of(entry) or KeyRing()
    seen = sniffed(str(PCAPS / entry["file"]), MIPSession(ring))
    found = [one for packet in seen if MIPMessage in packet for one in verdicts(packet)]
    if entry.get("keys"):
        wrong = entry.get("authenticators_that_do_not_verify", 0)
        assert found
        assert found.count("invalid") == wrong
        assert found.count("valid") == len(found) - wrong
    else:
        assert set(found) <= {"no-key", "invalid"}


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry["file"])
def test_every_reply_of_a_capture_finds_its_request(entry):
    path = str(PCAPS / entry["file"])
    seen = sniffed(path, MIPSession)
    asked = []
    for packet in seen:
        if MIPRRQ in packet:
            asked.append(packet)
        if MIPRRP in packet:
            reply = packet[MIPRRP]
            possible = [one for one in asked if reply.answers(one[MIPRRQ])]
            # One agent does not repeat the Identification: nothing fits then.
            assert reply.request in possible or (reply.request, possible) == (None, [])
            if possible:
                home = reply.home_address
                # A foreign agent answers to the home address, if there is one (FA-27).
                there = "255.255.255.255" if home == "0.0.0.0" else home
                assert packet[IP].dst in (reply.request[IP].src, there)
                assert reply.request[UDP].sport == packet[UDP].dport
    with PcapReader(path) as reader:
        assert [bytes(one) for one in reader] == [bytes(one) for one in seen]


# Verdicts


def test_verdicts_are_valid_invalid_and_no_key():
    packets = [
        datagram(NODE, AGENT, request(number) / MIPFHAE(spi=300, authenticator=b"x"))
        for number in (1, 2)
    ]
    right, wrong = (
        sniffed([one], MIPSession({256: key}))[0]
        for one, key in zip(packets, ("1234567812345678", "8765"), strict=True)
    )
    assert verdicts(right) == ["valid", "no-key"]
    assert verdicts(wrong) == ["invalid", "no-key"]
    assert right.comments == [b"MHAE 256 valid", b"FHAE 300 no-key"]


def test_class_takes_the_known_associations(monkeypatch):
    monkeypatch.setitem(conf.contribs["mip"], "security_associations", {256: SHARED})
    (seen,) = sniffed([datagram(NODE, AGENT, request())], MIPSession)
    assert verdicts(seen) == ["valid"]


def test_verdicts_show():
    (seen,) = sniffed([datagram(NODE, AGENT, request())], MIPSession(SHARED))
    assert seen.summary().endswith("MHAE 256 valid")
    assert "(valid)" in seen.show(dump=True)
    assert "(valid)" in repr(seen)
    assert "valid" not in seen.copy().summary()  # an edit would make it a lie
    revoked = MIPRegistrationRevocation(association=SHARED) / MIPMHAE()
    (seen,) = sniffed([datagram(NODE, AGENT, revoked)], MIPSession(SHARED))
    assert seen.summary().endswith("MHAE 256 valid")


def test_nothing_shows_without_a_session():
    (seen,) = sniffed([datagram(NODE, AGENT, request())], None)
    assert "valid" not in seen.summary() + seen.show(dump=True)
    assert not seen.comments
    assert seen[MIPRRQ].request is None


def test_association_of_a_peer_is_for_messages_that_name_it():
    packet = datagram(NODE, AGENT, request())
    for peer, verdict in (
        ("10.1.1.10", "valid"),
        (AGENT, "valid"),
        ("10.9.9.9", "no-key"),
    ):
        (seen,) = sniffed([packet.copy()], MIPSession({peer: SHARED}))
        assert verdicts(seen) == [verdict]


def test_made_packets_are_judged_by_their_bytes():
    made = IP(src=NODE, dst=AGENT) / UDP() / request()
    seen = MIPSession(SHARED).process(made)
    assert seen is made
    assert verdicts(seen) == ["valid"]
    assert seen[MIPRRQ].extensions[0].authenticator is None


def test_made_packet_with_a_lying_length_is_judged_as_far_as_it_goes():
    hidden = MIPFHAE(spi=300, authenticator=b"x" * 16)
    message = MIPRRQ(association=SHARED) / MIPExtension(type=199, length=0, data=b"12")
    for made in (message / MIPMHAE() / hidden, message / hidden / MIPMHAE()):
        seen = MIPSession(SHARED).process(IP(src=NODE, dst=AGENT) / UDP() / made)
        assert not seen.comments


@pytest.mark.parametrize("cut", range(0, 50, 3))
def test_short_and_odd_packets_pass(cut):
    data = bytes(datagram(NODE, AGENT, request()))[: 28 + cut]
    (seen,) = sniffed([IP(data)], MIPSession(SHARED))
    assert bytes(seen) == data


# Pairs


@pytest.mark.parametrize(
    ("asking", "answering"),
    [
        (request(), reply()),
        (request(identification=7), reply(identification=(99 << 32) | 7)),
        (
            MIPRegistrationRevocation(revocation_identifier=9),
            MIPRegistrationRevocationAcknowledgment(revocation_identifier=9),
        ),
        (MIPHomeTestInit(home_init_cookie=5), MIPHomeTest(home_init_cookie=5)),
    ],
)
def test_answer_finds_its_request(asking, answering):
    first = datagram(NODE, AGENT, asking, sport=5000)
    second = datagram(AGENT, NODE, answering, dport=5000)
    second.time = first.time + 2
    session = MIPSession(SHARED)
    asked, answered = session.process(first), session.process(second)
    assert answered[MIP].request is asked
    assert asked[MIP].request is None
    assert answered.comments[-1] == b"answers the request of 2.000000 s before"


@pytest.mark.parametrize(
    "answering", [reply(identification=8), reply(identification=7 << 32)]
)
def test_answer_to_something_else_has_no_request(answering):
    packets = [datagram(NODE, AGENT, request()), datagram(AGENT, NODE, answering)]
    assert sniffed(packets, MIPSession(SHARED))[1][MIPRRP].request is None


def test_relayed_answers_find_the_request_of_their_own_link():
    packets = [
        datagram(NODE, RELAY, request(), sport=5000),
        datagram(RELAY, AGENT, request()),
        datagram(AGENT, RELAY, reply()),
        datagram(RELAY, NODE, reply(), dport=5000),
    ]
    seen = sniffed(packets, MIPSession(SHARED))
    assert seen[2][MIPRRP].request is seen[1]
    assert seen[3][MIPRRP].request is seen[0]


def test_answer_from_another_address_finds_the_request_nevertheless():
    packets = [datagram(NODE, AGENT, request()), datagram("10.1.9.9", NODE, reply())]
    seen = sniffed(packets, MIPSession(SHARED))
    assert seen[1][MIPRRP].request is seen[0]


def test_old_requests_are_forgotten():
    session = MIPSession(SHARED, remembered=10)
    for number in range(100):
        session.process(datagram(NODE, AGENT, request(number)))
        session.process(datagram(NODE, AGENT, request(number)))
    assert len(session._asked) == 10
    for _again in range(20):
        session.process(datagram(NODE, AGENT, request(99)))
    assert sum(len(asked) for asked in session._asked.values()) <= 40
    assert session.process(datagram(AGENT, NODE, reply(5)))[MIPRRP].request is None
    assert session.process(datagram(AGENT, NODE, reply(99)))[MIPRRP].request


# What is left alone, and what stays


def test_comments_stay_in_a_file(tmp_path):
    path = str(tmp_path / "annotated.pcapng")
    packets = [
        Ether() / datagram(NODE, AGENT, request()),
        Ether() / datagram(AGENT, NODE, reply()),
    ]
    packets[0].comments = [b"RFC 5944 3.3"]
    packets[0].time, packets[1].time = 1000.0, 1000.25
    session = MIPSession(SHARED)
    seen = [session.process(packet) for packet in packets]
    wrpcapng(path, seen)
    again = rdpcap(path)
    assert [bytes(one) for one in again] == [bytes(one) for one in packets]
    assert again[0].comments == [b"RFC 5944 3.3", b"MHAE 256 valid"]
    answers = b"answers the request of 0.250000 s before"
    assert again[1].comments == [b"MHAE 256 valid", answers]
    twice = sniffed(path, MIPSession(SHARED))
    assert [one.comments for one in twice] == [one.comments for one in again]


def test_fragments_are_put_together_by_the_session_in_front():
    large = IP(src=NODE, dst=AGENT) / UDP() / request()
    pieces = [IP(bytes(one)) for one in fragment(large, fragsize=32)]
    assert len(pieces) > 1
    seen = sniffed(pieces, MIPSession(SHARED, supersession=IPSession))
    assert verdicts(next(one for one in seen if MIPRRQ in one)) == ["valid"]


# Key rings


@pytest.mark.parametrize(
    "keys",
    [
        "1234567812345678",
        b"1234",
        7,
        ["1234"],
        {None: SHARED},
        {"10.1.1.10": {"10.1.1.10": SHARED}},
        {300: SHARED},
        {256: 16},
    ],
)
def test_what_is_no_key_ring_is_refused(keys):
    with pytest.raises(ValueError) as refused:
        make_ring(keys)
    assert "1234" not in str(refused.value)


def test_several_associations_may_share_an_spi():
    other = SecurityAssociation(256, "8765432187654321")
    (seen,) = sniffed([datagram(NODE, AGENT, request())], MIPSession([other, SHARED]))
    assert verdicts(seen) == ["valid"]


def test_ring_is_taken_as_it_is():
    ring = KeyRing()
    assert make_ring(ring) is ring
