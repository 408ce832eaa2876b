# SPDX-License-Identifier: GPL-2.0-only
"""The shell around an engine: clock, sockets, disk, control interface, one driver."""
