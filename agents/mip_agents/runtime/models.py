# SPDX-License-Identifier: GPL-2.0-only
"""The shape of configuration files as pydantic models; the checks of single values.

Only `mip_agents.runtime.config` uses them. What this version cannot do is refused here
and not accepted in silence.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
)

from mip_agents.protocol.advertise import MAX_CARE_OF_ADDRESSES
from mip_agents.protocol.names import canonical
from mip_agents.protocol.policy import (
    ALL_SYSTEMS,
    LIMITED_BROADCAST,
    CareOf,
    DeliveryStyle,
    ReverseTunnel,
)
from mip_agents.protocol.pools import AddressPool
from mip_agents.protocol.quirks import NodeQuirk
from mip_agents.protocol.security import ReplayStyle
from mip_agents.protocol.tunnel import Category
from mip_agents.runtime.keys import KEY_NAMES, resolve_key
from mip_agents.runtime.options import DATAPLANES, QUIRKS
from scapy_mip.auth import Algorithm
from scapy_mip.const import (
    AGENT_ADVERTISEMENT_CODES,
    LIFETIME_INFINITE,
    REPLAY_TOLERANCE_DEFAULT,
    SPI_RESERVED_MAX,
)


def _address(text: str) -> str:
    try:
        address = IPv4Address(text)
    except ValueError:
        raise ValueError(
            "not an IPv4 address; allowed: four numbers such as 10.1.1.20"
        ) from None
    if address.is_multicast or address.is_unspecified or int(address) == 0xFFFFFFFF:
        raise ValueError("not a unicast address; allowed: the address of one host")
    return str(address)


def _network(text: str) -> str:
    try:
        return str(IPv4Network(text))
    except ValueError as error:
        if "host bits" in str(error):
            raise ValueError(
                "has bits set behind its prefix length; "
                f"allowed: {IPv4Network(text, strict=False)}"
            ) from None
        raise ValueError(
            "not an IPv4 prefix; allowed: address/length such as 10.1.1.0/24"
        ) from None


def _peer(text: str) -> str:
    return _network(text) if "/" in text else _address(text)


def _pool_entry(text: str) -> str:
    try:
        AddressPool.parse([text])
    except ValueError:
        raise ValueError(
            "not a range of addresses; allowed: one such as 10.1.1.100-10.1.1.150, "
            "a prefix or an address"
        ) from None
    return text


def _nai(text: str) -> str:
    name = canonical(text)
    if name is None:
        raise ValueError("not an NAI; allowed: user@realm, or @realm for all of it")
    return name


def _path(text: str) -> str:
    # A line end in a path would be one in the texts that name it.
    if not text or not text.isprintable():
        raise ValueError(
            "no path; allowed: the path of a file or folder, in printable characters"
        )
    return text


def _socket_path(text: str) -> str:
    # sockaddr_un has 108 bytes with a zero at the end.
    if len(_path(text).encode()) > 107:
        raise ValueError("too long for a unix socket; allowed: up to 107 bytes")
    return text


def _interface(name: str) -> str:
    if not 0 < len(name.encode()) < 16 or "/" in name or name.split() != [name]:
        raise ValueError(
            "not the name of an interface; allowed: 1 to 15 characters as `ip link` "
            "shows them"
        )
    return name


def _advertisement_interval(seconds: float) -> float:
    # RFC 1256 section 4.1 has half an hour at most; its least, 4 s, is not for movers.
    if seconds != 0 and not 0.1 <= seconds <= 1800:
        raise ValueError(
            "out of range; allowed: 0.1 to 1800 seconds, or 0: only when solicited"
        )
    return seconds


def _icmp_code(code: int) -> int:
    if code not in AGENT_ADVERTISEMENT_CODES:
        meanings = (
            f"{one} ({what})" for one, what in AGENT_ADVERTISEMENT_CODES.items()
        )
        raise ValueError(f"not a known code; allowed: {', '.join(meanings)}")
    return code


def _visitors_reverse_tunnel(value: Any) -> ReverseTunnel:
    known = {
        False: ReverseTunnel.OFF,
        True: ReverseTunnel.OPTIONAL,
        ReverseTunnel.REQUIRED.value: ReverseTunnel.REQUIRED,
    }
    if not isinstance(value, (bool, str)) or value not in known:
        raise ValueError(
            'not one of the known values; allowed: true, false, "required"'
        )
    return known[value]


def _fitting(addresses: list[str]) -> list[str]:
    if len(addresses) > MAX_CARE_OF_ADDRESSES:
        raise ValueError(
            f"do not fit into an advertisement; allowed: up to {MAX_CARE_OF_ADDRESSES}"
        )
    return addresses


def _pending_timeout(seconds: float) -> float:
    if not 0.1 <= seconds <= 60:
        raise ValueError("out of range; allowed: 0.1 to 60 seconds")
    return seconds


def _allowed(*names: str) -> BeforeValidator:
    """Make a check for one of `names`."""
    text = "allowed: " + ", ".join(f'"{name}"' for name in names)

    def check(value: Any) -> Any:
        if value not in names:
            raise ValueError(f"not one of the known values; {text}")
        return value

    return BeforeValidator(check)


def _between(lowest: int, highest: int) -> AfterValidator:
    """Make a check for a range."""

    def check(value: int) -> int:
        if not lowest <= value <= highest:
            raise ValueError(f"out of range; allowed: {lowest} to {highest}")
        return value

    return AfterValidator(check)


def _unsupported(instead: str) -> BeforeValidator:
    """Make a check that refuses a key which this version does not support."""

    def check(_: Any) -> Any:
        raise ValueError(f"not supported by this version; allowed: {instead}")

    return BeforeValidator(check)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _unique(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise ValueError("has an entry twice; allowed: each once")
    return names


Address = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]
Peer = Annotated[str, AfterValidator(_peer)]
FilePath = Annotated[str, AfterValidator(_path)]
SocketPath = Annotated[str, AfterValidator(_socket_path)]
Interface = Annotated[str, AfterValidator(_interface)]
Spi = Annotated[int, _between(SPI_RESERVED_MAX + 1, 0xFFFFFFFF)]  # COM-09
Lifetime = Annotated[int, _between(1, LIFETIME_INFINITE)]
EncapsulationName = Annotated[str, _allowed("ipip", "gre", "minimal")]
AlgorithmName = Annotated[str, _allowed(*(member.value for member in Algorithm))]
Nai = Annotated[str, AfterValidator(_nai)]
Pool = Annotated[
    list[Annotated[str, AfterValidator(_pool_entry)]],
    Field(min_length=1),
    BeforeValidator(_listed),
]
Server = Annotated[str, Field(min_length=1)]


class Table(BaseModel):
    """A table that refuses unknown keys and wrong types, and repeats no value."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True
    )


class SecurityKeys(Table):
    """The keys of a table that describe a security association."""

    spi: Spi
    algorithm: AlgorithmName = Algorithm.HMAC_MD5.value
    key_hex: SecretStr | None = None
    key_text: SecretStr | None = None
    key_file: FilePath | None = None

    def key(self, folder: Path) -> bytes:
        """Return the key.

        :raises ValueError: it is missing, given twice or unreadable.
        """
        return resolve_key(
            key_hex=None if self.key_hex is None else self.key_hex.get_secret_value(),
            key_text=(
                None if self.key_text is None else self.key_text.get_secret_value()
            ),
            key_file=self.key_file,
            folder=folder,
        )

    def key_name(self) -> str:
        """Return the name of the key that was given, for an error."""
        given = [name for name in KEY_NAMES if getattr(self, name) is not None]
        return given[0] if given else KEY_NAMES[0]


class ServedNode(SecurityKeys):
    """`[[mobile_node]]` of a home agent."""

    home_address: Peer | None = None
    nai: Nai | None = None
    address_pool: Pool | None = None
    replay: Annotated[str, _allowed(*ReplayStyle)] = ReplayStyle.TIMESTAMP.value
    quirks: Annotated[
        list[Annotated[str, _allowed(*NodeQuirk)]], AfterValidator(_unique)
    ] = []


class ForeignAgentPeer(SecurityKeys):
    """`[[foreign_agent]]` of a home agent or a mobile node."""

    address: Address


class CommonTable(Table):
    """What every role's table has."""

    dataplane: Annotated[str, _allowed(*DATAPLANES)] = "auto"
    control_socket: SocketPath
    ntp_server: Annotated[list[Server], BeforeValidator(_listed)] = []


class AdvertisingTable(CommonTable):
    """What the table of every agent has that advertises itself on a link."""

    advertisement_interval: Annotated[
        float, AfterValidator(_advertisement_interval)
    ] = 3.0
    icmp_code: Annotated[int, AfterValidator(_icmp_code)] = 0
    advertisement_destination: Annotated[
        str, _allowed(ALL_SYSTEMS, LIMITED_BROADCAST)
    ] = ALL_SYSTEMS
    prefix_lengths: bool = False


class HomeAgentTable(AdvertisingTable):
    """`[home_agent]`."""

    address: Address
    home_network: Network
    max_lifetime: Lifetime = 36000
    max_bindings_per_node: Annotated[int, _between(1, 64)] = 4
    encapsulations: Annotated[
        list[EncapsulationName], Field(min_length=1), AfterValidator(_unique)
    ] = ["ipip", "gre"]
    reverse_tunnel: Annotated[str, _allowed("off", "optional", "required")] = "optional"
    broadcasts: Annotated[
        list[Annotated[str, _allowed(*Category)]], AfterValidator(_unique)
    ] = []
    timestamp_tolerance: Annotated[int, _between(1, 3600)] = REPLAY_TOLERANCE_DEFAULT
    strict: bool = False
    advertise: bool = True
    address_pool: Pool | None = None
    state_dir: FilePath = "/var/lib/mip"
    control_socket: SocketPath = "/run/mip/ha.sock"
    mobile_nodes_file: FilePath | None = None


class HomeAgentFile(Table):
    """A home agent's configuration file."""

    home_agent: HomeAgentTable
    mobile_node: list[ServedNode] = []
    foreign_agent: list[ForeignAgentPeer] = []


class Visitor(SecurityKeys):
    """`[[mobile_node]]` of a foreign agent."""

    home_address: Peer


class HomeAgentPeer(SecurityKeys):
    """`[[home_agent]]` of a foreign agent."""

    address: Address


class ForeignAgentTable(AdvertisingTable):
    """`[foreign_agent]`."""

    interfaces: Annotated[list[Interface], Field(min_length=1), AfterValidator(_unique)]
    care_of_addresses: Annotated[
        list[Address],
        Field(min_length=1),
        AfterValidator(_unique),
        AfterValidator(_fitting),
    ]
    registration_lifetime: Lifetime = 1800
    registration_required: bool = True
    encapsulations: Annotated[
        list[EncapsulationName], Field(min_length=1), AfterValidator(_unique)
    ] = ["ipip", "gre"]
    reverse_tunnel: Annotated[
        ReverseTunnel, BeforeValidator(_visitors_reverse_tunnel)
    ] = ReverseTunnel.OPTIONAL
    encapsulating_delivery: bool = True
    gre_keys: bool = False
    max_pending: Annotated[int, _between(1, 10000)] = 5
    pending_timeout: Annotated[float, AfterValidator(_pending_timeout)] = 7.0
    max_visitors: Annotated[int, _between(1, 10000)] = 1000
    strict: bool = False
    state_dir: FilePath | None = None
    control_socket: SocketPath = "/run/mip/fa.sock"


class ForeignAgentFile(Table):
    """A foreign agent's configuration file."""

    foreign_agent: ForeignAgentTable
    mobile_node: list[Visitor] = []
    home_agent: list[HomeAgentPeer] = []


class MobileNodesFile(Table):
    """The file that `mobile_nodes_file` names."""

    mobile_node: list[ServedNode]


class MobileNodeTable(CommonTable, SecurityKeys):
    """`[mobile_node]`."""

    home_address: Address
    home_agent: Address
    home_network: Network | None = None
    lifetime: Lifetime = 600
    reverse_tunnel: bool = True
    encapsulation: EncapsulationName = "ipip"
    broadcasts: bool = False
    interfaces: Annotated[list[Interface], Field(min_length=1), AfterValidator(_unique)]
    care_of: Annotated[str, _allowed(*CareOf)] = CareOf.AUTO.value
    delivery_style: Annotated[str, _allowed(*DeliveryStyle)] = (
        DeliveryStyle.DIRECT.value
    )
    simultaneous_bindings: bool = False
    state_dir: FilePath | None = None
    control_socket: SocketPath = "/run/mip/mn.sock"
    quirks: Annotated[
        list[Annotated[str, _allowed(*QUIRKS)]], AfterValidator(_unique)
    ] = []
    nai: Annotated[None, _unsupported("home_address")] = None


class MobileNodeFile(Table):
    """A mobile node's configuration file."""

    mobile_node: MobileNodeTable
    foreign_agent: list[ForeignAgentPeer] = []
