# SPDX-License-Identifier: GPL-2.0-only
"""User, network and mount namespaces, without root and without external programs.

A *sandbox* is a process with its own mount namespace (and its own user namespace, if it
is not root) in which network namespaces are made at will. They are visible to `ip
netns` and pyroute2 inside the sandbox as `/run/netns/NAME`; `/run` is a private tmpfs.
Nothing has to be cleaned up: all of it exists only as long as processes are in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

NETNS_DIR = Path("/run/netns")

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000

# CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN: with fewer, a root user namespace of our
# own is the better choice, because it gives all of them inside.
_CAPABILITIES = 1 << 12 | 1 << 13 | 1 << 21

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The laboratory cannot be built; one line says why and what to run instead."""


def _call(function: str, *arguments: int | bytes | None) -> None:
    ctypes.set_errno(0)
    if getattr(_libc, function)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    filesystem = kind.encode() if kind else None
    _call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        filesystem,
        ctypes.c_ulong(flags),  # type: ignore[arg-type]
        None,
    )


def privileged() -> bool:
    """Tell whether this process may make namespaces without a user namespace."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return held & _CAPABILITIES == _CAPABILITIES
    return False


def enter(keep: Iterable[Path] = ()) -> str:
    """Turn this process, which must have one thread only, into a sandbox.

    Paths of `keep` that lie under `/run` stay visible there.
    :return: how it was done, in words for people.
    :raises LabError: namespaces cannot be had here.
    """
    step = "unshare"
    try:
        if privileged():
            how = "as root: mount and network namespaces"
            _call("unshare", _CLONE_NEWNS | _CLONE_NEWNET)
        else:
            how = "without root: user, mount and network namespaces"
            uid, gid = os.geteuid(), os.getegid()
            _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWNET)
            step = "map the user"
            # Without CAP_SETGID outside, the kernel takes a group map only after this.
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        step = "mount"
        _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
        _private_run(keep)
    except OSError as error:
        raise LabError(explain(error, step)) from error
    return how


def _private_run(keep: Iterable[Path]) -> None:
    wanted = {Path(path).resolve() for path in (*keep, Path(sys.executable))}
    kept: dict[str, int] = {}
    for path in wanted:
        if path.parts[:2] == ("/", "run") and len(path.parts) > 3:
            # The handle reaches the directory once /run is covered.
            kept[path.parts[2]] = os.open(Path("/run", path.parts[2]), os.O_PATH)
    separate = Path("/var/run").exists() and not Path("/var/run").samefile("/run")
    _mount("tmpfs", "/run", "tmpfs", 0)
    for name, handle in kept.items():
        Path("/run", name).mkdir()
        _mount(f"/proc/self/fd/{handle}", f"/run/{name}", None, _MS_BIND | _MS_REC)
        os.close(handle)
    NETNS_DIR.mkdir()
    if separate:  # `ip netns` may look there
        _mount("/run", "/var/run", None, _MS_BIND)


def create(name: str) -> None:
    """Make a network namespace with this name; its loopback is still down."""
    path = NETNS_DIR / name
    path.touch(exist_ok=False)
    with _return_to_own():
        _call("unshare", _CLONE_NEWNET)
        _mount("/proc/thread-self/ns/net", str(path), None, _MS_BIND)


def names() -> list[str]:
    """Return the names of the network namespaces of this sandbox."""
    return sorted(path.name for path in NETNS_DIR.glob("*"))


def join(name: str) -> None:
    """Move this thread into a network namespace for good."""
    handle = os.open(NETNS_DIR / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", handle, _CLONE_NEWNET)
    finally:
        os.close(handle)


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Be in a network namespace for a while; sockets opened in it stay in it."""
    with _return_to_own():
        join(name)
        yield


@contextlib.contextmanager
def _return_to_own() -> Iterator[None]:
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        _call("setns", own, _CLONE_NEWNET)
        os.close(own)


def set_sysctl(name: str, key: str, value: str) -> None:
    """Write `net/...` of `/proc/sys` for one network namespace.

    :raises LabError: `/proc/sys` is read-only, as in many containers.
    """
    try:
        with inside(name):
            Path("/proc/sys", key).write_text(value)
    except OSError as error:
        raise LabError(
            f"cannot write /proc/sys/{key} ({error.strerror}): in a container, start "
            "it with --privileged"
        ) from error


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, `parent`, ends."""
    _call("prctl", 1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def _setting(path: str) -> int | None:
    try:
        return int(Path("/proc/sys", path).read_text())
    except (OSError, ValueError):
        return None


def explain(error: OSError, step: str) -> str:
    """Say in one line why there is no sandbox here and what to run instead."""
    root = os.geteuid() == 0
    otherwise = "run " if root else "run `sudo make demo`, or "
    if _setting("user/max_user_namespaces") == 0:
        return (
            "user namespaces are switched off here (user.max_user_namespaces = 0): "
            f"{otherwise}`sudo sysctl user.max_user_namespaces=15000`"
        )
    if not root and _setting("kernel/unprivileged_userns_clone") == 0:
        return (
            "unprivileged user namespaces are switched off here: "
            f"{otherwise}`sudo sysctl kernel.unprivileged_userns_clone=1`"
        )
    if not root and _setting("kernel/apparmor_restrict_unprivileged_userns") == 1:
        return (
            "AppArmor restricts unprivileged user namespaces here (Ubuntu): "
            f"{otherwise}"
            "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
        )
    if error.errno == errno.ENOSPC:
        return (
            "the limit of namespaces is reached: raise user.max_user_namespaces, "
            "user.max_net_namespaces and user.max_mnt_namespaces with sysctl"
        )
    if error.errno in (errno.EINVAL, errno.ENOSYS):
        return f"this kernel has no namespaces ({step}: {error.strerror})"
    return (
        f"namespaces are not allowed here ({step}: {error.strerror}): "
        + ("" if root else "run `sudo make demo`; ")
        + "in a container, start it with --privileged"
    )
