# SPDX-License-Identifier: GPL-2.0-only
"""Captures as evidence: reading, decoding and judging what was on the wire."""
