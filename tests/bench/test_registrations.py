# SPDX-License-Identifier: GPL-2.0-only
"""The registrations' benchmark runs, and each server does the work. No figures."""

import hmac
import json
import socket
import time

import pytest

from mip_agents.bench import registrars, registrations
from mip_agents.bench.registrars import REPLY, REQUEST
from mip_agents.lab.processes import why_no_sandbox

OWN, HOME, KEY = "10.1.255.1", "10.1.0.1", b"1234567812345678"


def answers():
    return {
        "bare": registrars._bare_answer(
            socket.inet_aton(OWN), {socket.inet_aton(HOME): KEY}
        ),
        "textbook": registrars._textbook_answer(OWN, {HOME: KEY}),
    }


def one_request():
    (request,) = registrations._requests({HOME: KEY}, OWN, 1)
    return request


@pytest.mark.parametrize("name", ["bare", "textbook"])
def test_a_rival_grants_what_is_signed_and_new_and_nothing_else(name):
    answer, request = answers()[name], one_request()
    forged = request[:-1] + bytes([request[-1] ^ 1])
    assert answer(forged) is None
    reply = answer(request)
    assert reply[:4] == b"\x03\0\x02\x58"
    assert (reply[4:8], reply[8:12]) == (request[4:8], request[8:12])
    assert reply[12:20] == request[16:24]
    assert reply[REPLY.size :] == hmac.digest(KEY, reply[: REPLY.size], "md5")
    assert answer(request) is None, "a replay"


def test_rivals_give_the_same_bytes():
    request = one_request()
    bare, textbook = (answer(request) for answer in answers().values())
    assert bare == textbook


def test_requests_are_signed_as_of_now():
    keys = {f"10.1.0.{n}": bytes([n]) * 16 for n in range(1, 9)}
    made = list(registrations._requests(keys, OWN, 5))
    assert len(made) == 5
    for request, key in zip(made, keys.values(), strict=False):
        covered = request[: REQUEST.size]
        assert request[REQUEST.size :] == hmac.digest(key, covered, "md5")
        sent = int.from_bytes(request[16:20], "big") - 2208988800
        assert abs(sent - time.time()) < 60


@pytest.mark.netns
def test_all_servers_are_measured_side_by_side(capsys):
    if (reason := why_no_sandbox()) is not None:
        pytest.skip(f"network namespaces: {reason}")
    assert registrations.main(json=True, rounds=1, nodes=64) == 0
    found = json.loads(capsys.readouterr().out)
    assert [case["name"] for case in found["cases"]] == [
        "struct",
        "textbook",
        "journal",
    ]
    for case in found["cases"]:
        assert case["ours"] > 0
        assert case["theirs"] > 0
        assert case["met"] == (case["ratio"] >= case["goal"])


def test_the_table_fits_80_columns():
    result = registrations.Result(
        name="textbook",
        what="CPU us per registration",
        rival="textbook Scapy layer",
        ours=12345.6,
        theirs=123456.7,
        ratio=10.0,
        goal=0.38,
        met=True,
    )
    lines = [
        *registrations._heading(15, 4096).splitlines(),
        registrations._line(result),
    ]
    assert max(map(len, lines)) <= 80
