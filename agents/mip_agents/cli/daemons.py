# SPDX-License-Identifier: GPL-2.0-only
"""`mip ha`, `mip fa`, `mip mn` and `mip check-config`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mip_agents.runtime.options import LogFormat, LogLevel

if TYPE_CHECKING:
    from mip_agents.runtime.options import AgentConfig


ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", help="Configuration file (TOML)."),
]
FormatOption = Annotated[
    LogFormat,
    typer.Option(metavar="FORMAT", help="console, or json: one object per line."),
]
LevelOption = Annotated[
    LogLevel,
    typer.Option(metavar="LEVEL", help="Least severity: debug, info, warning, error."),
]


def home_agent(
    config: ConfigOption,
    log_format: FormatOption = LogFormat.CONSOLE,
    log_level: LevelOption = LogLevel.INFO,
) -> None:
    """Run a home agent in the foreground.

    It logs on stderr. SIGTERM and SIGINT stop it and undo every change to the kernel;
    bindings are kept in its state_dir and are back after a restart.

    For nodes with a fault, [[mobile_node]] takes quirks = [...]: any_clock (its clock
    may be off by any amount, for nodes that do not heed the time in code 133: of their
    timestamps only the order counts), code_0_only (what is granted is granted with code
    0 even without simultaneous bindings, for nodes that take code 1 for a denial).

    Example: mip ha --config /etc/mip/home-agent.toml
    """
    _run(config, "home_agent", log_format, log_level)


def foreign_agent(
    config: ConfigOption,
    log_format: FormatOption = LogFormat.CONSOLE,
    log_level: LevelOption = LogLevel.INFO,
) -> None:
    """Run a foreign agent in the foreground.

    It logs on stderr. It advertises itself on its visited links, relays registrations,
    and carries the packets of its visitors. SIGTERM and SIGINT stop it: it says so on
    its links, and undoes every change to the kernel.

    Example: mip fa --config /etc/mip/foreign-agent.toml
    """
    _run(config, "foreign_agent", log_format, log_level)


def mobile_node(
    config: ConfigOption,
    log_format: FormatOption = LogFormat.CONSOLE,
    log_level: LevelOption = LogLevel.INFO,
) -> None:
    """Run a mobile node in the foreground.

    It logs on stderr. SIGTERM and SIGINT stop it: it deregisters if its home agent
    answers within a second, and undoes every change to the kernel.

    Example: mip mn --config /etc/mip/mobile-node.toml
    """
    _run(config, "mobile_node", log_format, log_level)


def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration file.")],
) -> None:
    """Validate a configuration without running it.

    Exit 0 and one line if it is good; exit 2 and one line for each problem otherwise.

    Example: mip check-config /etc/mip/home-agent.toml
    """
    import sys

    config = _load(file, None)
    for warning in config.warnings:
        print(f"mip: warning: {warning}", file=sys.stderr)
    from mip_agents.protocol.policy import role_of

    words = role_of(config.policy).replace("_", " ")
    print(f"{file}: good configuration of a {words}")


def _load(file: Path, role: str | None) -> AgentConfig:
    from mip_agents.runtime.config import load_config

    return load_config(file, role)


def _run(file: Path, role: str, log_format: LogFormat, log_level: LogLevel) -> None:
    import asyncio

    from mip_agents.protocol.effects import Noted, Severity
    from mip_agents.runtime import log
    from mip_agents.runtime.agent import Agent
    from mip_agents.runtime.floods import FloodGuard

    config = _load(file, role)

    async def body() -> None:
        sink = FloodGuard(log.LogSink(log_format, log_level))
        agent = Agent(config.policy, config.options, sinks=[sink])
        log.adopt_libraries(agent.notes)
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: agent.notes.crash(
                "event loop",
                context.get("exception") or RuntimeError(context["message"]),
            )
        )
        for warning in config.warnings:
            agent.notes.note(
                Noted(
                    event="configuration",
                    severity=Severity.WARNING,
                    fields={"text": warning},
                )
            )
        await agent.run()

    asyncio.run(body())
