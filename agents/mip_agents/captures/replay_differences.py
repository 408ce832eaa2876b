# SPDX-License-Identifier: GPL-2.0-only
"""Two replies to the same question, held against each other field by field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scapy_mip.const import REPLY_CODES, ReplyCode

_CHOSEN_ANEW = {
    "identification",
    "authenticator",
    "challenge",
    "initial_identification",
    "key_generation_nonce",
    "key_identifier",
    "timestamp",
}
"""What no two replies have in common: times, random numbers, what is made of them."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as it was captured."""

    field: str
    """As in `mip decode --json`, those of extensions with its name in front; `reply`
    where there is one reply only; `extensions` where just their order differs."""
    captured: Any
    """None for what was not there."""
    replied: Any

    def as_json(self) -> dict[str, Any]:
        """Return it as `mip replay --json` shows it."""
        return asdict(self)


def differences(
    captured: Mapping[str, Any] | None, replied: Mapping[str, Any] | None
) -> list[Difference]:
    """Compare two replies, each as `mip decode --json` shows it; None is no reply.

    Left out is what no two replies have in common, such as Identification.
    """
    if captured is None or replied is None:
        if captured is replied:
            return []
        return [Difference("reply", _code(captured), _code(replied))]
    found = _fields("", captured["fields"], replied["fields"])
    if not (_lifetime_counts(captured) or _lifetime_counts(replied)):
        found = [one for one in found if one.field != "lifetime"]
    before, after = _by_name(captured), _by_name(replied)
    for name in {**before, **after}:
        if name in before and name in after:
            found += _fields(f"{name}.", before[name], after[name])
        else:
            found.append(Difference(name, before.get(name), after.get(name)))
    order, now = list(before), list(after)
    if order != now and sorted(order) == sorted(now):
        found.append(Difference("extensions", order, now))
    return found


def _code(reply: Mapping[str, Any] | None) -> Any:
    return None if reply is None else reply["fields"].get("code")


def _lifetime_counts(reply: Mapping[str, Any]) -> bool:
    """Return whether the lifetime says something; in most denials it does not.

    RFC 5944 section 3.4; with code 69 it is what the foreign agent would grant.
    """
    code = REPLY_CODES.get(_code(reply))
    return code is None or code.accepted or code == ReplyCode.FA_LIFETIME_TOO_LONG


def _by_name(reply: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the fields of each extension; the second of a name is `name_2`."""
    count: Counter[str] = Counter()
    found = {}
    for extension in reply["extensions"]:
        name = extension["name"]
        count[name] += 1
        found[name if count[name] == 1 else f"{name}_{count[name]}"] = {
            key: value
            for key, value in extension["fields"].items()
            if key not in _CHOSEN_ANEW
        }
    return found


def _fields(
    prefix: str, captured: Mapping[str, Any], replied: Mapping[str, Any]
) -> list[Difference]:
    return [
        Difference(f"{prefix}{name}", captured.get(name), replied.get(name))
        for name in {**captured, **replied}
        if name not in _CHOSEN_ANEW and captured.get(name) != replied.get(name)
    ]
