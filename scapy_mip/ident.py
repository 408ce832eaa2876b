# SPDX-License-Identifier: GPL-2.0-only
"""The 64-bit Identification: NTP timestamps and nonces, with integers alone.

A double has 53 bits: a peer that keeps Identification in one rejects nearly every valid
request. Nothing here ever divides into a fraction. RFC 5944 section 5.7.
"""

from __future__ import annotations

import datetime

from scapy_mip.const import NTP_UNIX_OFFSET

_NANOSECONDS = 1_000_000_000
LOW_MASK = 0xFFFFFFFF


def from_unix_ns(unix_ns: int) -> int:
    """Turn nanoseconds since 1970, as from `time.time_ns()`, into NTP time.

    >>> hex(from_unix_ns(0))
    '0x83aa7e8000000000'
    """
    seconds, fraction = divmod(unix_ns, _NANOSECONDS)
    high = (seconds + NTP_UNIX_OFFSET) & LOW_MASK
    return (high << 32) | ((fraction << 32) // _NANOSECONDS)


def to_unix_ns(identification: int) -> int:
    """Turn NTP time (era 0, until 2036) into nanoseconds since 1970."""
    high, low = split(identification)
    return (high - NTP_UNIX_OFFSET) * _NANOSECONDS + ((low * _NANOSECONDS) >> 32)


def split(identification: int) -> tuple[int, int]:
    """Return the high and the low 32 bits."""
    return identification >> 32, identification & LOW_MASK


def join(high: int, low: int) -> int:
    """Put an Identification together from its halves."""
    return ((high & LOW_MASK) << 32) | (low & LOW_MASK)


def seconds(count: int) -> int:
    """Return whole seconds as a difference of two NTP times."""
    return count << 32


def difference(one: int, other: int) -> int:
    """Return `one - other` in units of 2**-32 s, right across the era change of 2036.

    The nearer way around the 64-bit circle counts.
    """
    delta = (one - other) & 0xFFFFFFFFFFFFFFFF
    return delta - (1 << 64) if delta >> 63 else delta


def format_ntp(identification: int) -> str:
    """Show NTP time as UTC text with microseconds.

    >>> format_ntp(0xEEAE41413EE6B800)
    '2026-11-23 04:36:17.245707 UTC'
    """
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    microseconds = to_unix_ns(identification) // 1000
    moment = epoch + datetime.timedelta(microseconds=microseconds)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f UTC")
