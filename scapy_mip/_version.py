# SPDX-License-Identifier: GPL-2.0-only
"""The version of the distribution, in a file that imports nothing."""

__version__ = "0.1.0"
