# SPDX-License-Identifier: GPL-2.0-only
"""Reads lines from many descriptors while a story waits for something.

A story is plain code, one step after the other. Whenever it waits, the pump reads what
the flows, captures and agents report, and hands each line to its receiver.
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable

Receiver = Callable[[bytes], object]


class Pump:
    """Descriptors and the receivers of their lines."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._buffers: dict[int, bytes] = {}

    def add(self, descriptor: int, receiver: Receiver) -> None:
        """Read a descriptor, which the pump closes at its end, line by line."""
        os.set_blocking(descriptor, False)
        self._buffers[descriptor] = b""
        self._selector.register(descriptor, selectors.EVENT_READ, receiver)

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in list(self._buffers):
            self._drop(descriptor)
        self._selector.close()

    def _drop(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        del self._buffers[descriptor]
        os.close(descriptor)

    def turn(self, timeout: float) -> None:
        """Wait for input, at most `timeout` seconds, and hand it over."""
        for key, _ in self._selector.select(max(0.0, timeout)):
            self._read(key.fd, key.data)

    def _read(self, descriptor: int, receiver: Receiver) -> None:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return
        except OSError:  # a reset connection is an end, too
            data = b""
        *lines, rest = (self._buffers[descriptor] + data).split(b"\n")
        self._buffers[descriptor] = rest
        for line in lines:
            receiver(line)
        if not data:
            self._drop(descriptor)

    def until(self, condition: Callable[[], object], timeout: float) -> bool:
        """Read until the condition holds, or the time is over: then return False."""
        end = time.monotonic() + timeout
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                return False
            # Conditions may depend on more than what is read, such as a process' end.
            self.turn(min(left, 0.05))
        return True

    def wait(self, seconds: float) -> None:
        """Read for a while."""
        self.until(lambda: False, seconds)

    def drain(self) -> None:
        """Read what is there, without waiting."""
        self.turn(0)

    def finish(self, descriptors: set[int], timeout: float) -> bool:
        """Read until these descriptors have ended; False when time is over."""
        return self.until(lambda: not descriptors & self._buffers.keys(), timeout)
