# SPDX-License-Identifier: GPL-2.0-only
"""Everything that changes the kernel's networking or moves a tunnelled packet."""
