# SPDX-License-Identifier: GPL-2.0-only
"""The ledger of changes to the kernel, by whom they are wanted.

It makes changes for their owners (a home address, say), compares what an owner wants
with what it has, and so calls the kernel for the difference only. Everything it made it
undoes.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.changes import MARKS, Change, Message, Neighbour, Route
from mip_agents.dataplane.rtnetlink import Requests
from mip_agents.dataplane.statefile import StateFile
from mip_agents.protocol.tunnel import Role

_GONE: Final = frozenset((errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL))


class Ledger:
    """The changes that are in force, by owner, and the way to the kernel."""

    def __init__(
        self, ipr: AsyncIPRoute, requests: Requests, role: Role, state: StateFile
    ) -> None:
        self.ipr = ipr
        self._requests = requests
        self.mark = MARKS[role]
        self.state = state
        self.calls = 0
        """Netlink requests made; a refresh makes none."""
        self.failures: list[str] = []
        """What could not be undone."""
        self._made: dict[str, list[Change]] = {}

    async def call(self, subject: str, verb: str, **arguments: Any) -> None:
        """Make one netlink request. :raises NetlinkError: as the kernel answers."""
        self.calls += 1
        await getattr(self.ipr, subject)(verb, **arguments)

    def request(self, message: bytes) -> None:
        """Make one request that was packed by hand. :raises OSError: likewise."""
        self.calls += 1
        self._requests.call(message)

    def has(self, owner: str, change: Change) -> bool:
        """Tell whether `owner` has made `change`."""
        return change in self._made.get(owner, ())

    async def settle(self, owner: str, wanted: Sequence[Change]) -> None:
        """Make what `owner` wants and lacks, then undo what it does not want any more.

        The order of `wanted` is the order of making.
        :raises DataplaneError: after everything was put back.
        """
        current = self._made.setdefault(owner, [])
        before = list(current)
        taken = {change.slot: change for change in before}
        made: list[Change] = []
        for change in wanted:
            if change in before:
                continue
            try:
                await change.make(self)
            except (NetlinkError, OSError) as error:
                await self._put_back(made, taken)
                self._keep(owner, before)
                raise _refusal(owner, change, error) from error
            finally:
                # Also when cancelled: what may have been made is to be undone later.
                made.append(change)
                current.append(change)
        slots = {change.slot for change in wanted}
        for change in reversed(before):
            if change.slot not in slots:
                await self._quietly(change.undo(self))
        self._keep(owner, list(wanted))

    async def _put_back(
        self, made: Sequence[Change], taken: Mapping[object, Change]
    ) -> None:
        """Undo what was made, with what was in the slots before in its place."""
        for done in reversed(made):
            old = taken.get(done.slot)
            await self._quietly(done.undo(self) if old is None else old.make(self))

    async def settle_many(
        self, wanted: Mapping[str, Sequence[Change]]
    ) -> dict[str, DataplaneError]:
        """Do what `settle` does for many owners, with few system calls.

        Return who cannot have what was wanted, and why.
        """
        refusals: dict[str, DataplaneError] = {}
        lacking: dict[str, list[Message]] = {}
        for owner, changes in wanted.items():
            messages = self._lacking_messages(owner, changes)
            if messages is not None:
                lacking[owner] = messages
                continue
            try:
                await self.settle(owner, changes)
            except DataplaneError as refusal:
                refusals[owner] = refusal
        made: dict[str, list[Message]] = {owner: [] for owner in lacking}
        given_up = lacking  # all of it may have been made, unless we get through
        try:
            refused = self._make_many(lacking, made)
            given_up = {owner: made[owner] for owner in refused}
        finally:
            for owner, messages in given_up.items():
                before = self._made.get(owner, ())
                taken = {change.slot: change for change in before}
                await self._put_back(messages, taken)
        for owner in lacking.keys() - refused.keys():
            self._keep(owner, list(wanted[owner]))
        return refusals | refused

    def _lacking_messages(
        self, owner: str, wanted: Sequence[Change]
    ) -> list[Message] | None:
        """Return what an owner lacks, if nothing but messages is to be made."""
        before = self._made.get(owner, ())
        lacking = [change for change in wanted if change not in before]
        messages = [change for change in lacking if isinstance(change, Message)]
        slots = {change.slot for change in wanted}
        if len(messages) < len(lacking) or any(old.slot not in slots for old in before):
            return None
        return messages

    def _make_many(
        self, wanted: Mapping[str, list[Message]], made: Mapping[str, list[Message]]
    ) -> dict[str, DataplaneError]:
        """Make the first of each owner, then the second, and note what is made."""
        refused: dict[str, DataplaneError] = {}
        for number in range(max(map(len, wanted.values()), default=0)):
            step = [
                (owner, messages[number])
                for owner, messages in wanted.items()
                if number < len(messages) and owner not in refused
            ]
            step.sort(key=lambda one: one[1].place)
            codes = self._request_many(message.making(self.mark) for _, message in step)
            for (owner, message), code in zip(step, codes, strict=True):
                if code:
                    refused[owner] = _refusal(owner, message, OSError(code, ""))
                else:
                    made[owner].append(message)
        return refused

    def _request_many(self, messages: Iterable[bytes]) -> list[int]:
        """Make requests that were packed by hand; return the error code of each."""
        codes = self._requests.carry_out(messages)
        self.calls += len(codes)
        return codes

    async def renew(self, owner: str) -> None:
        """Make anew what the kernel forgets when a link goes down, if it is up."""
        calls = self.calls
        for change in self._made.get(owner, ()):
            if isinstance(change, Route | Neighbour):
                with contextlib.suppress(OSError):  # it is still down
                    await change.make(self)
        self.calls = calls

    def _keep(self, owner: str, changes: list[Change]) -> None:
        """Note what an owner has made."""
        if changes:
            self._made[owner] = changes
        else:
            self._made.pop(owner, None)

    async def undo_all(self) -> None:
        """Undo everything in reverse order, going on where something fails."""
        for owner in reversed(list(self._made)):
            await self.settle(owner, ())

    async def _quietly(self, awaitable: Any) -> None:
        """Wait for an undo; what is gone needs none, and a failure stops none."""
        try:
            await awaitable
        except NetlinkError as error:
            if error.code not in _GONE:
                self.failures.append(os.strerror(error.code))
        except OSError as error:
            if error.errno not in _GONE:
                self.failures.append(str(error))

    def owners(self) -> Iterable[str]:
        """Return who has changes in force."""
        return self._made.keys()


def _refusal(
    owner: str, change: Change, error: NetlinkError | OSError
) -> DataplaneError:
    return DataplaneError(f"{owner}: {_sentence(change, error)}; nothing was changed")


def _sentence(change: Change, error: NetlinkError | OSError) -> str:
    """Say what the kernel refused and what to do."""
    code = error.code if isinstance(error, NetlinkError) else error.errno
    advice = "run with CAP_NET_ADMIN" if code in (errno.EPERM, errno.EACCES) else ""
    if code == errno.EROFS:
        advice = "/proc/sys is read-only here, so set the value beforehand"
    return f"{change}: {os.strerror(code or 0)}" + (f"; {advice}" if advice else "")
