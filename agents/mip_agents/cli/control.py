# SPDX-License-Identifier: GPL-2.0-only
"""The subcommands that talk to a running agent over its control socket."""

from __future__ import annotations

import json as json_format
import os
import socket as sockets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mip_agents.protocol.errors import InputError

if TYPE_CHECKING:
    from mip_agents.runtime.client import AgentClient

SOCKETS = {role: Path(f"/run/mip/{role}.sock") for role in ("ha", "fa", "mn")}
"""Where agents listen by default."""

SocketOption = Annotated[
    Path | None,
    typer.Option(
        "--socket",
        metavar="PATH",
        envvar="MIP_SOCKET",
        help="Control socket of the agent. "
        "Default: ha.sock, fa.sock or mn.sock in /run/mip, whichever answers.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs, as JSON.")]


def status(socket: SocketOption = None, json: JsonOption = False) -> None:
    """Show the state of a running agent.

    Example: mip status --socket /run/mip/mn.sock
    """
    with _client(socket, tuple(SOCKETS)) as agent:
        answer = agent.status()
    if json:
        _print_json(answer)
    else:
        from mip_agents.cli import render

        render.status(answer)


def bindings(socket: SocketOption = None, json: JsonOption = False) -> None:
    """Show the bindings of a home agent, with the traffic of each.

    Example: mip bindings --json
    """
    with _client(socket, ("ha",)) as agent:
        answer = agent.bindings()
    if json:
        _print_json(answer)
    else:
        from mip_agents.cli import render

        render.bindings(answer)


def visitors(socket: SocketOption = None, json: JsonOption = False) -> None:
    """Show the visitors of a foreign agent, and the requests that wait for a reply.

    Example: mip visitors --json
    """
    with _client(socket, ("fa",)) as agent:
        answer = agent.visitors()
    if json:
        _print_json(answer)
    else:
        from mip_agents.cli import render

        render.visitors(answer)


def watch(
    socket: SocketOption = None,
    json: JsonOption = False,
    all_kept: Annotated[
        bool, typer.Option("--all", help="Begin with the events that the agent kept.")
    ] = False,
) -> None:
    """Show events of an agent as they happen, until Ctrl-C or its end.

    Example: mip watch --json | jq .event
    """
    with _client(socket, tuple(SOCKETS)) as agent:
        if json:
            for event in agent.events(after=0 if all_kept else None):
                print(json_format.dumps(event), flush=True)
        else:
            from mip_agents.cli import render

            for event in agent.events(after=0 if all_kept else None):
                render.event(event)


def register(
    interface: Annotated[
        str, typer.Argument(metavar="IFACE", help="Interface to register through.")
    ],
    lifetime: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", min=1, max=65535, help="Lifetime to ask for."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How long to wait.")
    ] = 30.0,
    socket: SocketOption = None,
    json: JsonOption = False,
) -> None:
    """Let a mobile node register through an interface.

    Exit 1 with the reply's code and meaning if that does not succeed.

    Example: mip register wlan0 --lifetime 600
    """
    with _client(socket, ("mn",), timeout) as agent:
        answer = agent.register(interface, lifetime)
    _say(answer, json, f"registered through {interface}")


def deregister(
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How long to wait.")
    ] = 30.0,
    socket: SocketOption = None,
    json: JsonOption = False,
) -> None:
    """End a mobile node's registration.

    Example: mip deregister
    """
    with _client(socket, ("mn",), timeout) as agent:
        answer = agent.deregister()
    _say(answer, json, "deregistered")


def clear(
    home_address: Annotated[
        str, typer.Argument(metavar="HOME_ADDRESS", help="Whose bindings to drop.")
    ],
    socket: SocketOption = None,
    json: JsonOption = False,
) -> None:
    """Drop the bindings that a home agent has for one home address.

    Example: mip clear 10.1.1.10
    """
    with _client(socket, ("ha",)) as agent:
        answer = agent.clear(home_address)
    _say(answer, json, f"bindings of {home_address} cleared")


def _client(
    path: Path | None, roles: Sequence[str], timeout: float = 30.0
) -> AgentClient:
    from mip_agents.runtime.client import AgentClient

    return AgentClient(path or _default_socket(roles), timeout)


def _default_socket(roles: Sequence[str]) -> Path:
    """Find the agent that is meant where none is named."""
    here = [SOCKETS[role] for role in roles if SOCKETS[role].exists()]
    if len(here) > 1:
        here = [path for path in here if _answers(path)] or here
    if len(here) > 1:
        names = " and ".join(map(str, here))
        raise InputError(f"agents answer on {names}: choose one with --socket PATH")
    return here[0] if here else SOCKETS[roles[0]]


def _answers(path: Path) -> bool:
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True


def _print_json(value: Any) -> None:
    print(json_format.dumps(value, indent=2))


def _say(answer: dict[str, Any], json: bool, text: str) -> None:
    """Print the end of a request."""
    if json:
        _print_json(answer)
        return
    shown = ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in answer.items()
        if value is not None
    )
    print(f"{text}: {shown}" if shown else text)
