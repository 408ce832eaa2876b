# SPDX-License-Identifier: GPL-2.0-only
"""Processes of the laboratory: each ends when its parent does, and by its own number.

A child is forked (`fork`, a Python callable) or executed (`execute`, a command line),
in a network namespace if one is named. Children are in process groups of their own, so
that Ctrl-C reaches the parent alone, which then stops them in order.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, NoReturn, Self, TypeVar

from mip_agents.lab import namespaces
from mip_agents.lab.namespaces import LabError

Result = TypeVar("Result")


class Child:
    """A process that this one started; its exit code is like that of `subprocess`."""

    def __init__(self, name: str, pid: int, output: int | None = None) -> None:
        self.name = name
        self.pid = pid
        self.output = output
        """File descriptor on which a forked child reports, for the parent to read."""
        self.code: int | None = None
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return the exit code (negative: the signal), or None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                os.close(self._handle)
        return self.code

    def wait(self, timeout: float) -> int | None:
        """Wait for the end; None when it still runs after `timeout` seconds."""
        if self.poll() is None:
            # poll(2), since a descriptor may be beyond the reach of select(2)
            waiter = select.poll()
            waiter.register(self._handle, select.POLLIN)
            waiter.poll(int(timeout * 1000))
        return self.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def stop(self, timeout: float = 5.0) -> int:
        """End it: SIGTERM, and SIGKILL after `timeout` seconds."""
        self.send(signal.SIGTERM)
        code = self.wait(timeout)
        while code is None:
            self.send(signal.SIGKILL)
            code = self.wait(1.0)
        return code


class Children:
    """What one process started; leaving the context stops all, the last one first."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children)

    def stop(self) -> None:
        """Stop all that still run."""
        for child in reversed(self._children):
            child.send(signal.SIGTERM)
        for child in reversed(self._children):
            child.stop()

    def fork(
        self,
        name: str,
        function: Callable[[IO[bytes]], object],
        namespace: str | None = None,
    ) -> Child:
        """Run `function` in a child; what it writes to its argument is `output`."""
        parent = os.getpid()
        reader, writer = os.pipe()
        _flush()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _become(parent, namespace, function, writer)
        os.close(writer)
        child = Child(name, pid, reader)
        self._children.append(child)
        return child

    def execute(
        self,
        name: str,
        command: Sequence[str],
        *,
        namespace: str | None = None,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Run a command line; its output and errors go to the file `log`."""

        def run(_output: IO[bytes]) -> None:
            target = log or Path(os.devnull)
            with target.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            with Path(os.devnull).open("rb") as file:
                os.dup2(file.fileno(), 0)
            os.execvpe(command[0], list(command), dict(environment or os.environ))

        child = self.fork(name, run, namespace)
        if child.output is not None:
            os.close(child.output)
            child.output = None
        return child


def _flush() -> None:
    """Empty the buffers, so that a forked child does not write them once more."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def _become(
    parent: int,
    namespace: str | None,
    function: Callable[[IO[bytes]], object],
    writer: int,
) -> NoReturn:
    code = 1
    try:
        namespaces.die_with_parent(parent)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        if namespace is not None:
            namespaces.join(namespace)
        with os.fdopen(writer, "wb", buffering=0) as output:
            function(output)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - the parent's stack must not run in the child
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


def run_in_sandbox(
    function: Callable[[str], Result], keep: Iterable[Path] = ()
) -> Result:
    """Run `function` in a forked sandbox and return (pickled) what it returns.

    Its argument says how the sandbox was made. SIGINT, SIGTERM and SIGHUP are passed
    on; the caller waits until the sandbox has ended. What `function` raises is raised
    here.
    """
    parent = os.getpid()
    reader, writer = os.pipe()
    _flush()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _sandbox(parent, writer, function, keep)
    os.close(writer)
    with _forward_signals(pid), os.fdopen(reader, "rb") as answer:
        # A length in front: the pipe's end may be open in grandchildren too.
        head = answer.read(8)
        body = answer.read(struct.unpack("!Q", head)[0]) if len(head) == 8 else b""
        _, status = os.waitpid(pid, 0)
    if not body:
        code = os.waitstatus_to_exitcode(status)
        raise LabError(f"the sandbox ended without an answer (exit code {code})")
    outcome, value, trace = pickle.loads(body)
    if outcome == "raised":
        error: BaseException = value
        if not isinstance(error, LabError):
            error.add_note(f"in the sandbox:\n{trace}")
        raise error
    result: Result = value
    return result


def _sandbox(
    parent: int, writer: int, function: Callable[[str], Any], keep: Iterable[Path]
) -> NoReturn:
    answer: tuple[str, Any, str]
    try:
        namespaces.die_with_parent(parent)
        answer = ("returned", function(namespaces.enter(keep)), "")
    except BaseException as error:  # noqa: BLE001 - passed on to the caller
        answer = ("raised", error, traceback.format_exc())
    try:
        body = pickle.dumps(answer)
        pickle.loads(body)
    except Exception:  # noqa: BLE001 - any error of a foreign class's pickling
        text = answer[2] or f"not to be pickled: {answer[1]!r}"
        body = pickle.dumps(("raised", RuntimeError(text), text))
    with os.fdopen(writer, "wb") as output:
        output.write(struct.pack("!Q", len(body)) + body)
    _flush()
    os._exit(0)


@contextlib.contextmanager
def _forward_signals(pid: int) -> Iterator[None]:
    def forward(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    try:
        before = {number: signal.signal(number, forward) for number in numbers}
    except ValueError:  # not the main thread: signals are someone else's
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def why_no_sandbox() -> str | None:
    """Return why there can be no sandbox here, or None if there can."""
    try:
        run_in_sandbox(lambda _how: None)
    except LabError as error:
        return str(error)
    return None
