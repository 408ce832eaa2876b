# SPDX-License-Identifier: GPL-2.0-only
"""An agent in an event loop, asked from any thread; and one in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from mip_agents.protocol.errors import MipError
from mip_agents.runtime.agent import Agent

_T = TypeVar("_T")


class Running:
    """An agent in the present event loop, to be asked from every thread.

    Callbacks run in the thread of the loop: there reading works, but nothing that the
    loop would have to go on for.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._loop = asyncio.get_running_loop()
        self._thread = threading.current_thread()

    @property
    def here(self) -> bool:
        """Whether this is the thread of the agent."""
        return threading.current_thread() is self._thread

    def read(self, work: Callable[[Agent], _T]) -> _T:
        """Return what a function says of the agent; in a callback, too.

        :raises MipError: the agent is not running.
        """
        if self.here:
            return work(self.agent)

        async def body(agent: Agent) -> _T:
            return work(agent)

        return self.call(body)

    def call(self, work: Callable[[Agent], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine on the agent in its loop; return what it returns.

        :raises MipError: the agent is not running, or it is its own thread that asks.
        """
        if self.here:
            raise MipError("a callback cannot wait for its own agent: use a thread")
        coroutine = work(self.agent)
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        except CancelledError:
            raise MipError("the agent is stopping") from None
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            coroutine.close()
            raise MipError("the agent is not running") from None

    def stop(self) -> None:
        """Ask the agent to stop."""
        try:
            self._loop.call_soon_threadsafe(self.agent.stop)
        except RuntimeError:
            return  # the loop has just ended


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
        self._running: Running | None = None
        self._thread = threading.Thread(target=self._body, name="mip", daemon=True)
        self.stopping = False
        """Whether it was asked to stop."""

    @property
    def here(self) -> bool:
        """Whether this is the thread of the agent."""
        return threading.current_thread() is self._thread

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
        agent = await self._make()
        self._running = Running(agent)
        async with agent.running():
            self._ready.set()
            await agent.stopped()

    def running(self) -> Running:
        """Return the way to the agent. :raises MipError: the agent is not running."""
        if self._running is None or not self._thread.is_alive():
            raise MipError("the agent is not running")
        return self._running

    def stop(self) -> None:
        """Stop the agent and wait until it has undone its changes.

        Safe to call twice. From a callback, which runs in the thread itself, it only
        asks the agent to stop.
        """
        self.stopping = True
        atexit.unregister(self.stop)
        if self._running is not None:
            self._running.stop()
            if not self.here:
                self._thread.join()
