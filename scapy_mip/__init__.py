# SPDX-License-Identifier: GPL-2.0-only
"""Mobile IPv4 (RFC 5944 and its family) for Scapy.

`from scapy_mip.all import *` gives every layer and helper. At Scapy's own prompt,
`conf.exts.load("scapy-mip")` followed by `load_contrib("mip")` does the same.
"""

from __future__ import annotations

import pathlib
from typing import Any

from scapy_mip._version import __version__

__all__ = ["__version__", "scapy_ext"]


def scapy_ext(ext: Any) -> None:
    """Tell Scapy's extension loader (a `scapy.config.ScapyExt`) what there is."""
    ext.config("Mobile IPv4", __version__)
    ext.register(
        name="mip",
        mode=ext.MODE.CONTRIB,
        path=pathlib.Path(__file__).with_name("_contrib.py"),
    )
