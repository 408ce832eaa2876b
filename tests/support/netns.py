# SPDX-License-Identifier: GPL-2.0-only
"""Network namespaces for tests, as root or as an ordinary user.

`isolated` runs a test in a child process with namespaces of its own; a `Node` is a
process in a network namespace, which carries out functions and coroutines on request.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import functools
import gc
import inspect
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mip_agents.dataplane.port import settle_link
from mip_agents.dataplane.select import DRIVERS
from mip_agents.protocol.tunnel import Role

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_FLAGS = struct.Struct("16sH14x")
"""struct ifreq"""
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_MAX_MESSAGE = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *args: Any) -> None:
    if getattr(_libc, name)(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def enter() -> None:
    """Move this process into new namespaces, in which it is root."""
    user, group = os.getuid(), os.getgid()
    if user != 0:
        _call("unshare", _CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _call("unshare", _CLONE_NEWNET | _CLONE_NEWNS)


@functools.cache
def missing() -> str | None:
    """Say why namespaces cannot be had here, or None."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            enter()
            os._exit(0)
        os._exit(1)
    if os.waitpid(pid, 0)[1] != 0:
        return "no network namespaces: neither root nor unprivileged user namespaces"
    for tool in ("ip", "ping"):
        if _found(tool) is None:
            return f"no {tool} command: sudo apt install iproute2 iputils-ping"
    return None


def isolated(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in namespaces of its own; skip it by name where there are none."""

    @pytest.mark.netns
    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        reason = missing()
        if reason is not None:
            pytest.skip(reason)
        sys.stdout.flush()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _child(writer, functools.partial(test, *args, **kwargs))
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            outcome = pipe.read()
        _, status = os.waitpid(pid, 0)
        kind, text = pickle.loads(outcome) if outcome else ("failed", f"died: {status}")
        if kind == "skipped":
            pytest.skip(text)
        if kind == "failed":
            pytest.fail(text, pytrace=False)

    return wrapper


def _child(writer: int, test: Callable[[], None]) -> None:
    """Run the test in a process group of its own and end it with what it left."""
    os.setpgid(0, 0)
    # A collection would touch, and so copy, every page that forked processes share.
    gc.freeze()
    outcome: tuple[str, str] = ("passed", "")
    try:
        enter()
        take_up("lo")
        test()
    except pytest.skip.Exception as skip:
        outcome = ("skipped", str(skip))
    except BaseException:  # noqa: BLE001
        outcome = ("failed", traceback.format_exc())
    with contextlib.suppress(BaseException):
        Node.close_all()
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(pickle.dumps(outcome))
    os._exit(0)


def need_driver(dataplane: str, role: Role = Role.HOME_AGENT) -> None:
    """Skip the test, and say why, where a driver of the data plane cannot work."""
    problem = DRIVERS[dataplane].problem(role)
    if problem is not None:
        pytest.skip(f"{dataplane} data plane: {problem}")


def sh(command: str) -> str:
    """Run a command in the present namespace and return what it prints.

    A shell takes as long to start as most commands: what needs none does without.
    """
    words = command.split()
    if _FOR_A_SHELL.isdisjoint(command) and _found(words[0]):
        return run(words)
    return run(["/bin/sh", "-c", command])


def ip(*commands: str) -> None:
    """Have one process carry out commands of `ip` in the present namespace."""
    run(["ip", "-batch", "-"], "".join(f"{one}\n" for one in commands))


def run(command: Sequence[str], said: str = "", *, check: bool = True) -> str:
    """Run a command that is told something, and return what it prints.

    :raises RuntimeError: it failed, unless that may be
    """
    program, *arguments = command
    done = subprocess.run(
        [_found(program) or program, *arguments],
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PATH": ":".join(_search_path()), "LC_ALL": "C"},
    )
    if check and done.returncode:
        what = f"{' '.join(command)}: {done.returncode}"
        raise RuntimeError(f"{what}\n{said}{done.stdout}{done.stderr}")
    return done.stdout


_FOR_A_SHELL = frozenset("|&;<>()$`\\\"'*?[]#~=\n")


@functools.cache
def _found(program: str) -> str | None:
    """Find a program: in User Mode Linux a wrong guess takes as long as a start."""
    return shutil.which(program, path=":".join(_search_path()))


async def ash(command: str) -> str:
    """Run a command without holding up the loop."""
    return await asyncio.to_thread(sh, command)


class Node:
    """A process in a network namespace, its own or that of another node."""

    _all: list[Node] = []  # noqa: RUF012

    def __init__(self, name: str, inside: Node | None = None) -> None:
        self.name = name
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._next = 0
        self._answers: dict[int, tuple[bool, Any]] = {}
        self._ours.settimeout(60)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._ours.close()
            _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            _serve(theirs, inside.pid if inside else None)
        theirs.close()
        Node._all.append(self)
        self.call(os.getpid)

    def start(self, function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        """Begin `function(*args)` in the node; call what is returned for its result."""
        self._next += 1
        number = self._next
        self._ours.send(pickle.dumps((number, function, args)))

        def result() -> Any:
            while number not in self._answers:
                data = self._ours.recv(_MAX_MESSAGE)
                if not data:
                    raise RuntimeError(f"node {self.name} has died")
                answered, good, value = pickle.loads(data)
                self._answers[answered] = (good, value)
            good, value = self._answers.pop(number)
            if isinstance(value, BaseException):
                raise value
            if not good:
                raise AssertionError(f"in node {self.name}:\n{value}")
            return value

        return result

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Carry out `function(*args)`, a coroutine function too, in the node."""
        return self.start(function, *args)()

    def sh(self, command: str) -> str:
        """Run a command in the node's namespace."""
        return self.call(ash, command)

    def ip(self, *commands: str) -> None:
        """Have one process carry out commands of `ip`."""
        self.call(asyncio.to_thread, ip, *commands)

    def set(self, key: str, value: str) -> None:
        """Write `net/ipv4/KEY` of `/proc/sys`."""
        self.call(_set, key, value)

    def kill(self) -> None:
        """End the process without giving it a chance (SIGKILL)."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._ours.close()
        Node._all.remove(self)

    @classmethod
    def close_all(cls) -> None:
        """End all nodes."""
        for node in reversed(list(cls._all)):
            node.kill()


def take_up(interface: str) -> None:
    """Switch an interface on; a process for it would take a hundred times as long."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = _FLAGS.pack(interface.encode(), 0)
        name, flags = _FLAGS.unpack(fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
        fcntl.ioctl(sock, _SIOCSIFFLAGS, _FLAGS.pack(name, flags | _IFF_UP))


def _set(key: str, value: str) -> None:
    Path("/proc/sys/net/ipv4", key).write_text(value)


def connect(left: Node, left_name: str, right: Node, right_name: str) -> None:
    """Join two nodes by a veth pair, up at both ends."""
    connect_all((left, left_name, right, right_name))


def connect_all(*pairs: tuple[Node, str, Node, str]) -> None:
    """Do what `connect` does, for several pairs."""
    ip(
        *(
            f"link add {left_name} netns {left.pid} type veth "
            f"peer name {right_name} netns {right.pid}"
            for left, left_name, right, right_name in pairs
        )
    )
    ends = [end for pair in pairs for end in (pair[:2], pair[2:])]
    for node, name in ends:
        node.call(take_up, name)
    for node, name in ends:
        node.call(settle_link, name)


def _serve(sock: socket.socket, inside: int | None) -> None:
    try:
        if inside is None:
            _call("unshare", _CLONE_NEWNET)
            take_up("lo")
        else:
            with open(f"/proc/{inside}/ns/net") as handle:
                _call("setns", handle.fileno(), _CLONE_NEWNET)
        asyncio.run(_answer(sock))
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


async def _answer(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    tasks: set[asyncio.Task[None]] = set()

    async def one(number: int, function: Callable[..., Any], args: Any) -> None:
        try:
            value = function(*args)
            if inspect.isawaitable(value):
                value = await value
            answer = pickle.dumps((number, True, value))
        except Exception as error:  # noqa: BLE001
            value = traceback.format_exc()
            with contextlib.suppress(Exception):
                value = pickle.loads(pickle.dumps(error))
                value.add_note(traceback.format_exc())
            answer = pickle.dumps((number, False, value))
        await loop.sock_sendall(sock, answer)

    while True:
        data = await loop.sock_recv(sock, _MAX_MESSAGE)
        if not data:
            return
        task = asyncio.create_task(one(*pickle.loads(data)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def _search_path() -> list[str]:
    return [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin"]
