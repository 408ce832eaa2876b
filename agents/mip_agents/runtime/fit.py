# SPDX-License-Identifier: GPL-2.0-only
"""A policy cut down to what the data plane can carry, so that nothing else is promised.

An agent then refuses an encapsulation that it cannot make (139, RT-05; 72, RT-04), and
a home agent says that it has no simultaneous bindings (code 1, HA-18), where it would
otherwise fail to install the tunnel. What is sent to many and cannot be carried is not
asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mip_agents.dataplane.api import Dataplane
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.policy import (
    AgentPolicy,
    CareOf,
    DeliveryStyle,
    ForeignAgentPolicy,
    MobileNodePolicy,
)
from scapy_mip.const import Encapsulation


def fit(policy: AgentPolicy, dataplane: Dataplane) -> tuple[AgentPolicy, list[str]]:
    """Return the policy for a data plane, and what was taken away, a phrase for each.

    :raises MipError: nothing is left.
    """
    if isinstance(policy, MobileNodePolicy):
        if policy.encapsulation not in dataplane.encapsulations:
            raise _nothing_left(dataplane, [policy.encapsulation])
        return _fit_node(policy, dataplane)
    taken = []
    left = policy.encapsulations & dataplane.encapsulations
    if not left:
        raise _nothing_left(dataplane, policy.encapsulations)
    if left != policy.encapsulations:
        taken.append(f"encapsulation {_names(policy.encapsulations - left)}")
    if isinstance(policy, ForeignAgentPolicy):
        return replace(policy, encapsulations=left), taken
    most = policy.max_bindings_per_node
    if most > 1 and not dataplane.copies:
        taken.append("simultaneous bindings")
        most = 1
    spread = policy.broadcasts & dataplane.categories
    if spread != policy.broadcasts:
        lacking = sorted(policy.broadcasts - spread)
        taken.append(f"broadcasts of kind {', '.join(lacking)}")
    fitted = replace(
        policy,
        encapsulations=left,
        max_bindings_per_node=most,
        broadcasts=spread,
    )
    return fitted, taken


def _fit_node(
    policy: MobileNodePolicy, dataplane: Dataplane
) -> tuple[MobileNodePolicy, list[str]]:
    taken = []
    if policy.broadcasts and not dataplane.categories:
        policy = replace(policy, broadcasts=False)
        taken.append("broadcasts")
    if encapsulates(policy) and not dataplane.encapsulating:
        policy = replace(policy, delivery_style=DeliveryStyle.DIRECT)
        taken.append("encapsulating delivery")
    return policy, taken


def encapsulates(policy: MobileNodePolicy) -> bool:
    """Tell whether packets may have to go to a foreign agent in a tunnel (RT-01)."""
    return (
        policy.reverse_tunnel
        and policy.care_of is not CareOf.CO_LOCATED
        and policy.delivery_style is DeliveryStyle.ENCAPSULATING
    )


def _nothing_left(dataplane: Dataplane, asked: Iterable[Encapsulation]) -> MipError:
    return MipError(
        f'the data plane "{dataplane.name}" cannot carry {_names(asked)}; it can carry '
        f'{_names(dataplane.encapsulations)}; choose among these, or dataplane = "tun"'
    )


def _names(encapsulations: Iterable[Encapsulation]) -> str:
    return ", ".join(one.title for one in sorted(encapsulations))
