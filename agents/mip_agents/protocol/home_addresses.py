# SPDX-License-Identifier: GPL-2.0-only
"""Which home address a request is about: its own, or one from a pool (HA-16, HA-24).

A node that is known by its NAI may leave the address out, and keeps what it is given. A
node that is known by its address has that one.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from mip_agents.protocol.bindings import Bindings
from mip_agents.protocol.effects import LeaseRecord
from mip_agents.protocol.leases import Leases
from mip_agents.protocol.names import canonical
from mip_agents.protocol.policy import HomeAgentPolicy
from mip_agents.protocol.request_checks import Asked, Denied, serves
from mip_agents.protocol.view import Request
from scapy_mip.const import ReplyCode

NO_ADDRESS = "0.0.0.0"


class HomeAddresses:
    """Knows nodes by name and by address.

    :param is_busy: whether an address has a binding now, or is about to.
    """

    def __init__(self, policy: HomeAgentPolicy, is_busy: Callable[[str], bool]) -> None:
        self._policy = policy
        self._leases = Leases(self._may_be_leased, is_busy)
        self._lease_of = self._leases.lease_of

    @property
    def leased(self) -> int:
        """How many addresses are leased."""
        return len(self._leases)

    def name_of(self, home_address: str) -> str | None:
        """Return the NAI of whoever has leased an address."""
        return self._leases.name_of(home_address)

    def node_of(self, home_address: str) -> str:
        """Return whom an address belongs to: an NAI, or itself."""
        lease = self._lease_of(home_address)
        return home_address if lease is None else lease.nai

    def identify(self, request: Request) -> str:
        """Return whom a request claims to be from: an NAI, or a home address."""
        if request.nai is not None:
            name = canonical(request.nai)
            if name is not None and self._policy.any_association(name) is not None:
                return name
        return self.node_of(request.home_address)

    def known_address(self, node: str, request: Request) -> str:
        """Return the address in a request, or what the node has where none is."""
        home_address = request.home_address
        if home_address == NO_ADDRESS and "@" in node:
            return self._leases.address_of(node) or NO_ADDRESS
        return home_address

    def recall(self, asked: Asked) -> Asked:
        """Fill in the address of a node that has one already and left it out."""
        if asked.request.home_address != NO_ADDRESS:
            return asked
        known = self.known_address(asked.node, asked.request)
        if known == NO_ADDRESS:
            return asked
        return _with_address(asked, known)

    def settle(self, asked: Asked, before: Bindings) -> Asked | Denied:
        """Return the request with the home address that it gets, or a denial.

        :param before: the bindings that the address has.
        """
        home_address = asked.request.home_address
        if not asked.is_named:
            # What has a binding was found to be served, at the start as well.
            if before or serves(self._policy, home_address):
                return asked
            prohibited = ReplyCode.HA_ADMINISTRATIVELY_PROHIBITED
            return Denied(prohibited, "HA-16", "not a host of the home network")
        named = self._policy.named_nodes.find(asked.node, asked.mobile_home.spi)
        assert named is not None  # its association is what vouches for the request
        if home_address != NO_ADDRESS:
            if self._leases.may_have(asked.node, named.pool, home_address):
                return asked
            prohibited = ReplyCode.HA_ADMINISTRATIVELY_PROHIBITED
            return Denied(prohibited, "HA-16", "not an address for this name")
        chosen = self._leases.choose(asked.node, named.pool)
        if chosen is None:
            code = ReplyCode.HA_INSUFFICIENT_RESOURCES
            return Denied(code, "HA-24", "the address pool is exhausted")
        return _with_address(asked, chosen)

    def grant(self, asked: Asked, moment: int, *, again: bool) -> LeaseRecord | None:
        """Note that a node is given its address; return what is to be journaled.

        :param again: also where it has it already, since it begins to use it.
        """
        home_address = asked.request.home_address
        if not asked.is_named:
            return None
        if not again and self.node_of(home_address) == asked.node:
            return None
        return self._leases.grant(asked.node, home_address, moment)

    def restore(self, leases: tuple[LeaseRecord, ...]) -> None:
        """Take over the leases of a former process."""
        for lease in sorted(leases, key=lambda lease: lease.granted):
            self._leases.grant(lease.nai, lease.home_address, lease.granted)

    def _may_be_leased(self, address: str) -> bool:
        """Return whether an address of a pool is nobody's own."""
        policy = self._policy
        return serves(policy, address) and not policy.mobile_nodes.has_own(address)


def _with_address(asked: Asked, home_address: str) -> Asked:
    request = asked.request
    care_of_address = request.care_of_address
    if care_of_address == request.home_address:
        # A node at home without its address means itself by both (HA-19).
        care_of_address = home_address
    return replace(
        asked,
        request=replace(
            request, home_address=home_address, care_of_address=care_of_address
        ),
    )
