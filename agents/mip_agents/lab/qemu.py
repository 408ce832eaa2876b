# SPDX-License-Identifier: GPL-2.0-only
"""QEMU with a stock Debian kernel and two processors, by KVM or in software (TCG).

Slower to start than User Mode Linux, and in software several times slower throughout;
but one processor can send while the other changes a route. The host's files come by 9p.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from mip_agents.lab import guest, packages
from mip_agents.lab.machine import Launch, Order, carry_out
from mip_agents.lab.modules import in_order
from mip_agents.lab.namespaces import LabError

QEMU = "qemu-system-x86_64"
KVM_DEVICE = Path("/dev/kvm")

_KERNEL_PACKAGE = "linux-image-amd64"
_SHELL_PACKAGE = "busybox-static"
_ROOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p")
_NINE_P = "trans=virtio,version=9p2000.L,cache=loose,msize=512000"
_PROBE_S = 10.0

_INIT = """\
#!/bin/busybox sh
busybox mount -t devtmpfs dev /dev
for module in {modules}; do busybox insmod /$module; done
busybox mount -t 9p -o ro,{options} root /root
busybox mount -o move /dev /root/dev
exec busybox switch_root /root {command}
"""


def problem() -> str | None:
    """Say why QEMU cannot work here, as far as that can be told without a download."""
    if platform.machine() != "x86_64":
        return f"it boots x86-64, not {platform.machine()}"
    if shutil.which(QEMU) is None:
        return f"no {QEMU}: sudo apt install qemu-system-x86"
    return None


def kvm_problem() -> str | None:
    """Say why KVM cannot work here; tried, since a device is no promise."""
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return f"no access to {KVM_DEVICE}"
    reason = problem()
    if reason is not None:
        return reason
    try:
        run_kvm(Order(["true"], Path("/"), os.environ, _PROBE_S))
    except LabError as error:
        return f"a trial did not boot: {error}"
    return None


def run_kvm(order: Order) -> int:
    """Run an order by KVM; the exceptions are those of `run_tcg`."""
    return _run(order, ("-accel", "kvm", "-cpu", "host"))


def run_tcg(order: Order) -> int:
    """Run an order in software.

    :raises UnavailableError: a package cannot be had.
    :raises LabError: the machine failed.
    """
    return _run(order, ("-accel", "tcg,thread=multi", "-cpu", "max"))


def _run(order: Order, processor: tuple[str, ...]) -> int:
    files = packages.unpacked(packages.real_name(_KERNEL_PACKAGE))
    (kernel,) = (files / "boot").glob("vmlinuz-*")
    busybox = packages.unpacked(_SHELL_PACKAGE) / "bin/busybox"

    def launch(shared: Path) -> Launch:
        image = shared.parent / "initramfs"
        image.write_bytes(_initramfs(busybox, files / "lib/modules"))
        share = "local,security_model=none,multidevs=remap"
        command = [
            QEMU, "-M", "q35", *processor, "-smp", "2", "-m", "2048",
            "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio",
            "-kernel", str(kernel), "-initrd", str(image),
            "-append", "console=ttyS0 quiet panic=-1 mitigations=off",
            "-virtfs", f"{share},path=/,mount_tag=root,readonly=on",
            "-virtfs", f"{share},path={shared},mount_tag=shared",
        ]  # fmt: skip
        return Launch(command, os.environ)

    return carry_out(order, files / "lib/modules", launch)


def _initramfs(busybox: Path, modules: Path) -> bytes:
    """Return an archive with what it takes to reach the host's files."""
    needed = list(in_order(modules, _ROOT_MODULES))
    command = shlex.join(
        [
            str(Path(sys.executable).resolve()),
            "-I",
            "-S",
            str(Path(guest.__file__).resolve()),
            "9p",
            "shared",
            _NINE_P,
        ]
    )
    init = _INIT.format(
        modules=" ".join(path.name for path in needed), options=_NINE_P, command=command
    )
    members = [(name, 0o040755, b"") for name in ("bin", "dev", "root")]
    members += [
        ("bin/busybox", 0o100755, busybox.read_bytes()),
        ("init", 0o100755, init.encode()),
    ]
    members += [(path.name, 0o100644, path.read_bytes()) for path in needed]
    return b"".join(_cpio(members))


def _cpio(members: list[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """Give the parts of a `newc` archive: name, mode and content of each member."""
    for number, (name, mode, data) in enumerate([*members, ("TRAILER!!!", 0, b"")], 1):
        path = name.encode() + b"\0"
        fields = (
            number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0,
        )  # fmt: skip
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
        yield head + bytes(-len(head) % 4)
        yield data + bytes(-len(data) % 4)
