# SPDX-License-Identifier: GPL-2.0-only
"""A foreign agent for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mip_agents.node import arguments
from mip_agents.node.agents import OnEvent, Server
from mip_agents.node.aio import AsyncForeignAgent
from mip_agents.protocol.advertise import MAX_CARE_OF_ADDRESSES
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.policy import AdvertisementPolicy, ForeignAgentPolicy
from mip_agents.protocol.security import SecurityTable, parse_security
from mip_agents.runtime.agent import Agent
from scapy_mip.const import LIFETIME_INFINITE

Keys = Mapping[str, Mapping[int, str | bytes]]
"""Keys by peer and SPI, as `{"10.1.1.20": {300: "1234567812345678"}}`."""


class ForeignAgent(Server[AsyncForeignAgent]):
    """A foreign agent on visited links.

    `ForeignAgent(interfaces=["eth1"], care_of_addresses=["10.1.2.1"]).run()`

    :param interfaces: visited links, on which it advertises itself.
    :param care_of_addresses: addresses of ours that nodes register.
    :param mobile_nodes: keys shared with visitors (MFAE), by home address or prefix.
    :param home_agents: keys shared with home agents (FHAE), by address.
    :param reverse_tunnel: `off`, `optional` or `required`.
    :param advertisement_interval: seconds, at most; 0: only when solicited.
    :param control_socket: for `mip visitors --socket`; None: no control interface.
    :param dataplane: `auto`, `tun`, or `none` to carry no packets.
    :param on_event: called with each event as a dictionary, as `mip watch` shows it.
    :raises MipError: for arguments that cannot be.
    """

    _facade = AsyncForeignAgent

    def __init__(
        self,
        *,
        interfaces: Iterable[str],
        care_of_addresses: Iterable[str],
        mobile_nodes: Keys | None = None,
        home_agents: Keys | None = None,
        encapsulations: Iterable[str] = ("ipip", "gre"),
        reverse_tunnel: str = "optional",
        registration_lifetime: int = 1800,
        registration_required: bool = True,
        advertisement_interval: float = 3.0,
        max_pending: int = 5,
        max_visitors: int = 1000,
        control_socket: Path | str | None = None,
        dataplane: str = "auto",
        ntp_server: str | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        options = arguments.make_options(
            state_dir=None,
            control_socket=control_socket,
            dataplane=dataplane,
            ntp_server=ntp_server,
            listen="0.0.0.0",
        )
        super().__init__(options, on_event)
        between = arguments.between
        links = arguments.some("interfaces", interfaces)
        addresses = arguments.some("care_of_addresses", care_of_addresses)
        if len(addresses) > MAX_CARE_OF_ADDRESSES:
            raise MipError(f"care_of_addresses: allowed: up to {MAX_CARE_OF_ADDRESSES}")
        self._given = ForeignAgentPolicy(
            interfaces=links,
            care_of_addresses=tuple(
                arguments.address("care_of_addresses", one) for one in addresses
            ),
            advertisement=AdvertisementPolicy(
                interval=arguments.seconds(
                    "advertisement_interval", advertisement_interval, 0, 1800
                )
            ),
            registration_lifetime=between(
                "registration_lifetime", registration_lifetime, 1, LIFETIME_INFINITE
            ),
            registration_required=registration_required,
            encapsulations=frozenset(
                arguments.encapsulation("encapsulations", name)
                for name in encapsulations
            ),
            reverse_tunnel=arguments.reverse_tunnel("reverse_tunnel", reverse_tunnel),
            max_pending=between("max_pending", max_pending, 1, 10000),
            max_visitors=between("max_visitors", max_visitors, 1, 10000),
            mobile_nodes=_table("mobile_nodes", mobile_nodes or {}),
            home_agents=_table("home_agents", home_agents or {}),
        )

    async def _policy(self) -> ForeignAgentPolicy:
        return self._given

    def visitors(self) -> list[dict[str, Any]]:
        """Return visitors and pending requests, as `mip visitors --json` does."""
        return self._reach().read(Agent.visitors)


def _table(name: str, keys: Keys) -> SecurityTable:
    table = SecurityTable()
    for peer, security in keys.items():
        try:
            for association in parse_security(security):
                table.add(peer, association)
        except ValueError as error:
            raise MipError(f"{name}: {error}") from None
    return table
