# SPDX-License-Identifier: GPL-2.0-only
"""Traffic that nodes make and count."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
import time
from collections.abc import Coroutine, Iterable

from mip_agents.dataplane.outer import checksum
from mip_agents.dataplane.port import widen_buffers
from support.netns import Node

_WAIT_S = 10
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT, _IP_PMTUDISC_DO = 10, 0, 2
_ECHO_REQUEST, _ECHO_REPLY = b"\x08\0", b"\0\0"


_serving: asyncio.Task[object] | None = None


async def udp_serve(address: str, port: int, count: int) -> None:
    """Begin to send `count` datagrams back to where they came from."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
    sock.bind((address, port))
    loop = asyncio.get_running_loop()

    async def echo() -> None:
        with sock:
            async with asyncio.timeout(_WAIT_S):
                for _ in range(count):
                    data, peer = await loop.sock_recvfrom(sock, 65535)
                    await loop.sock_sendto(sock, data, peer)

    _start(echo())


async def tcp_serve(address: str, port: int, size: int) -> None:
    """Begin to take `size` octets from one client and send them back."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setblocking(False)
    server.bind((address, port))
    server.listen()
    loop = asyncio.get_running_loop()

    async def echo() -> int:
        async with asyncio.timeout(_WAIT_S):
            with server:
                client, _ = await loop.sock_accept(server)
            with client:
                client.setblocking(False)
                await loop.sock_sendall(client, await _receive(client, size))
                return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)

    _start(echo())


def _start(coroutine: Coroutine[None, None, object]) -> None:
    global _serving
    _serving = asyncio.create_task(coroutine)


async def served() -> object:
    """Wait for the end of what was begun last."""
    assert _serving is not None
    return await _serving


async def udp_ask(address: str, port: int, sizes: list[int]) -> str:
    """Exchange datagrams of `sizes`; return the address they were sent from.

    All are sent without DF, so that the large ones are fragmented.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        sock.connect((address, port))
        for number, size in enumerate(sizes):
            data = bytes([number]) * size
            await loop.sock_sendall(sock, data)
            try:
                async with asyncio.timeout(_WAIT_S):
                    assert await loop.sock_recv(sock, 65535) == data
            except TimeoutError:
                raise AssertionError(f"no answer to {size} octets") from None
        return str(sock.getsockname()[0])


async def tcp_ask(address: str, port: int, size: int) -> bool:
    """Send `size` octets, and tell whether the same came back."""
    data = bytes(range(256)) * (size // 256)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_WAIT_S):
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, (address, port))
            sending = asyncio.create_task(loop.sock_sendall(client, data))
            answer = await _receive(client, len(data))
            await sending
    return answer == data


async def _receive(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    parts, left = [], size
    while left:
        part = await loop.sock_recv(sock, left)
        if not part:
            raise ConnectionError(f"{left} octets are missing")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def send_packets(packets: list[bytes]) -> None:
    """Send complete IPv4 packets, with whatever source they have."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        for packet in packets:
            sock.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))


async def udp_refused(address: str, port: int) -> bool:
    """Send to a port that nobody has; tell whether the answer says so."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((address, port))
        await loop.sock_sendall(sock, b"?")
        try:
            async with asyncio.timeout(_WAIT_S):
                await loop.sock_recv(sock, 1)
        except ConnectionRefusedError:
            return True
    return False


async def ping(
    target: str, sizes: Iterable[int], source: str = "", df: bool = False
) -> None:
    """Ping `target` by octets of data; each must be answered.

    :param df: set DF; without it large ones are fragmented
    By a socket: in User Mode Linux a process takes as long as hundreds of pings.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.setblocking(False)
        way = _IP_PMTUDISC_DO if df else _IP_PMTUDISC_DONT
        sock.setsockopt(socket.SOL_IP, _IP_MTU_DISCOVER, way)
        widen_buffers(sock)
        sock.bind((source, 0))
        sock.connect((target, 0))
        for number, size in enumerate(sizes):
            rest = struct.pack("!HH", os.getpid() & 0xFFFF, number)
            rest += (bytes(range(256)) * 256)[:size]
            check = checksum(_ECHO_REQUEST + bytes(2) + rest)
            await loop.sock_sendall(
                sock, _ECHO_REQUEST + check.to_bytes(2, "big") + rest
            )
            try:
                async with asyncio.timeout(_WAIT_S):
                    while True:
                        answer = (await loop.sock_recv(sock, 65535))[20:]
                        if answer[:2] == _ECHO_REPLY and answer[4:] == rest:
                            break
            except TimeoutError:
                raise AssertionError(f"no answer to a ping of {size} octets") from None


def udp_both_ways(client: Node, server: Node, address: str, sizes: list[int]) -> str:
    """Ask and answer; return the source address that the client used."""
    server.call(udp_serve, address, 7000, len(sizes))
    source: str = client.call(udp_ask, address, 7000, sizes)
    server.call(served)
    return source


def tcp_both_ways(client: Node, server: Node, address: str, size: int) -> int:
    """Send there and back again; return the server's segment size."""
    server.call(tcp_serve, address, 7001, size)
    assert client.call(tcp_ask, address, 7001, size)
    return int(server.call(served))


_stopping = threading.Event()


def _stream(address: str, port: int, interval: float) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        start = time.monotonic()
        number = 0
        while not _stopping.is_set():
            sock.sendto(number.to_bytes(4, "big"), (address, port))
            number += 1
            time.sleep(max(0, start + number * interval - time.monotonic()))
    return number


async def stream(address: str, port: int, interval: float) -> int:
    """Send numbered datagrams at a steady pace until `stop_stream`; return how many.

    A thread sends, so that the node goes on meanwhile.
    """
    _stopping.clear()
    return await asyncio.to_thread(_stream, address, port, interval)


def stop_stream() -> None:
    """End the stream."""
    _stopping.set()


_collected: set[int] = set()


async def collect_start(address: str, port: int) -> None:
    """Begin to note the numbers of a stream's datagrams."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    widen_buffers(sock)  # a node that had to wait for its turn sends a burst
    sock.bind((address, port))
    _collected.clear()

    def take() -> None:
        while True:
            try:
                _collected.add(int.from_bytes(sock.recv(64), "big"))
            except BlockingIOError:
                return

    asyncio.get_running_loop().add_reader(sock.fileno(), take)
    _collect_sockets.append(sock)


_collect_sockets: list[socket.socket] = []


async def collected(count: int) -> int:
    """Wait for `count` numbers, a while at most; return how many there are."""
    for _ in range(200):
        if len(_collected) >= count:
            break
        await asyncio.sleep(0.01)
    return len(_collected)


_captures: dict[int, socket.socket] = {}


def begin_capture(address: str, protocol: int) -> int:
    """Begin to count what arrives for `address` by an IP protocol."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    sock.bind((address, 0))
    sock.settimeout(0.3)
    _captures[sock.fileno()] = sock
    return sock.fileno()


def captured(number: int) -> int:
    """End a capture; return how many packets there were."""
    count = 0
    with _captures.pop(number) as sock:
        while True:
            try:
                sock.recv(65535)
            except TimeoutError:
                return count
            count += 1


_taking: socket.socket | None = None


def udp_take(address: str, port: int) -> None:
    """Begin to listen for one datagram."""
    global _taking
    _taking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    _taking.bind((address, port))
    _taking.settimeout(_WAIT_S)


def udp_taken() -> bytes:
    """Wait for the datagram and return what was in it."""
    assert _taking is not None
    with _taking as sock:
        return sock.recv(65535)
