# SPDX-License-Identifier: GPL-2.0-only
"""Rates: how often something may happen on average, and how often in a row."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class TokenBucket:
    """A rate with a burst. Full at first; times are monotonic seconds.

    :param rate: events per second in the long run.
    :param burst: events at once after a quiet time.
    """

    __slots__ = ("_burst", "_rate", "_stamp", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._stamp: float | None = None

    def _fill(self, now: float) -> None:
        if self._stamp is not None:
            grown = self._tokens + (now - self._stamp) * self._rate
            self._tokens = min(self._burst, grown)
        self._stamp = now

    def take(self, now: float) -> bool:
        """Return whether the event may happen now, and count it if so."""
        self._fill(now)
        # A wait computed by `ready_at` must suffice in spite of rounding.
        if self._tokens < 1 - 1e-6:
            return False
        self._tokens = max(0.0, self._tokens - 1)
        return True

    def is_ready(self, now: float) -> bool:
        """Return whether `take` would say yes."""
        # What is there does not become less with time.
        return self._tokens >= 1 or self.ready_at(now) <= now

    def ready_at(self, now: float) -> float:
        """Return the second from which `take` says yes."""
        self._fill(now)
        return now + max(0.0, 1 - self._tokens) / self._rate


class RateLimiter(Generic[K]):
    """One bucket for each key and one for all of them, or some for groups of them.

    It bounds what strangers can make us send. The table of keys is bounded as well:
    the key that was quiet longest is forgotten first, and since forged keys would
    make each event look like the first of its key, a common bucket has the last word.
    With several of them, whoever forges keys of some groups uses up no other's.

    :param rate: events per second for one key; `burst` of them at once.
    :param total: events per second, and at once, for all keys of a common bucket.
    :param keys: how many keys are remembered.
    :param commons: how many common buckets there are.
    :param group_of: the number of the group of a key, however large.
    """

    def __init__(
        self,
        rate: float,
        burst: float,
        total: float,
        keys: int = 4096,
        *,
        commons: int = 1,
        group_of: Callable[[K], int] = lambda _key: 0,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._keys = keys
        self._group_of = group_of
        self._commons = [TokenBucket(total, total) for _ in range(commons)]
        self._buckets: OrderedDict[K, TokenBucket] = OrderedDict()

    def _common(self, key: K) -> TokenBucket:
        return self._commons[self._group_of(key) % len(self._commons)]

    def would_allow(self, key: K, now: float) -> bool:
        """Return whether the event may happen now, without counting it."""
        if not self._buckets:
            return True
        bucket = self._buckets.get(key)
        ready = bucket is None or bucket.is_ready(now)
        return ready and self._common(key).is_ready(now)

    def allow(self, key: K, now: float) -> bool:
        """Return whether the event may happen now, and count it if so."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._rate, self._burst)
            if len(self._buckets) > self._keys:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket.take(now) and self._common(key).take(now)

    def __len__(self) -> int:
        return len(self._buckets)


def neighbourhood(address: str) -> int:
    """Return the first 16 bits of an IPv4 address: who forges some can forge most.

    >>> neighbourhood("10.1.2.3")
    2561
    """
    first, second, _rest = address.split(".", 2)
    return int(first) << 8 | int(second)
