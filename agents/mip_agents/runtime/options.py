# SPDX-License-Identifier: GPL-2.0-only
"""How an agent runs, apart from what its engine is told: paths, ports, data plane."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from mip_agents.protocol.policy import AgentPolicy
from scapy_mip.const import MIP_PORT

DATAPLANES = ("auto", "ebpf", "kernel", "tun", "none")
"""Values of the key `dataplane` that this version knows."""

QUIRKS = ("coarse_timestamps",)
"""What a mobile node can do for the sake of a home agent with a fault. The one there is
leaves the low 11 bits of Identification zero, for those that keep it in a double."""


class LogFormat(enum.StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(enum.StrEnum):
    """The least severity that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """The shell's part of a configuration; nothing of it reaches the engine."""

    state_dir: Path | None = None
    """Where state is kept across restarts; None keeps it in memory."""
    control_socket: Path | None = None
    """None: no control interface."""
    dataplane: str = "auto"
    ntp_servers: tuple[str, ...] = ()
    """Asked for the offset of the clock, the first that answers counts."""
    listen: str = "0.0.0.0"
    """Local address of the UDP socket; the wildcard also hears broadcasts."""
    port: int = MIP_PORT
    gateways: dict[str, str] = field(default_factory=dict)
    """Next hop by interface, where the kernel's routing table does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """A whole configuration: for the engine, for the shell, and what looked odd."""

    policy: AgentPolicy
    options: AgentOptions
    warnings: tuple[str, ...] = ()
    """One line each."""
