# SPDX-License-Identifier: GPL-2.0-only
"""The clock and its offset, with a small NTP server on the loopback interface."""

import asyncio
import struct
import time
from types import SimpleNamespace

import ntplib
import pytest

from mip_agents.protocol.effects import Severity
from mip_agents.runtime import timesync
from mip_agents.runtime.timesync import SystemClock, TimeSync
from scapy_mip.ident import from_unix_ns
from support.shell import ListNotes


def test_the_clock_is_integer_ntp_with_the_offset_added():
    clock = SystemClock(offset_ns=3_000_000_000)
    before = from_unix_ns(time.time_ns() + 3_000_000_000)
    now = clock.now()
    after = from_unix_ns(time.time_ns() + 3_000_000_000)
    assert type(now.ntp) is int
    assert before <= now.ntp <= after
    assert abs(now.mono - time.monotonic()) < 1


def once(ask, servers=("a", "b")):
    clock, notes = SystemClock(), ListNotes()
    ok = asyncio.run(TimeSync(clock, servers, notes, ask).once())
    return ok, clock, notes


def test_the_first_server_that_answers_counts():
    def ask(server):
        if server == "a":
            raise OSError("no answer")
        return 1_500_000

    ok, clock, notes = once(ask)
    assert ok
    assert clock.offset_ns == 1_500_000
    assert notes.names == ["time_server_failed", "time_synchronised"]
    assert notes.noted[0].severity is Severity.WARNING
    assert notes.noted[1].fields == {"server": "b", "offset_us": 1500}


def test_failure_is_a_warning_and_leaves_the_offset():
    def ask(server):
        raise ValueError("its clock is not synchronised")

    ok, clock, notes = once(ask)
    assert not ok
    assert clock.offset_ns == 0
    assert notes.names == ["time_server_failed"] * 2


def test_an_offset_near_the_tolerance_is_a_warning():
    _, _, notes = once(lambda server: -4_000_000_000)
    assert notes.noted[-1].severity is Severity.WARNING


def test_without_servers_there_is_nothing_to_do():
    asyncio.run(TimeSync(SystemClock(), (), ListNotes()).run())


def test_a_slow_server_holds_nobody_up():
    async def body():
        sync = TimeSync(SystemClock(), ("slow",), ListNotes(), lambda _: time.sleep(60))
        task = asyncio.create_task(sync.run())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    begin = time.monotonic()
    asyncio.run(body())
    assert time.monotonic() - begin < 10


class TinyNtpServer(asyncio.DatagramProtocol):
    """Answers with a time that is 2 s ahead. RFC 5905 section 7.3."""

    def __init__(self, leap=0, stratum=2):
        self.head = struct.pack("!BBbb", leap << 6 | 4 << 3 | 4, stratum, 0, -20)

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        now = from_unix_ns(time.time_ns() + 2_000_000_000)
        stamp = now.to_bytes(8, "big")
        body = bytes(12) + stamp + data[40:48] + stamp + stamp
        self.transport.sendto(self.head + body, address)


def ask_tiny_server(monkeypatch, **options):
    real = ntplib.NTPClient.request

    async def body():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: TinyNtpServer(**options), local_addr=("127.0.0.1", 0)
        )
        port = transport.get_extra_info("sockname")[1]

        def request(self, host, version, timeout):
            return real(self, host, version=version, port=port, timeout=timeout)

        monkeypatch.setattr(ntplib.NTPClient, "request", request)
        try:
            return await asyncio.to_thread(timesync.query, "127.0.0.1")
        finally:
            transport.close()

    return asyncio.run(body())


def test_a_real_answer_becomes_integer_nanoseconds(monkeypatch):
    offset = ask_tiny_server(monkeypatch)
    assert type(offset) is int
    assert abs(offset - 2_000_000_000) < 500_000_000


@pytest.mark.parametrize("options", [{"leap": 3}, {"stratum": 0}, {"stratum": 16}])
def test_a_server_whose_clock_is_not_set_is_not_believed(monkeypatch, options):
    with pytest.raises(ValueError, match="not synchronised"):
        ask_tiny_server(monkeypatch, **options)


def test_an_error_of_ntplib_is_an_os_error(monkeypatch):
    def request(*arguments, **options):
        raise ntplib.NTPException("No response received from x.")

    monkeypatch.setattr(ntplib, "NTPClient", lambda: SimpleNamespace(request=request))
    with pytest.raises(OSError, match="No response"):
        timesync.query("x")
