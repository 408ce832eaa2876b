# SPDX-License-Identifier: GPL-2.0-only
"""A small Internet in network namespaces, for the demonstration and for tests."""
