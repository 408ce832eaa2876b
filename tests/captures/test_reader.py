# SPDX-License-Identifier: GPL-2.0-only
"""Capture files that are damaged: one clear error, whatever Scapy makes of them."""

import zlib

import pytest

from mip_agents.captures import reader
from mip_agents.captures.reader import CaptureError, read_frames

BAD_BLOCK = "1f8b08000000000000ff070000000000"


def test_damaged_compression_is_one_line(tmp_path):
    path = tmp_path / "damaged.pcap.gz"
    path.write_bytes(bytes.fromhex(BAD_BLOCK))
    with pytest.raises(CaptureError) as caught:
        list(read_frames(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_what_an_older_scapy_lets_through_is_the_same(tmp_path, monkeypatch):
    """Scapy 2.7 raises this for the file above."""

    def opened(_path):
        return zlib.decompress(bytes.fromhex(BAD_BLOCK), 31)

    monkeypatch.setattr(reader, "RawPcapReader", opened)
    with pytest.raises(CaptureError, match="Error -3 while decompressing"):
        list(read_frames(tmp_path / "any.pcap"))
