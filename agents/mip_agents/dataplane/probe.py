# SPDX-License-Identifier: GPL-2.0-only
"""What this process may do here, found out without leaving a trace.

Each probe returns None where the thing can be had, else the reason why not, for
`mip status` and for the text of an error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from mip_agents.dataplane import bpf
from mip_agents.dataplane.clsact import clsact_problem
from mip_agents.dataplane.port import TUN_DEVICE

CAP_NET_ADMIN: Final = 12
CAP_NET_RAW: Final = 13


def missing_capability(*numbers: int) -> str | None:
    """Say which of the capabilities this process lacks."""
    names = {CAP_NET_ADMIN: "CAP_NET_ADMIN", CAP_NET_RAW: "CAP_NET_RAW"}
    effective = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    missing = [names[number] for number in numbers if not effective >> number & 1]
    return f"no {' and '.join(missing)}" if missing else None


def tun_port_problem() -> str | None:
    """Say why there can be no TUN device."""
    try:
        os.close(os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{TUN_DEVICE}: {error.strerror}"
    return missing_capability(CAP_NET_ADMIN)


def veth_port_problem() -> str | None:
    """Say why there can be no veth pair with a packet socket."""
    return missing_capability(CAP_NET_ADMIN, CAP_NET_RAW)


def tun_driver_problem() -> str | None:
    """Say why the `tun` driver cannot work: it needs raw sockets and a port."""
    problem = missing_capability(CAP_NET_RAW)
    if problem is not None or tun_port_problem() is None:
        return problem
    return veth_port_problem()


def ebpf_driver_problem() -> str | None:
    """Say why the `ebpf` driver cannot work: it needs bpf(2), tc and raw sockets."""
    return (
        missing_capability(CAP_NET_ADMIN, CAP_NET_RAW)
        or bpf.problem()
        or clsact_problem()
    )
