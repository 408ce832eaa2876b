# SPDX-License-Identifier: GPL-2.0-only
"""A world in one process: the real engines on a virtual clock, and what goes wrong."""
