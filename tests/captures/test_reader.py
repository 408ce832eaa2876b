# SPDX-License-Identifier: GPL-2.0-only
"""Capture files that are damaged: one clear error."""

import pytest

from mip_agents.captures.reader import CaptureError, read_frames

BAD_BLOCK = "1f8b08000000000000ff070000000000"


def test_damaged_compression_is_one_line(tmp_path):
    path = tmp_path / "damaged.pcap.gz"
    path.write_bytes(bytes.fromhex(BAD_BLOCK))
    with pytest.raises(CaptureError) as caught:
        list(read_frames(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1
