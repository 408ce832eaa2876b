# SPDX-License-Identifier: GPL-2.0-only
"""UDP port 434: drained in a reader callback, with addresses from ancillary data.

asyncio's own datagram transport reads one datagram per loop turn and costs five times
as much per request; a callback that reads up to 64 per wake-up gives one turn of the
driver, and so one commit, for all of them. Reading takes one system call then, and so
do the answers, where the system has such calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from mip_agents.dataplane import mmsg
from mip_agents.dataplane.api import DropCounters
from mip_agents.dataplane.rawsockets import refuse_tunnel_data
from mip_agents.protocol.effects import Noted, Send, Severity
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.events import Event, Received, Undelivered
from mip_agents.runtime.ports import Notes
from mip_agents.runtime.receivequeue import ReceiveQueue
from scapy_mip.const import MIP_PORT

DRAIN = 64
"""Datagrams per wake-up."""
_BACKLOG = 1024
"""Datagrams that wait for room in the socket buffer; more are dropped and counted."""
_LARGEST = 2048
"""Bytes of a datagram that is read: a control message is far smaller, and work on what
cannot be one would be a gift to whoever floods the port."""
_RECEIVE_BUFFER = 1 << 20
_ARRIVALS = 256
"""Destinations and interfaces that are remembered."""
_TRUNCATED: int = socket.MSG_TRUNC

# struct in_pktinfo of ip(7): interface index, local address, header destination.
_PKTINFO = struct.Struct("=i4s4s")
_PKTINFO_SPACE = socket.CMSG_SPACE(_PKTINFO.size)
_INT = struct.Struct("=i")
# struct sock_extended_err of linux/errqueue.h: errno, origin, type and code.
_EXTENDED_ERROR = struct.Struct("=IBBB")
_ERROR_SPACE = 512
_MSG_ERRQUEUE = 0x2000
_IP_RECVERR = 11
_ORIGIN_ICMP = 2
_DESTINATION_UNREACHABLE = 3
_NETWORK, _HOST = 0, 1
_NO_ROUTE = {errno.ENETUNREACH: _NETWORK, errno.EHOSTUNREACH: _HOST}
"""What the kernel says of a destination by itself, and the ICMP code of the same."""
# Not in the socket module before Python 3.14; the number is Linux' ABI.
_IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
_ANY = bytes(4)
_CONTROL_SPACE = _PKTINFO_SPACE + socket.CMSG_SPACE(_INT.size)


@functools.lru_cache(256)  # nearly all are alike
def _control(
    index: int, source: str, ttl: int | None
) -> tuple[tuple[int, int, bytes], ...]:
    """Return the ancillary data of a datagram that leaves."""
    local = socket.inet_aton(source) if source else _ANY
    control = (socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(index, local, _ANY))
    if ttl is None:
        return (control,)
    return control, (socket.IPPROTO_IP, socket.IP_TTL, _INT.pack(ttl))


@functools.lru_cache(256)
def _packed_control(index: int, source: str, ttl: int | None) -> bytes:
    return mmsg.pack_control(_control(index, source, ttl))


_packed_name = functools.lru_cache(4096)(mmsg.pack_name)


class UdpServer:
    """The UDP socket of an agent, and the port `Net` of its driver.

    :param address: where to listen; the wildcard also hears broadcasts, which dynamic
        home agent discovery needs.
    :param errors: hear of datagrams that do not arrive (`Undelivered`).
    """

    def __init__(
        self,
        notes: Notes,
        *,
        address: str = "0.0.0.0",
        port: int = MIP_PORT,
        errors: bool = False,
    ) -> None:
        self._notes = notes
        self._address = address
        self._port = port
        self._errors = errors
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliver: Callable[[Iterable[Event]], None] | None = None
        self._arrivals: dict[bytes, tuple[str, str]] = {}
        """Destination and interface by the kernel's note, nearly always one of few."""
        self._backlog: deque[Send] = deque()
        self._reader: mmsg.DatagramReader | None = None
        self._writer: mmsg.DatagramWriter | None = None
        if mmsg.AVAILABLE:
            told = socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.size
            self._reader = mmsg.DatagramReader(DRAIN, _LARGEST, told)
            self._writer = mmsg.DatagramWriter(DRAIN, DRAIN * _LARGEST, _CONTROL_SPACE)
        self.drops = DropCounters()
        """Datagrams that were lost on our side, by reason."""
        self._incoming = ReceiveQueue(notes, self.drops)
        self._answers: list[Send] | None = None
        """What a batch is answered with, while it is handled."""

    def open(self) -> None:
        """Bind the port. Datagrams wait in the socket until `start`.

        :raises MipError: in one line that says what to do.
        """
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, self._errors)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            refuse_tunnel_data(sock)
            sock.bind((self._address, self._port))
        except OSError as error:
            sock.close()
            raise MipError(self._explain(error)) from None
        self._socket = sock
        self._port = sock.getsockname()[1]

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._port

    def _explain(self, error: OSError) -> str:
        where = f"UDP port {self._port}"
        if self._address != "0.0.0.0":
            where += f" of {self._address}"
        if error.errno == errno.EADDRINUSE:
            return (
                f"{where} is in use: stop the other Mobile IP agent first "
                f"(ss -ulpn 'sport = :{self._port}' shows it)"
            )
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"{where} needs the capability CAP_NET_BIND_SERVICE: run as root"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"{where}: no interface has this address (ip -4 address shows them)"
        return f"{where}: {os.strerror(error.errno or 0)}"

    def start(self, deliver: Callable[[Iterable[Event]], None]) -> None:
        """Begin to read; `deliver` gets the datagrams of each wake-up.

        Those that arrive while it works on the first belong to them: `DRAIN` at most.
        """
        assert self._socket is not None, "open() comes first"
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._readable)

    def stop(self) -> None:
        """Read no more; sending still works."""
        if self._loop is not None and self._socket is not None:
            self._loop.remove_reader(self._socket)
        self._deliver = None

    def close(self) -> None:
        """Give the port back. Safe to call twice."""
        self.stop()
        if self._socket is not None:
            if self._loop is not None:
                self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None

    def forget_interfaces(self) -> None:
        """Look interface names up again: one was renamed or an index was reused."""
        self._arrivals.clear()

    def _readable(self) -> None:
        if self._socket is not None:
            self._incoming.look(self._socket)
        if self._deliver is None:
            return
        answers: list[Send] = []
        self._answers = answers
        try:
            self._deliver(self._arriving())
        finally:
            self._answers = None
            self._send_all(answers)

    def _arriving(self) -> Iterator[Event]:
        """Yield what has arrived, and then what has arrived meanwhile."""
        left = DRAIN
        while left and (batch := self._drain(left)):
            yield from batch
            left -= len(batch)
        if self._errors:
            yield from self._undelivered()

    def _drain(self, most: int) -> list[Event]:
        sock = self._socket
        if sock is None:
            return []
        if self._reader is None:
            return self._drain_singly(sock, most)
        try:
            datagrams = self._reader.read(sock.fileno(), most)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno != errno.ENOSYS:
                # An ICMP error of an earlier datagram, at most: the next read goes on.
                if not self._errors:  # else its queue tells
                    self._trouble("receive_failed", error)
                return []
            # The library has the call, this kernel, or a filter in it, has not.
            self._reader = self._writer = None
            return self._drain_singly(sock, most)
        port = self._port
        batch: list[Event] = []
        arrivals = self._arrivals
        for data, source, source_port, flags, control in datagrams:
            if flags & _TRUNCATED:
                self._refuse(source)
                continue
            destination, interface = arrivals.get(control) or self._arrival(control)
            batch.append(
                Received(data, source, source_port, destination, port, interface)
            )
        return batch

    def _drain_singly(self, sock: socket.socket, most: int) -> list[Event]:
        port = self._port
        batch: list[Event] = []
        for _ in range(most):
            try:
                data, ancillary, flags, (source, source_port) = sock.recvmsg(
                    _LARGEST, _PKTINFO_SPACE
                )
            except BlockingIOError:
                break
            except OSError as error:
                # An ICMP error of an earlier datagram, at most: the next read goes on.
                if not self._errors:
                    self._trouble("receive_failed", error)
                continue
            if flags & _TRUNCATED:
                self._refuse(source)
                continue
            pktinfo = _pktinfo(ancillary)
            destination, interface = self._arrivals.get(pktinfo) or self._arrival(
                pktinfo
            )
            batch.append(
                Received(
                    data=data,
                    source=source,
                    source_port=source_port,
                    destination=destination,
                    destination_port=port,
                    interface=interface,
                )
            )
        return batch

    def _refuse(self, source: str) -> None:
        fields = {"reason": f"longer than {_LARGEST} bytes", "source": source}
        self._notes.note(
            Noted(
                event="message_dropped",
                severity=Severity.WARNING,
                rule="COM-03",
                fields=fields,
            )
        )

    def _arrival(self, pktinfo: bytes) -> tuple[str, str | None]:
        """Return the destination and the interface, and remember what was found."""
        if not pktinfo:
            return self._address, None
        index, _, destination = _PKTINFO.unpack(pktinfo)
        dotted = socket.inet_ntoa(destination)
        try:
            arrival = dotted, socket.if_indextoname(index)
        except OSError:
            return dotted, None
        if len(self._arrivals) >= _ARRIVALS:
            self._arrivals.clear()
        self._arrivals[pktinfo] = arrival
        return arrival

    def send(self, send: Send) -> None:
        """Send from our port; waits in a bounded queue while the buffer is full.

        What a batch of datagrams is answered with leaves when all are handled.
        """
        if self._answers is not None:
            self._answers.append(send)
        elif self._backlog or not self._transmit(send):
            self._queue(send)

    def _transmit(self, send: Send) -> bool:
        """Try to send; False asks to try again later."""
        sock = self._socket
        if sock is None:
            return True
        try:
            self._put(sock, send)
        except BlockingIOError:
            return False
        except OSError as error:
            self._fail(send, error)
        return True

    def _put(self, sock: socket.socket, send: Send) -> None:
        """Hand a datagram to the kernel. :raises OSError: it does not take it."""
        index = socket.if_nametoindex(send.interface) if send.interface else 0
        control = _control(index, send.source, send.ttl)
        destination = (send.destination, send.destination_port)
        try:
            sock.sendmsg([send.data], control, 0, destination)
        except BlockingIOError:
            raise
        except OSError:
            # That may have been about an earlier datagram: then this one is not sent.
            earlier = self._undelivered()
            if not earlier:
                raise
            self._deliver_soon(earlier)
            sock.sendmsg([send.data], control, 0, destination)

    def _fail(self, send: Send, error: OSError) -> None:
        code = _NO_ROUTE.get(error.errno or 0)
        if self._errors and code is not None:
            self._deliver_soon(
                [
                    Undelivered(
                        data=send.data, destination=send.destination, icmp_code=code
                    )
                ]
            )
        else:
            self._not_sent("send_failed", error, send.destination)

    def _undelivered(self) -> list[Event]:
        """Return what the ICMP errors that wait are about."""
        sock = self._socket
        found: list[Event] = []
        if sock is None or not self._errors:
            return found
        with contextlib.suppress(OSError):  # no more of them
            for _ in range(DRAIN):
                data, ancillary, _, (destination, _) = sock.recvmsg(
                    _LARGEST, _ERROR_SPACE, _MSG_ERRQUEUE
                )
                code = _icmp_code(ancillary)
                if code is not None:
                    found.append(
                        Undelivered(data=data, destination=destination, icmp_code=code)
                    )
        return found

    def _deliver_soon(self, events: list[Event]) -> None:
        """Deliver what came up while sending, in a turn of its own."""
        if self._loop is not None and self._deliver is not None:
            self._loop.call_soon(self._deliver, events)

    def _send_all(self, sends: Sequence[Send]) -> None:
        """Send in this order, as `send` does."""
        sock, writer = self._socket, self._writer
        if sock is None or writer is None or self._backlog:
            for send in sends:
                self.send(send)
            return
        packed = []
        for send in sends:
            try:
                index = socket.if_nametoindex(send.interface) if send.interface else 0
                name = _packed_name(send.destination, send.destination_port)
                control = _packed_control(index, send.source, send.ttl)
            except OSError as error:
                self._not_sent("send_failed", error, send.destination)
                continue
            packed.append((send, (send.data, name, control)))
        while packed:
            batch = [datagram for _send, datagram in packed[: writer.count]]
            try:
                sent = writer.write(sock.fileno(), batch)
            except BlockingIOError:
                for send, _datagram in packed:
                    self._queue(send)
                return
            except OSError as error:
                if error.errno == errno.ENOSYS:
                    self._reader = self._writer = None
                    for send, _datagram in packed:
                        self.send(send)
                    return
                # It may have been about an earlier datagram: try the first one alone.
                self.send(packed[0][0])
                sent = 1
            del packed[:sent]

    def _queue(self, send: Send) -> None:
        if len(self._backlog) >= _BACKLOG:
            full = OSError(errno.ENOBUFS, "")
            self._not_sent("send_dropped", full, send.destination)
            return
        self._backlog.append(send)
        if self._loop is not None and self._socket is not None:
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        while self._backlog:
            if not self._transmit(self._backlog[0]):
                return
            self._backlog.popleft()
        if self._loop is not None and self._socket is not None:
            self._loop.remove_writer(self._socket)

    def _not_sent(self, event: str, error: OSError, destination: str) -> None:
        name = errno.errorcode.get(error.errno or 0, "error").lower()
        self.drops.count(f"control_send_{name}")
        self._trouble(event, error, destination)

    def _trouble(
        self, event: str, error: OSError, destination: str | None = None
    ) -> None:
        fields: dict[str, str | int | None] = {
            "reason": os.strerror(error.errno) if error.errno else str(error)
        }
        if destination is not None:
            fields["destination"] = destination
        self._notes.note(Noted(event=event, severity=Severity.WARNING, fields=fields))


def _icmp_code(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Return what an entry of the error queue says; None if it is not from ICMP."""
    for level, kind, content in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_RECVERR):
            _, origin, icmp_type, code = _EXTENDED_ERROR.unpack_from(content)
            if origin == _ORIGIN_ICMP:
                return code if icmp_type == _DESTINATION_UNREACHABLE else _HOST
    return None


def _pktinfo(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """Return the content of that control message; empty where there is none."""
    for level, kind, content in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            return content
    return b""
