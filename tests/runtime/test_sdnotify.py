# SPDX-License-Identifier: GPL-2.0-only
"""Messages to the service manager, received on real sockets."""

import asyncio
import os
import socket

import pytest

from mip_agents.runtime.sdnotify import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    name = (
        str(tmp_path / "notify")
        if request.param == "path"
        else f"@mip-test-{os.getpid()}"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0"))
        sock.settimeout(5)
        yield sock, name


def test_says_ready_and_stopping(manager):
    sock, name = manager
    service = ServiceManager({"NOTIFY_SOCKET": name})
    service.ready()
    service.stopping()
    assert [sock.recv(100), sock.recv(100)] == [b"READY=1", b"STOPPING=1"]


def test_feeds_the_watchdog_twice_as_often_as_it_asks_for(manager):
    sock, name = manager
    service = ServiceManager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000"})
    assert service.watchdog_s == 0.02

    async def body():
        task = asyncio.create_task(service.keep_alive())
        for _ in range(3):
            assert await asyncio.to_thread(sock.recv, 100) == b"WATCHDOG=1"
        task.cancel()

    asyncio.run(body())


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_no_watchdog_where_none_was_asked_of_us(environment):
    service = ServiceManager(environment)
    assert service.watchdog_s is None
    asyncio.run(service.keep_alive())


@pytest.mark.parametrize("name", ["", "relative", "/no/such/socket", "@nobody-there"])
def test_a_manager_that_is_not_there_is_no_trouble(name):
    ServiceManager({"NOTIFY_SOCKET": name}).ready()
