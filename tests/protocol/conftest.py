# SPDX-License-Identifier: GPL-2.0-only
"""What holds for every test of the engines."""

import pytest

from support import scenario


@pytest.fixture(autouse=True)
def no_scenario_is_forgotten():
    """Fail a test whose scenario is never asserted: it could expect anything."""
    scenario.running.clear()
    yield
    forgotten = len(scenario.running)
    scenario.running.clear()
    assert not forgotten, f"{forgotten} scenario(s) never asserted"
