# SPDX-License-Identifier: GPL-2.0-only
"""Sandboxes for tests: each in a process of its own, or skipped with the reason."""

from functools import cache

import pytest

from mip_agents.lab import processes

why_no_sandbox = cache(processes.why_no_sandbox)


@pytest.fixture
def sandbox():
    """Give the function that runs a callable in a fresh sandbox."""
    reason = why_no_sandbox()
    if reason is not None:
        pytest.skip(f"network namespaces: {reason}")

    def run(function):
        return processes.run_in_sandbox(lambda _how: function())

    return run
