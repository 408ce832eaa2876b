# SPDX-License-Identifier: GPL-2.0-only
"""How the modules hang together, beyond what import-linter's contracts say."""

import subprocess
import sys

import grimp


def test_no_two_modules_import_each_other():
    graph = grimp.build_graph("scapy_mip", "mip_agents", cache_dir=None)
    pairs = {
        frozenset((module, imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if graph.direct_import_exists(importer=imported, imported=module)
    }
    assert pairs == set()


def test_messages_do_without_scapys_ip_layers():
    """They are a third of what an agent would import, and it reads from sockets."""
    code = "import mip_agents.protocol.view, sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert "scapy_mip.registration" in loaded
    assert not {"scapy.all", "scapy.layers.inet"} & loaded
