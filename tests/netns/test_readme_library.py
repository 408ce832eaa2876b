# SPDX-License-Identifier: GPL-2.0-only
"""The agents as a library, run as the README writes them."""

import re
import sys
from pathlib import Path

import pytest

from mip_agents.lab.processes import Children
from mip_agents.lab.topology import Topology

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.netns
def test_the_readme_registers_a_node_with_a_home_agent(sandbox, tmp_path):
    text = README.read_text(encoding="utf-8")
    home_agent, mobile_node = re.findall(
        r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    output = tmp_path / "mobile-node.out"

    def story():
        topology = Topology()
        topology.plug("eth0", "visited-a")
        with Children() as children:
            children.execute(
                "home agent",
                [sys.executable, "-c", home_agent],
                namespace="ha",
                log=tmp_path / "home-agent.out",
            )
            node = children.execute(
                "mobile node",
                [sys.executable, "-c", mobile_node],
                namespace="mn",
                log=output,
            )
            return node.wait(30)

    code = sandbox(story)
    assert (code, output.read_text()) == (0, "registered\n")
