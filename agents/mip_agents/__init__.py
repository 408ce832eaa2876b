# SPDX-License-Identifier: GPL-2.0-only
"""Mobile IPv4 agents for Linux, made of the layers of `scapy_mip`."""
