# SPDX-License-Identifier: GPL-2.0-only
"""The scenes that are recorded, by what they are about."""

from __future__ import annotations

from support.recordings.scene import Scene
from support.recordings.scenes import discovery, foreign_agents, home_agents, tunnels

SCENES: dict[str, Scene] = {
    scene.name: scene
    for chapter in (tunnels, discovery, home_agents, foreign_agents)
    for scene in chapter.SCENES
}
"""Every scene by its name."""
