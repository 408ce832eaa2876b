# SPDX-License-Identifier: GPL-2.0-only
"""What this process may do here, found out without leaving a trace.

Each probe returns None where the thing can be had, else the reason why not, for
`mip status` and for the text of an error.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from mip_agents.dataplane import bpf, gate, tunnel_programs
from mip_agents.dataplane.changes import LOOPBACK
from mip_agents.dataplane.port import TUN_DEVICE
from mip_agents.dataplane.rtnetlink import Requests, clsact, impossible_link
from mip_agents.protocol.tunnel import Role

CAP_NET_ADMIN: Final = 12
CAP_NET_RAW: Final = 13

# GRE version 7 in the flags, and an inner protocol that is none: refused by kernels
# that know the kind of device, so that none is made.
_IMPOSSIBLE: Final = (("gre", 2, b"\0\7"), ("ipip", 9, b"\xff"))


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


def tun_driver_problem(_role: Role) -> str | None:
    """Say why the `tun` driver cannot work: it needs raw sockets and a port."""
    problem = missing_capability(CAP_NET_RAW)
    if problem is not None or tun_port_problem() is None:
        return problem
    return veth_port_problem()


def _not_for(role: Role) -> str | None:
    """Say that a driver does not have what a role needs."""
    return "not for foreign agents" if role is Role.FOREIGN_AGENT else None


def clsact_problem() -> str | None:
    """Say why there can be no tc programs, found out on `lo`."""
    with Requests() as requests:
        try:
            requests.call(clsact("add", LOOPBACK))
            requests.call(clsact("del", LOOPBACK))
        except OSError as error:
            if error.errno != errno.EEXIST:
                return f"tc qdisc clsact: {error.strerror}"
    return None


def ebpf_driver_problem(role: Role) -> str | None:
    """Say why the `ebpf` driver cannot work.

    It needs bpf(2), a kernel that takes its programs, tc and raw sockets.
    """
    return (
        _not_for(role)
        or missing_capability(CAP_NET_ADMIN, CAP_NET_RAW)
        or bpf.problem()
        or tunnel_programs.problem(role)
        or clsact_problem()
    )


def tunnel_devices_problem() -> str | None:
    """Say which kind of tunnel device this kernel lacks."""
    with Requests() as requests:
        for kind, attribute, value in _IMPOSSIBLE:
            try:
                requests.call(impossible_link(kind, attribute, value))
            except OSError as error:
                if error.errno == errno.EOPNOTSUPP:
                    return f"this kernel has no {kind} devices"
    return None


def kernel_driver_problem(role: Role) -> str | None:
    """Say why the `kernel` driver cannot work.

    It needs devices and, for path MTUs, a raw socket; a home agent needs eBPF, too.
    """
    reason = (
        _not_for(role)
        or missing_capability(CAP_NET_ADMIN, CAP_NET_RAW)
        or tunnel_devices_problem()
    )
    if reason is None and role is Role.HOME_AGENT:
        reason = bpf.problem() or gate.problem()
    return reason
