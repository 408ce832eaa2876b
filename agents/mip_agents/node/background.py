# SPDX-License-Identifier: GPL-2.0-only
"""An agent in a thread of its own, for programs that do not use asyncio."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from mip_agents.protocol.errors import MipError
from mip_agents.runtime.agent import Agent

_T = TypeVar("_T")


class BackgroundAgent:
    """Runs an agent in an event loop in a daemon thread.

    At the end of the interpreter an agent that was not stopped is stopped, so that it
    leaves nothing in the kernel.

    :param make: builds the agent; runs in the thread's event loop.
    """

    def __init__(self, make: Callable[[], Awaitable[Agent]]) -> None:
        self._make = make
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._agent: Agent | None = None
        self._thread = threading.Thread(target=self._body, name="mip", daemon=True)

    def start(self) -> None:
        """Start and wait until the agent runs.

        :raises MipError: it cannot.
        """
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        atexit.register(self.stop)

    def _body(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        agent = self._agent = await self._make()
        async with agent.running():
            self._ready.set()
            await agent.stopped()

    def call(self, work: Callable[[Agent], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine on the agent in its loop; return what it returns.

        :raises MipError: the agent is not running.
        """
        if self._loop is None or self._agent is None or not self._thread.is_alive():
            raise MipError("the agent is not running")
        return asyncio.run_coroutine_threadsafe(work(self._agent), self._loop).result()

    def stop(self) -> None:
        """Stop the agent and wait until it has undone its changes.

        Safe to call twice. From a callback, which runs in the thread itself, it only
        asks the agent to stop.
        """
        atexit.unregister(self.stop)
        if self._loop is None or self._agent is None or not self._thread.is_alive():
            return
        try:
            self._loop.call_soon_threadsafe(self._agent.stop)
        except RuntimeError:
            return  # the loop has just ended
        if threading.current_thread() is not self._thread:
            self._thread.join()
