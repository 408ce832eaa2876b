# SPDX-License-Identifier: GPL-2.0-only
"""The engines: Mobile IP as values in, values out. No clock, no socket, no kernel."""
