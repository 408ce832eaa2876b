# SPDX-License-Identifier: GPL-2.0-only
"""How the modules hang together, beyond what import-linter's contracts say."""

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
