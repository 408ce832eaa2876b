# SPDX-License-Identifier: GPL-2.0-only
"""The UDP server on real sockets of the loopback interface."""

import asyncio
import contextlib
import ctypes
import errno
import itertools
import socket
import sys

import pytest

from mip_agents.dataplane import mmsg
from mip_agents.protocol.errors import MipError
from mip_agents.runtime import udp
from mip_agents.runtime.udp import DRAIN, UdpServer
from support.netns import isolated, sh
from support.shell import ListNotes, send

IP_RECVTTL = 12  # of ip(7); not in the socket module


class Batches(asyncio.Queue):
    """What each wake-up brought, as lists."""

    def take(self, events):
        """Use up what arrives, as an engine does; where nothing did, go on."""
        if batch := list(events):
            self.put_nowait(batch)


def run(test, **options):
    """Run `test(server, batches, notes)` with an open server on a free port."""

    async def body():
        notes = ListNotes()
        server = UdpServer(notes, **({"address": "127.0.0.1", "port": 0} | options))
        server.open()
        batches = Batches()
        try:
            async with asyncio.timeout(10):
                await test(server, batches, notes)
        finally:
            server.close()

    asyncio.run(body())


@pytest.fixture(params=["many", "single"], autouse=True)
def calls(request, monkeypatch):
    """Take the system calls for many datagrams, and those for one."""
    if request.param == "single":
        monkeypatch.setattr(mmsg, "AVAILABLE", False)
    return request.param


@pytest.fixture
def peer():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


def test_tells_where_a_datagram_came_from_and_went_to(peer):
    async def test(server, batches, notes):
        server.start(batches.take)
        peer.sendto(b"hello", ("127.0.0.9", server.port))
        (got,) = await batches.get()
        assert got.data == b"hello"
        assert (got.source, got.source_port) == peer.getsockname()
        assert (got.destination, got.destination_port) == ("127.0.0.9", server.port)
        assert got.interface == "lo"

    run(test, address="0.0.0.0")


def test_tunnel_data_is_left_to_the_data_plane(peer):
    """RFC 3519 section 3.3: told by the first octet, whatever the length."""

    async def test(server, batches, notes):
        server.start(batches.take)
        for data in (b"\4\4\0\0inside", b"\4", b"", b"\1", b"\4" * 3000, b"\3end"):
            peer.sendto(data, ("127.0.0.1", server.port))
        got = []
        while b"\3end" not in got:
            got += [received.data for received in await batches.get()]
        assert got == [b"", b"\1", b"\3end"]
        assert not notes.noted

    run(test)


def test_hands_over_what_waits_in_batches_of_at_most_64(peer):
    async def test(server, batches, notes):
        for number in range(DRAIN + 10):
            peer.sendto(b"%d" % number, ("127.0.0.1", server.port))
        server.start(batches.take)
        sizes = [len(await batches.get()), len(await batches.get())]
        assert sizes == [DRAIN, 10]

    run(test)


def test_what_arrives_while_others_are_handled_belongs_to_their_batch(peer):
    """One commit is for all of them, up to the size of a batch."""

    async def test(server, batches, notes):
        def take(events):
            batch = []
            for event in events:
                batch.append(event.data)
                peer.sendto(b"more", ("127.0.0.1", server.port))
            if batch:
                batches.put_nowait(batch)

        peer.sendto(b"first", ("127.0.0.1", server.port))
        server.start(take)
        assert await batches.get() == [b"first"] + [b"more"] * (DRAIN - 1)
        assert await batches.get() == [b"more"] * DRAIN

    run(test)


def test_an_empty_datagram_and_the_biggest_arrive_whole(peer):
    async def test(server, batches, notes):
        server.start(batches.take)
        for data in (b"", bytes(2048)):
            peer.sendto(data, ("127.0.0.1", server.port))
        received = []
        while len(received) < 2:
            received += await batches.get()
        assert [got.data for got in received] == [b"", bytes(2048)]
        assert not notes.noted

    run(test)


def test_what_is_too_long_for_a_control_message_is_counted_and_never_handed_on(peer):
    async def test(server, batches, notes):
        for data in (bytes(2049), b"good", bytes(65507)):
            peer.sendto(data, ("127.0.0.1", server.port))
        server.start(batches.take)
        assert [got.data for got in await batches.get()] == [b"good"]
        assert batches.empty()
        assert notes.names == ["message_dropped"] * 2
        assert notes.noted[0].fields == {
            "reason": "longer than 2048 bytes",
            "source": "127.0.0.1",
        }

    run(test)


def test_sends_from_the_given_address_and_the_bound_port_with_the_given_ttl(peer):
    async def test(server, batches, notes):
        peer.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        address, port = peer.getsockname()
        server.send(
            send(b"x", address, destination_port=port, source="127.0.0.7", ttl=255)
        )
        data, ancillary, _, source = peer.recvmsg(100, 100)
        assert data == b"x"
        assert source == ("127.0.0.7", server.port)
        assert int.from_bytes(ancillary[0][2], "little") == 255
        server.send(send(b"y", address, destination_port=port, interface="lo"))
        assert peer.recvmsg(100, 100)[0] == b"y"
        assert not notes.noted

    run(test, address="0.0.0.0")


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (send(b"x", source="203.0.113.1"), ""),
        (send(b"x", interface="nosuch0"), "no interface"),
        (send(b"x" * 70000), "Message too long"),
        (send(b"x", source="nonsense"), ""),
        # A forged source may be a broadcast address: no reply floods a whole network.
        (send(b"x", destination="127.255.255.255"), "Permission denied"),
    ],
)
def test_trouble_with_sending_is_noted_and_not_raised(order, reason):
    async def test(server, batches, notes):
        server.send(order)
        assert notes.names == ["send_failed"]
        fields = notes.noted[0].fields
        assert fields["destination"] == order.destination
        assert reason in fields["reason"]

    run(test, address="0.0.0.0")


def test_an_icmp_error_does_not_disturb_reception(peer):
    async def test(server, batches, notes):
        server.start(batches.take)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            closed = gone.getsockname()[1]
        for _ in range(3):
            server.send(send(b"x", destination_port=closed))
        peer.sendto(b"still here", ("127.0.0.1", server.port))
        assert (await batches.get())[0].data == b"still here"

    run(test)


def test_a_receive_error_is_noted_and_reading_goes_on(peer, monkeypatch):
    monkeypatch.setattr(mmsg, "AVAILABLE", False)

    async def test(server, batches, notes):
        peer.sendto(b"hello", ("127.0.0.1", server.port))
        real = server._socket

        class Refusing:
            failures = 2

            def recvmsg(self, *arguments):
                if self.failures:
                    self.failures -= 1
                    raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
                return real.recvmsg(*arguments)

        server._socket = Refusing()
        assert [got.data for got in server._drain(DRAIN)] == [b"hello"]
        server._socket = real
        assert notes.names == ["receive_failed"] * 2

    run(test)


@pytest.mark.parametrize("calls", ["many"], indirect=True)
def test_a_receive_error_of_many_is_noted_and_reading_goes_on(peer, monkeypatch, calls):
    async def test(server, batches, notes):
        real, failures = mmsg._recvmmsg, [errno.ECONNREFUSED] * 2

        def refused(*arguments):
            if not failures:
                return real(*arguments)
            ctypes.set_errno(failures.pop())
            return -1

        monkeypatch.setattr(mmsg, "_recvmmsg", refused)
        server.start(batches.take)
        peer.sendto(b"hello", ("127.0.0.1", server.port))
        assert [got.data for got in await batches.get()] == [b"hello"]
        assert notes.names == ["receive_failed"] * 2

    run(test)


@pytest.mark.parametrize("calls", ["many"], indirect=True)
def test_a_kernel_without_the_calls_is_asked_once(peer, monkeypatch, calls):
    async def test(server, batches, notes):
        asked = []

        def missing(*arguments):
            asked.append(arguments)
            ctypes.set_errno(errno.ENOSYS)
            return -1

        monkeypatch.setattr(mmsg, "_recvmmsg", missing)
        server.start(batches.take)
        for data in (b"one", b"two"):
            peer.sendto(data, ("127.0.0.1", server.port))
            assert [got.data for got in await batches.get()] == [data]
        assert len(asked) == 1
        assert not notes.noted

    run(test)


def answering(server, orders, handled):
    """Return a reader that answers the first batch with these orders."""

    def deliver(events):
        for _ in events:
            pass
        for order in orders:
            server.send(order)
        handled.set()

    return deliver


def test_answers_to_a_batch_leave_in_order_each_by_its_own_addressing(peer):
    async def test(server, batches, notes):
        peer.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        port = peer.getsockname()[1]
        orders = [
            send(b"%d" % number, destination_port=port, source=source, ttl=ttl)
            for number, (source, ttl) in enumerate(
                [("127.0.0.7", 255), ("127.0.0.8", None), ("", 7)] * 50
            )
        ]
        wrong = send(b"x", destination_port=port, interface="nosuch0")
        orders[1:1] = [wrong]
        handled = asyncio.Event()
        server.start(answering(server, orders, handled))
        peer.sendto(b"go", ("127.0.0.1", server.port))
        await handled.wait()
        await asyncio.sleep(0)
        got = [peer.recvmsg(100, 100) for _ in range(150)]
        assert [data for data, *_ in got] == [b"%d" % number for number in range(150)]
        ttls = [int.from_bytes(told[0][2], sys.byteorder) for _, told, *_ in got[:3]]
        assert ttls == [255, 64, 7]
        sources = [source for *_, source in got[:3]]
        assert sources == [
            (address, server.port)
            for address in ("127.0.0.7", "127.0.0.8", "127.0.0.1")
        ]
        assert notes.names == ["send_failed"]

    run(test, address="0.0.0.0")


def test_one_answer_that_cannot_be_sent_does_not_keep_the_others(peer):
    async def test(server, batches, notes):
        port = peer.getsockname()[1]
        good = [send(b"%d" % number, destination_port=port) for number in range(3)]
        refused = send(b"x", "255.255.255.255", destination_port=port)
        big = send(bytes(70_000), destination_port=port)
        huge = send(bytes(200_000), destination_port=port)
        handled = asyncio.Event()
        orders = [refused, good[0], big, good[1], huge, good[2]]
        server.start(answering(server, orders, handled))
        peer.sendto(b"go", ("127.0.0.1", server.port))
        await handled.wait()
        await asyncio.sleep(0)
        assert [peer.recv(100) for _ in good] == [b"0", b"1", b"2"]
        assert notes.names == ["send_failed"] * 3

    run(test, address="0.0.0.0")


@pytest.mark.parametrize("calls", ["many"], indirect=True)
def test_answers_wait_while_the_socket_buffer_is_full(peer, monkeypatch, calls):
    async def test(server, batches, notes):
        port = peer.getsockname()[1]
        orders = [send(b"%d" % number, destination_port=port) for number in range(5)]
        real = mmsg._sendmmsg

        def two(descriptor, address, count, flags):
            monkeypatch.setattr(mmsg, "_sendmmsg", full)
            return real(descriptor, address, 2, flags)

        def full(*_):
            ctypes.set_errno(errno.EAGAIN)
            return -1

        monkeypatch.setattr(mmsg, "_sendmmsg", two)
        monkeypatch.setattr(udp, "_BACKLOG", 2)
        handled = asyncio.Event()
        server.start(answering(server, orders, handled))
        peer.sendto(b"go", ("127.0.0.1", server.port))
        await handled.wait()
        received = []
        peer.setblocking(False)
        while len(received) < 4:
            await asyncio.sleep(0)
            with contextlib.suppress(BlockingIOError):
                received.append(peer.recv(100))
        assert received == [b"0", b"1", b"2", b"3"]
        assert notes.names == ["send_dropped"]

    run(test)


@pytest.mark.parametrize("calls", ["many"], indirect=True)
def test_answers_leave_singly_where_the_kernel_has_no_call_for_many(
    peer, monkeypatch, calls
):
    async def test(server, batches, notes):
        def missing(*_):
            ctypes.set_errno(errno.ENOSYS)
            return -1

        monkeypatch.setattr(mmsg, "_sendmmsg", missing)
        port = peer.getsockname()[1]
        orders = [send(b"%d" % number, destination_port=port) for number in range(2)]
        handled = asyncio.Event()
        server.start(answering(server, orders, handled))
        peer.sendto(b"go", ("127.0.0.1", server.port))
        await handled.wait()
        await asyncio.sleep(0)
        assert [peer.recv(100) for _ in orders] == [b"0", b"1"]
        assert not notes.noted

    run(test)


def test_answers_leave_even_if_their_handling_fails(peer):
    async def test(server, batches, notes):
        failed = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda *_: failed.set())

        def deliver(batch):
            server.send(send(b"answer", destination_port=peer.getsockname()[1]))
            raise ZeroDivisionError

        server.start(deliver)
        peer.sendto(b"go", ("127.0.0.1", server.port))
        await failed.wait()
        assert peer.recv(100) == b"answer"

    run(test)


def test_waits_while_the_socket_buffer_is_full_and_keeps_the_order(peer, monkeypatch):
    async def test(server, batches, notes):
        server.start(batches.take)
        real = server._transmit
        blocked = True

        def transmit(order):
            return False if blocked else real(order)

        monkeypatch.setattr(server, "_transmit", transmit)
        monkeypatch.setattr(udp, "_BACKLOG", 3)
        port = peer.getsockname()[1]
        for number in range(5):
            server.send(send(b"%d" % number, destination_port=port))
        assert notes.names == ["send_dropped"] * 2
        blocked = False
        server.send(send(b"late", destination_port=port))  # behind the others
        assert notes.names == ["send_dropped"] * 3
        received = []
        while len(received) < 3:
            await asyncio.sleep(0)
            peer.setblocking(False)
            try:
                received.append(peer.recv(100))
            except BlockingIOError:
                continue
        assert received == [b"0", b"1", b"2"]

    run(test)


def test_a_port_in_use_is_one_line_that_says_what_to_do(peer):
    port = peer.getsockname()[1]
    server = UdpServer(ListNotes(), address="127.0.0.1", port=port)
    with pytest.raises(MipError) as caught:
        server.open()
    text = str(caught.value)
    assert text.startswith(f"UDP port {port} of 127.0.0.1 is in use: stop the other")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "CAP_NET_BIND_SERVICE"),
        (errno.EPERM, "CAP_NET_BIND_SERVICE"),
        (errno.EADDRINUSE, "in use"),
        (errno.EADDRNOTAVAIL, "no interface has this address"),
        (errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_every_refusal_to_bind_is_explained(number, words):
    text = UdpServer(ListNotes())._explain(OSError(number, "raw"))
    assert text.startswith("UDP port 434")
    assert words in text


def test_after_stop_nothing_is_read_but_sending_works(peer):
    async def test(server, batches, notes):
        server.start(batches.take)
        server.stop()
        peer.sendto(b"hello", ("127.0.0.1", server.port))
        server.send(send(b"bye", destination_port=peer.getsockname()[1]))
        assert peer.recv(100) == b"bye"
        assert batches.empty()
        server.close()
        server.close()
        server.send(send(b"never"))  # raises nothing

    run(test)


def test_what_finds_no_room_in_the_receive_queue_is_counted_and_told_once(peer):
    async def test(server, batches, notes):
        server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
        server.start(batches.take)
        sent = received = 0
        for _ in range(2):
            for _ in range(300):
                peer.sendto(b"x", ("127.0.0.1", server.port))
            sent += 300
            while received + server.drops.reasons.get("control_queue_full", 0) < sent:
                received += len(await batches.get())
        assert 0 < received < sent
        assert server.drops.reasons == {"control_queue_full": sent - received}
        assert notes.names == ["receive_overflow"]

    run(test)


def test_tunnel_data_that_is_left_to_the_data_plane_is_no_overflow(peer):
    async def test(server, batches, notes):
        server.start(batches.take)
        for _ in range(300):
            peer.sendto(b"\x04\x04\0\0", ("127.0.0.1", server.port))
        peer.sendto(b"x", ("127.0.0.1", server.port))
        assert len(await batches.get()) == 1
        assert server.drops.reasons == {}

    run(test)


@isolated
def test_a_full_send_buffer_neither_blocks_nor_loses_in_silence(monkeypatch):
    """As long as a neighbour is searched for, what is for it stays in the buffer."""
    sh("ip link add one type veth peer name two; ip link set one up")
    sh("ip address add 10.7.0.1/24 dev one; ip link set two up")
    monkeypatch.setattr(udp, "_BACKLOG", 3)

    async def test(server, batches, notes):
        server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        server.start(batches.take)
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as other:
            other.bind(("two", 0x0800))
            other.setblocking(False)
            order = itertools.count()
            while not notes.noted:
                server.send(send(b"%d" % next(order), destination="10.7.0.2"))
            assert notes.names == ["send_dropped"]
            assert server.drops.reasons == {"control_send_enobufs": 1}
            sh("ip neigh replace 10.7.0.2 lladdr 02:00:00:00:00:02 dev one")
            loop = asyncio.get_running_loop()
            for number in range(next(order) - 1):
                packet = await loop.sock_recv(other, 100)
                assert packet[28:] == b"%d" % number
            server.send(send(b"later", destination="10.7.0.2"))
            assert (await loop.sock_recv(other, 100))[28:] == b"later"

    run(test, address="0.0.0.0")
