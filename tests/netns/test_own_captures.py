# SPDX-License-Identifier: GPL-2.0-only
"""Requests of our captures, sent again to a home agent of the same configuration."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from mip_agents.captures.replay import ReplayOptions, replay_file
from mip_agents.lab.topology import HOME_AGENT
from mip_agents.node.background import BackgroundAgent
from mip_agents.runtime.agent import Agent
from mip_agents.runtime.config import load_config
from support.manifest import PCAPS, decoded, entries, is_own, ring_of
from support.netns import isolated, sh
from support.recordings.scene import Scene, toml
from support.recordings.scenes import SCENES


def askers(path: Path) -> list[str]:
    """Return where the requests come from that go to the home agent."""
    return [
        record["src"]
        for record in decoded(path)
        if (record["message"], record["dst"]) == ("registration_request", HOME_AGENT)
    ]


@contextlib.contextmanager
def home_agent(scene: Scene, folder: Path) -> Iterator[None]:
    """Run the home agent of a scene, without a memory, and without packets to carry."""
    path = folder / f"{scene.name}.toml"
    path.touch(mode=0o600)
    path.write_text(toml(scene.agents["ha"]))
    config = load_config(path)
    options = dataclasses.replace(
        config.options, state_dir=None, control_socket=None, dataplane="none"
    )
    policy = dataclasses.replace(config.policy, advertisement=None)

    async def make() -> Agent:
        return Agent(policy, options)

    agent = BackgroundAgent(make)
    agent.start()
    try:
        yield
    finally:
        agent.stop()


@isolated
def test_what_a_home_agent_answered_it_answers_again(tmp_path):
    """With fresh Identification the same code and the same extensions come."""
    scenes = {name: scene for scene in SCENES.values() for name in scene.links}
    captures = {
        entry["file"]: (entry, askers(PCAPS / entry["file"]))
        for entry in entries()
        if is_own(entry)
    }
    everywhere = {source for _, sources in captures.values() for source in sources}
    for address in sorted({HOME_AGENT, *everywhere}):
        sh(f"ip address add {address}/32 dev lo")
    codes, differences = set(), {}
    for file, (entry, sources) in captures.items():
        if not sources:
            continue
        options = ReplayOptions(
            to=HOME_AGENT,
            captured_to=HOME_AGENT,
            source=sources[0],
            fresh=True,
            keys=ring_of(entry),
            timeout=5.0,
        )
        with home_agent(scenes[Path(file).stem], tmp_path):
            outcomes = list(replay_file(PCAPS / file, options))
        assert len(outcomes) == len(sources), file
        codes |= {one.replied["fields"]["code"] for one in outcomes if one.replied}
        changed = [one.differences for one in outcomes if not one.is_same]
        if changed:
            differences[file] = changed
    assert differences == {}
    assert len(codes) > 10
