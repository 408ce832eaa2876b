# SPDX-License-Identifier: GPL-2.0-only
"""The control interface over a real unix socket, with httpx and with bare hands."""

import asyncio
import json
import os
import socket
import stat
import threading
from contextlib import asynccontextmanager

import pytest

from mip_agents.protocol.effects import Finished, Noted
from mip_agents.protocol.errors import MipError
from mip_agents.runtime import control
from mip_agents.runtime.client import (
    AgentClient,
    AgentRefusedError,
    AgentUnreachableError,
)
from mip_agents.runtime.control import make_app
from mip_agents.runtime.events import Broadcast, Notes
from mip_agents.runtime.schema import SCHEMA
from mip_agents.runtime.unixserver import ControlServer


class FakeAgent:
    """Answers like an agent; notes what it was asked."""

    def __init__(self, role):
        self.role = role
        self.broadcast = Broadcast()
        self.notes = Notes(self.broadcast)
        self.asked = []
        self.pages = [[{"home_address": "10.1.1.10"}]]
        self.answer = Finished(token=1, code=0, fields={"lifetime": 600})

    def status(self):
        return {"role": self.role, "uptime": 1.5}

    def binding_pages(self):
        yield []
        yield from self.pages

    def visitors(self):
        return [{"home_address": "10.1.1.10", "interface": "eth1"}]

    def metrics(self):
        return "mip_info 1\n"

    async def register(self, interface, lifetime=None):
        self.asked.append(("register", interface, lifetime))
        return self.answer

    async def deregister(self):
        self.asked.append(("deregister",))
        return self.answer

    async def cancel(self):
        self.asked.append(("cancel",))
        return self.answer

    async def clear(self, home_address):
        self.asked.append(("clear", home_address))
        return self.answer


@asynccontextmanager
async def serving(path, role):
    agent, server = FakeAgent(role), ControlServer(path)
    server.open()
    task = asyncio.create_task(server.serve(make_app(agent)))
    try:
        yield agent
    finally:
        agent.broadcast.close()
        server.stop()
        await task
        server.close()


def run(tmp_path, role, test):
    """Run the blocking `test(client, agent)` in a thread, beside the server."""

    async def body():
        path = tmp_path / "control.sock"
        async with asyncio.timeout(20), serving(path, role) as agent:
            with AgentClient(path, timeout=10) as client:
                await asyncio.to_thread(test, client, agent)
        assert not path.exists()

    asyncio.run(body())


def raw(path, request):
    """Send bytes; return status, headers and body. The poorest client there is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(request)
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    return int(first.split()[1]), headers, body


def request(method, path, body=b"", version="1.0"):
    return (
        f"{method} {path} HTTP/{version}\r\nHost: mip\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def test_a_home_agent_answers_what_it_has(tmp_path):
    def test(client, agent):
        assert client.status() == {"role": "home_agent", "uptime": 1.5}
        assert client.bindings() == [{"home_address": "10.1.1.10"}]
        assert client.metrics() == "mip_info 1\n"
        assert client.clear("10.1.1.10") == {"lifetime": 600, "code": 0}
        assert agent.asked == [("clear", "10.1.1.10")]

    run(tmp_path, "home_agent", test)


def test_a_foreign_agent_answers_what_it_has(tmp_path):
    def test(client, agent):
        assert client.visitors() == agent.visitors()
        with pytest.raises(AgentRefusedError, match="only a home agent has that"):
            client.bindings()

    run(tmp_path, "foreign_agent", test)


@pytest.mark.parametrize("role", ["home_agent", "foreign_agent", "mobile_node"])
def test_the_schema_names_every_route_and_who_has_it(tmp_path, role):
    served = make_app(FakeAgent(role)).routes
    routes = {(route.path, method) for route in served for method in route.methods}
    named = {(route["path"], route["method"]) for route in SCHEMA["routes"]}
    assert named == routes - {(path, "HEAD") for path, _ in routes}

    def test(client, agent):
        assert client._call("GET", "/v1/schema") == SCHEMA
        for route in SCHEMA["routes"]:
            if route["method"] == "GET" and route["path"] != "/v1/events":
                allowed = route["role"] in (None, role)
                try:
                    client._send("GET", route["path"])
                except AgentRefusedError as error:
                    assert (allowed, error.status) == (False, 404)
                else:
                    assert allowed

    run(tmp_path, role, test)


@pytest.mark.parametrize("pages", [[], [[1, 2], [], [3]], [[1]]])
def test_bindings_in_pages_are_one_list(tmp_path, pages):
    def test(client, agent):
        agent.pages = pages
        assert client.bindings() == [one for page in pages for one in page]

    run(tmp_path, "home_agent", test)


def test_a_mobile_node_does_what_it_is_asked(tmp_path):
    def test(client, agent):
        assert client.register("eth0", 1000) == {"lifetime": 600, "code": 0}
        client.register("eth0")
        client.deregister()
        client.cancel()
        assert agent.asked == [
            ("register", "eth0", 1000),
            ("register", "eth0", None),
            ("deregister",),
            ("cancel",),
        ]

    run(tmp_path, "mobile_node", test)


def test_a_refusal_carries_text_and_code(tmp_path):
    def test(client, agent):
        agent.answer = Finished(token=1, code=133, error="denied (code 133)")
        with pytest.raises(AgentRefusedError, match="denied") as caught:
            client.register("eth0")
        assert (caught.value.status, caught.value.code) == (409, 133)

    run(tmp_path, "mobile_node", test)


def test_clearing_what_is_not_there_is_404(tmp_path):
    def test(client, agent):
        agent.answer = Finished(token=1, error="10.1.1.9 has no binding")
        with pytest.raises(AgentRefusedError, match="has no binding") as caught:
            client.clear("10.1.1.9")
        assert caught.value.status == 404
        with pytest.raises(AgentRefusedError, match="not an IPv4") as caught:
            client.clear("mn")
        assert caught.value.status == 400

    run(tmp_path, "home_agent", test)


def test_what_another_role_has_is_refused_with_words(tmp_path):
    def test(client, agent):
        with pytest.raises(AgentRefusedError, match="only a mobile node") as caught:
            client.register("eth0")
        assert caught.value.status == 404

    run(tmp_path, "home_agent", test)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/v1/register", b"{", 400, "not JSON"),
        ("POST", "/v1/register", b"\xff", 400, "not JSON"),
        ("POST", "/v1/register", b'{"interface": "\\ud800"}', 400, "not JSON"),
        ("POST", "/v1/register", b'{"\\ud800": 1}', 400, "not JSON"),
        ("POST", "/v1/register", b"[" * 4000, 400, "not JSON"),
        ("POST", "/v1/register", b"[]", 400, "no JSON object"),
        ("POST", "/v1/register", b"", 400, "interface: "),
        ("POST", "/v1/register", b'{"interface": 5}', 400, "interface: "),
        ("POST", "/v1/register", b'{"interface": ""}', 400, "interface: "),
        ("POST", "/v1/register", b'{"interface": "a", "x": 1}', 400, "x: unknown key"),
        ("POST", "/v1/register", b'{"interface":"a","lifetime":0}', 400, "lifetime: "),
        (
            "POST",
            "/v1/register",
            b'{"interface":"a","lifetime":true}',
            400,
            "lifetime",
        ),
        ("POST", "/v1/register", b'{"interface":"a","lifetime":"9"}', 400, "lifetime"),
        ("POST", "/v1/register", b" " * 5000, 413, "4096"),
        ("POST", "/v1/deregister", b'{"a": 1}', 400, "a: unknown key"),
        ("GET", "/v1/register", b"", 405, ""),
        ("GET", "/v1/nothing", b"", 404, ""),
        ("GET", "/v1/status/", b"", 404, ""),
        ("GET", "/v1/events?after=x", b"", 400, "after"),
    ],
)
def test_bad_requests_are_errors_in_json(tmp_path, method, path, body, status, words):
    def test(client, agent):
        answer = raw(tmp_path / "control.sock", request(method, path, body))
        assert answer[0] == status
        assert words in json.loads(answer[2])["error"]
        assert agent.asked == []

    run(tmp_path, "mobile_node", test)


def test_an_internal_error_is_500_and_shows_no_traceback(tmp_path, caplog):
    def test(client, agent):
        agent.status = lambda: 1 / 0
        status, _, body = raw(tmp_path / "control.sock", request("GET", "/v1/status"))
        assert status == 500
        assert "ZeroDivisionError" in json.loads(body)["error"]
        assert b"Traceback" not in body
        assert "Traceback" in caplog.text

    run(tmp_path, "mobile_node", test)


def test_garbage_on_the_socket_harms_nobody(tmp_path):
    def test(client, agent):
        for garbage in (b"\x00" * 100 + b"\r\n\r\n", b"GET\r\n\r\n"):
            raw(tmp_path / "control.sock", garbage)
        assert client.status()["role"] == "mobile_node"

    run(tmp_path, "mobile_node", test)


def test_events_come_as_json_until_the_agent_stops(tmp_path):
    async def body():
        path = tmp_path / "control.sock"
        seen, first = [], threading.Event()

        def follow():
            with AgentClient(path) as client:
                for event in client.events(after=0):
                    seen.append(event)
                    first.set()

        async with asyncio.timeout(20):
            async with serving(path, "home_agent") as agent:
                agent.notes.note(Noted(event="early", fields={"code": 0}))
                task = asyncio.create_task(asyncio.to_thread(follow))
                await asyncio.to_thread(first.wait, 10)
                agent.notes.note(Noted(event="late", rule="HA-09"))
            await task
        return seen

    early, late = asyncio.run(body())
    assert (early["event"], early["code"]) == ("early", 0)
    assert (late["event"], late["rule"], late["severity"]) == ("late", "HA-09", "info")


def test_a_stream_can_be_taken_up_again_where_it_broke(tmp_path):
    async def body():
        path = tmp_path / "control.sock"
        async with asyncio.timeout(20), serving(path, "home_agent") as agent:
            for name in ("one", "two", "three"):
                agent.notes.note(Noted(event=name))
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(
                b"GET /v1/events HTTP/1.0\r\nHost: mip\r\nLast-Event-ID: 2\r\n\r\n"
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"text/event-stream" in head
            assert await reader.readline() == b"id: 3\n"
            assert json.loads((await reader.readline())[5:])["event"] == "three"
            writer.close()

    asyncio.run(body())


def test_a_quiet_stream_has_heartbeats(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "_HEARTBEAT_S", 0.01)

    async def body():
        path = tmp_path / "control.sock"
        async with asyncio.timeout(20), serving(path, "home_agent"):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /v1/events HTTP/1.0\r\nHost: mip\r\n\r\n")
            await reader.readuntil(b": still here\n\n")
            writer.close()

    asyncio.run(body())


def test_the_socket_is_for_owner_and_group(tmp_path):
    path = tmp_path / "new" / "control.sock"
    old = os.umask(0o077)
    try:
        server = ControlServer(path)
        server.open()
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    server.close()
    server.close()
    assert not path.exists()


def test_a_stale_socket_is_replaced(tmp_path):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    server = ControlServer(path)
    server.open()
    server.close()


def test_a_socket_on_which_somebody_answers_is_left_alone(tmp_path):
    path = tmp_path / "control.sock"
    first, second = ControlServer(path), ControlServer(path)
    first.open()
    with pytest.raises(MipError, match="an agent answers on it") as caught:
        second.open()
    assert "\n" not in str(caught.value)
    second.close()
    assert path.exists()
    first.close()


def test_only_our_own_socket_is_removed(tmp_path):
    path = tmp_path / "control.sock"
    server = ControlServer(path)
    server.open()
    path.unlink()
    path.write_text("somebody else's")
    server.close()
    assert path.exists()


def test_something_else_at_the_path_is_left_alone(tmp_path):
    path = tmp_path / "control.sock"
    path.write_text("precious")
    with pytest.raises(MipError, match="no socket"):
        ControlServer(path).open()
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["file/control.sock", "x" * 120])
def test_a_path_that_cannot_be_is_one_line(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(MipError, match="set control_socket to") as caught:
        ControlServer(tmp_path / name).open()
    assert "\n" not in str(caught.value)


def test_nobody_there_is_one_line_that_says_what_to_do(tmp_path):
    path = tmp_path / "none.sock"
    with AgentClient(path) as client:
        for call in (client.status, lambda: list(client.events())):
            with pytest.raises(AgentUnreachableError) as caught:
                call()
            text = str(caught.value)
            assert text.startswith(f"no agent answers on {path} (there is no such")
            assert "is `mip ha` or `mip mn` running?" in text
            assert "\n" not in text


def test_a_stale_socket_is_told_from_none(tmp_path):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    nobody = pytest.raises(AgentUnreachableError, match="nobody listens")
    with AgentClient(path) as client, nobody:
        client.status()


def test_an_agent_that_does_not_answer_in_time(tmp_path):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(path))
        silent.listen()
        too_late = pytest.raises(
            AgentUnreachableError, match="no answer from the agent"
        )
        with AgentClient(path, timeout=0.05) as client, too_late:
            client.deregister()


def test_something_that_is_no_agent(tmp_path):
    path = tmp_path / "control.sock"

    def answer(listener):
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        stranger = pytest.raises(AgentUnreachableError, match="not a Mobile IP agent")
        with AgentClient(path) as client, stranger:
            client.status()
        thread.join()


def test_a_proxy_in_the_environment_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    run(tmp_path, "home_agent", lambda client, agent: client.status())
