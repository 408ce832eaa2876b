# SPDX-License-Identifier: GPL-2.0-only
"""`python -m mip_agents.cli`: the same as the command `mip`."""

from __future__ import annotations

import sys

from mip_agents.cli import main

if __name__ == "__main__":
    sys.exit(main())
