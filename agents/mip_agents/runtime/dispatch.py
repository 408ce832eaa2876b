# SPDX-License-Identifier: GPL-2.0-only
"""The mapping from an engine's effects to the ports: plain, synchronous, in one place.

The asyncio driver of the daemons and a virtual-time loop call the same `Dispatcher`, so
that a simulation runs the real mapping.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import (
    AnnounceAddress,
    Effect,
    Finished,
    GiveBackAddress,
    HoldAddress,
    InstallTunnel,
    Journal,
    Noted,
    RemoveTunnel,
    Send,
    SendDiscovery,
)
from mip_agents.protocol.engine import Engine
from mip_agents.protocol.events import (
    CancelRequested,
    ClearRequested,
    DeregisterRequested,
    Event,
    JournalFailed,
    JournalWritten,
    RegisterRequested,
    TunnelFailed,
)
from mip_agents.runtime.ports import (
    Answers,
    Net,
    Notes,
    Order,
    Store,
    StoreError,
    Worker,
)

_REQUESTS = (RegisterRequested, DeregisterRequested, CancelRequested, ClearRequested)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports of one engine."""

    net: Net
    store: Store
    worker: Worker
    notes: Notes
    answers: Answers


class Dispatcher:
    """Hands events to an engine and its effects to the ports, one turn at a time.

    A turn has one `now`. All `Journal` effects of a turn go into one commit, their
    answers are handled, and only then the datagrams leave: a reply is never sent before
    its binding is durable. Whatever goes wrong while an effect is carried out is caught
    here, noted with its traceback and told to the engine; nothing is raised.
    """

    def __init__(self, engine: Engine, ports: Ports) -> None:
        self._engine = engine
        self._ports = ports
        self._crashed = False

    def turn(self, events: Iterable[Event], now: Instant) -> bool:
        """Handle a batch of events with all that follows from them at once.

        :param events: may grow while it is worked on, as datagrams arrive.
        :return: whether the engine got through it without an exception.
        """
        self._crashed = False
        sends: list[Send | SendDiscovery] = []
        journals: list[Journal] = []
        handle, note = self._engine.handle, self._ports.notes.note
        while True:
            following: list[Event] = []
            for event in events:
                try:
                    effects = handle(event, now)
                except Exception as error:  # noqa: BLE001 - the daemon lives
                    effects = self._crash(event, error)
                for effect in effects:
                    try:
                        # `isinstance` takes three times as long to say no.
                        if type(effect) is Noted:
                            note(effect)
                        elif type(effect) is Journal:
                            journals.append(effect)
                        elif isinstance(effect, (Send, SendDiscovery)):
                            sends.append(effect)
                        else:
                            self._carry_out(effect)
                    except Exception as error:  # noqa: BLE001 - the daemon lives
                        following += self._not_done(effect, error)
            if following:
                events = following
            elif journals:
                events = self._commit(journals)
                journals.clear()
            else:
                break
        net = self._ports.net
        for send in sends:
            try:
                if isinstance(send, Send):
                    net.send(send)
                else:
                    net.send_discovery(send)
            except Exception as error:  # noqa: BLE001 - the daemon lives
                self._ports.notes.crash("send", error)
        return not self._crashed

    def _crash(self, event: Event, error: Exception) -> list[Effect]:
        """Take in that the engine failed; return what is to be done in its stead."""
        self._ports.notes.crash(f"engine: {type(event).__name__}", error)
        self._crashed = True
        # The answer to any of them may have been among the lost effects.
        self._ports.answers.abandon(_internal(error))
        if isinstance(event, _REQUESTS):
            return [Finished(token=event.token, error=_internal(error))]
        return []

    def _carry_out(self, effect: Order | Finished) -> None:
        match effect:
            case (
                InstallTunnel()
                | RemoveTunnel()
                | AnnounceAddress()
                | GiveBackAddress()
                | HoldAddress()
            ):
                self._ports.worker.submit(effect)
            case Finished():
                self._ports.answers.finish(effect)
            case _:
                assert_never(effect)

    def _not_done(self, effect: Effect, error: Exception) -> list[Event]:
        """Take in that an effect failed; return what the engine is told of it."""
        self._ports.notes.crash(f"effect: {type(effect).__name__}", error)
        if isinstance(effect, InstallTunnel | RemoveTunnel):
            return [TunnelFailed(effect.token, _internal(error))]
        return []

    def _commit(self, journals: list[Journal]) -> list[Event]:
        """Write the journals in one transaction; return the answers."""
        try:
            self._ports.store.commit(
                [change for journal in journals for change in journal.changes]
            )
        except StoreError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - the daemon lives
            self._ports.notes.crash("journal", error)
            reason = _internal(error)
        else:
            return [JournalWritten(journal.token) for journal in journals]
        return [JournalFailed(journal.token, reason) for journal in journals]


def _internal(error: BaseException) -> str:
    """Say in one line that this is our fault; the log has the traceback."""
    return f"internal error: {type(error).__name__}; see the log"
