# SPDX-License-Identifier: GPL-2.0-only
"""Captures of our own agents: scenes, the stage that plays them, and the manifest."""
