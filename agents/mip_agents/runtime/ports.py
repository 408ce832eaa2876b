# SPDX-License-Identifier: GPL-2.0-only
"""The ports through which a driver reaches the world, each a Protocol.

The daemons put sockets, a disk and a kernel behind them; a test or a simulation puts
lists and dictionaries there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import (
    AnnounceAddress,
    Change,
    Finished,
    GiveBackAddress,
    HoldAddress,
    InstallTunnel,
    Noted,
    RemoveTunnel,
    Send,
    SendDiscovery,
)
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.events import Restored

Order = InstallTunnel | RemoveTunnel | AnnounceAddress | GiveBackAddress | HoldAddress
"""What the data plane is asked to do, one after the other."""


class StoreError(MipError):
    """State could not be read or made durable; the text says why."""


class DamagedJournalError(StoreError):
    """What was kept cannot be read, and a person has to decide what is to be done."""

    exit_code = 2


class Net(Protocol):
    """Where datagrams leave."""

    def send(self, send: Send) -> None:
        """Send now or as soon as possible. Trouble is noted, never raised."""

    def send_discovery(self, send: SendDiscovery) -> None:
        """Send a router discovery message now. Trouble is noted, never raised."""


class Store(Protocol):
    """What outlives the process."""

    def load(self) -> Restored:
        """Return everything.

        :raises StoreError: it cannot be read.
        """

    def commit(self, changes: Sequence[Change]) -> None:
        """Make a batch of changes durable in order, all or none.

        :raises StoreError: nothing of the batch is stored then.
        """

    def close(self) -> None:
        """Let go of files and locks. Safe to call twice."""


class Clock(Protocol):
    """Where a driver takes the time from."""

    def now(self) -> Instant:
        """Return this moment."""


class Worker(Protocol):
    """Who carries out orders to the data plane and answers with events."""

    def submit(self, order: Order) -> None:
        """Queue an order behind those before it; returns at once."""


class Notes(Protocol):
    """Who is told what happens: log, counters, watchers."""

    def note(self, noted: Noted) -> None:
        """Take in what an engine or a port noted."""

    def crash(self, where: str, error: BaseException) -> None:
        """Take in an exception that nobody expected, with its traceback."""


class Answers(Protocol):
    """Who waits for the end of requests that carry a token."""

    def finish(self, finished: Finished) -> None:
        """Hand over the answer to the request with its token."""

    def abandon(self, error: str) -> None:
        """Answer every request that waits with an error: its end was lost."""
