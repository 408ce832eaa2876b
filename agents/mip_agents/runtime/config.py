# SPDX-License-Identifier: GPL-2.0-only
"""Configuration files: TOML, judged by pydantic models, turned into plain policies.

Every error is one line with the file, the path of the key, what is wrong and what is
allowed. Values are never repeated in errors: a key may stand in the wrong place.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from socket import inet_aton
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mip_agents.protocol.errors import InputError
from mip_agents.protocol.names import NamedNode, NamedNodes
from mip_agents.protocol.policy import (
    HYSTERESIS_S,
    AdvertisementPolicy,
    CareOf,
    DeliveryStyle,
    ForeignAgentPolicy,
    HomeAgentPolicy,
    MobileNodePolicy,
    ReverseTunnel,
)
from mip_agents.protocol.pools import AddressPool
from mip_agents.protocol.quirks import NodeQuirk
from mip_agents.protocol.security import NodeAssociation, ReplayStyle, SecurityTable
from mip_agents.protocol.tunnel import Category
from mip_agents.runtime import models
from mip_agents.runtime.collector import resting_collector
from mip_agents.runtime.explain import explain, nearest, path_of
from mip_agents.runtime.keys import key_path, readable_by_others
from mip_agents.runtime.nodesfile import NodesFileError, read_rows
from mip_agents.runtime.options import AgentConfig, AgentOptions
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import Encapsulation

ROLES = {"home_agent": "ha", "foreign_agent": "fa", "mobile_node": "mn"}
"""Top-level table of each role, and its subcommand."""

_Model = TypeVar("_Model", bound=BaseModel)
_ENTRY = re.compile(r"mobile_node\[(\d+)\]\.")
_TOML_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


class ConfigError(InputError):
    """A configuration that cannot be used; one line for each problem."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_config(path: Path, role: str | None = None) -> AgentConfig:
    """Read and judge a configuration file.

    :param role: a key of `ROLES`, where only that will do.
    :raises ConfigError: with every problem that was found.
    """
    with resting_collector():
        return _load(path, role)


def _load(path: Path, role: str | None) -> AgentConfig:
    document = _read_toml(path)
    kind = _role(path, document)
    if role is not None and kind != role:
        raise ConfigError(
            f"{path}: [{kind}] is for `mip {ROLES[kind]}`; "
            f"`mip {ROLES[role]}` needs a table [{role}]"
        )
    readers = {
        "home_agent": _home_agent,
        "foreign_agent": _foreign_agent,
        "mobile_node": _mobile_node,
    }
    return readers[kind](path, document)


def _role(path: Path, document: dict[str, Any]) -> str:
    """Return whose configuration it is: the role's table is no array."""
    found = [name for name in ROLES if isinstance(document.get(name), dict)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(f"[{name}]" for name in found[:2])
        raise ConfigError(f"{path}: both {names}: allowed is one")
    for name in document:
        near = nearest(name, ROLES)
        if near is not None and name not in ROLES:
            raise ConfigError(
                f"{path}: {path_of([name])}: unknown key; did you mean {near}?"
            )
    raise ConfigError(
        f"{path}: no table [home_agent], [foreign_agent] or [mobile_node]: "
        "one of them is needed"
    )


def _home_agent(path: Path, document: dict[str, Any]) -> AgentConfig:
    file = _validate(path, models.HomeAgentFile, document)
    table = file.home_agent
    folder = path.parent
    sources = [_Nodes(path, file.mobile_node)]
    if table.mobile_nodes_file is not None:
        sources.append(_read_nodes(folder / table.mobile_nodes_file))
    if not any(source.entries for source in sources):
        raise ConfigError(
            f"{path}: mobile_node: at least one [[mobile_node]] or "
            "home_agent.mobile_nodes_file is needed"
        )
    home_network = IPv4Network(table.home_network)
    nodes_table, named = SecurityTable(), NamedNodes()
    for source in sources:
        for index, entry in enumerate(source.entries):
            place = source.place(index)
            if entry.nai is None:
                peer = _served_address(place, entry, home_network, table.address)
                _add(nodes_table, place, peer, _node(source.path, place, entry))
            else:
                _serve_name(named, source.path, place, entry, table)
    foreign = SecurityTable()
    for index, agent in enumerate(file.foreign_agent):
        place = f"{path}: foreign_agent[{index}]."
        _add(foreign, place, agent.address, _association(path, place, agent))
    return AgentConfig(
        policy=HomeAgentPolicy(
            address=table.address,
            home_network=home_network,
            mobile_nodes=nodes_table,
            named_nodes=named,
            foreign_agents=foreign,
            max_lifetime=table.max_lifetime,
            max_bindings_per_node=table.max_bindings_per_node,
            encapsulations=frozenset(
                _encapsulation(name) for name in table.encapsulations
            ),
            reverse_tunnel=ReverseTunnel(table.reverse_tunnel),
            broadcasts=_broadcasts(path, table),
            timestamp_tolerance=table.timestamp_tolerance,
            strict=table.strict,
            advertisement=_advertisement(table) if table.advertise else None,
        ),
        options=_options(path, table, Path(table.state_dir)),
        warnings=_exposed(
            [*((one.path, one.entries) for one in sources), (path, file.foreign_agent)]
        ),
    )


def _advertisement(table: models.AdvertisingTable) -> AdvertisementPolicy:
    return AdvertisementPolicy(
        interval=table.advertisement_interval,
        icmp_code=table.icmp_code,
        destination=table.advertisement_destination,
        prefix_lengths=table.prefix_lengths,
    )


def _broadcasts(path: Path, table: models.HomeAgentTable) -> frozenset[Category]:
    """Return what is passed on of what is sent to many."""
    found = frozenset(map(Category, table.broadcasts))
    if Category.MULTICAST in found and table.reverse_tunnel == ReverseTunnel.OFF:
        raise ConfigError(
            f"{path}: home_agent.broadcasts: multicast takes a reverse tunnel; "
            'allowed: with reverse_tunnel = "optional" or "required"'
        )
    return found


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Served nodes and where they stand."""

    path: Path
    entries: Sequence[models.ServedNode]
    lines: Sequence[int] | None = None
    """The line of each, in a file of lines."""

    def place(self, index: int) -> str:
        """Return what an error about a key of an entry begins with."""
        if self.lines is None:
            return f"{self.path}: mobile_node[{index}]."
        return f"{self.path}:{self.lines[index]}: "


def _served_address(
    place: str, entry: models.ServedNode, home_network: IPv4Network, own_address: str
) -> str:
    """Return the home address of a node, or the prefix of many, that is served."""
    peer = entry.home_address
    if entry.address_pool is not None:
        raise ConfigError(
            f"{place}address_pool: is for nodes with a name; allowed: with nai"
        )
    if peer is None:
        raise ConfigError(
            f"{place}home_address: is missing; "
            "allowed: an address, a prefix, or nai in its place"
        )
    if not (
        IPv4Network(peer).subnet_of(home_network)
        if "/" in peer
        else _is_in(peer, home_network)
    ):
        raise ConfigError(
            f"{place}home_address: not in home_agent.home_network; "
            f"allowed: addresses and prefixes in {home_network}"
        )
    if peer in (own_address, f"{own_address}/32"):
        raise ConfigError(
            f"{place}home_address: is the home agent's own address; "
            "allowed: any other of the home network"
        )
    return peer


def _is_in(address: str, network: IPv4Network) -> bool:
    """Return whether an address is of a network; fast, for very many."""
    number = int.from_bytes(inet_aton(address), "big")
    return not (number ^ int(network.network_address)) & int(network.netmask)


def _serve_name(
    named: NamedNodes,
    source: Path,
    place: str,
    entry: models.ServedNode,
    table: models.HomeAgentTable,
) -> None:
    """Add a node, or all of a realm, that is known by its NAI."""
    assert entry.nai is not None
    given = [entry.home_address] if entry.home_address else entry.address_pool
    if entry.home_address and entry.address_pool:
        raise ConfigError(
            f"{place}address_pool: home_address says it already; allowed: one of them"
        )
    pool = AddressPool.parse(given or table.address_pool or ())
    if not pool.size:
        raise ConfigError(
            f"{place}address_pool: is missing; "
            "allowed: here, in [home_agent], or home_address in its place"
        )
    if not pool.within(IPv4Network(table.home_network)):
        key = "home_address" if entry.home_address else "address_pool"
        raise ConfigError(
            f"{place}{key}: not in home_agent.home_network; "
            f"allowed: addresses in {table.home_network}"
        )
    try:
        named.add(entry.nai, NamedNode(_node(source, place, entry), pool))
    except ValueError as error:
        raise ConfigError(
            f"{place}spi: {error}; allowed: one key for each SPI of a name"
        ) from None


def _read_nodes(path: Path) -> _Nodes:
    """Read a file of served nodes: lines in a file `*.csv`, tables in any other."""
    if path.suffix.lower() != ".csv":
        document = _read_toml(path)
        return _Nodes(
            path, _validate(path, models.MobileNodesFile, document).mobile_node
        )
    try:
        rows, lines = read_rows(_read(path), list(models.ServedNode.model_fields))
    except NodesFileError as error:
        raise ConfigError(f"{path}:{error.line}: {error}") from None
    try:
        file = models.MobileNodesFile.model_validate({"mobile_node": rows})
    except ValidationError as error:
        problems = explain(error, models.MobileNodesFile)
    else:
        return _Nodes(path, file.mobile_node, lines)
    raise ConfigError(*(_at_line(path, problem, lines) for problem in problems))


def _at_line(path: Path, problem: str, lines: Sequence[int]) -> str:
    """Say in which line it is, instead of in which entry."""
    found = _ENTRY.match(problem)
    if found is None:
        return f"{path}: {problem}"
    return f"{path}:{lines[int(found[1])]}: {problem[found.end() :]}"


def _foreign_agent(path: Path, document: dict[str, Any]) -> AgentConfig:
    file = _validate(path, models.ForeignAgentFile, document)
    table = file.foreign_agent
    encapsulations = frozenset(map(_encapsulation, table.encapsulations))
    if table.gre_keys and Encapsulation.GRE not in encapsulations:
        raise ConfigError(
            f"{path}: foreign_agent.gre_keys: are for GRE; "
            'allowed: with "gre" among encapsulations'
        )
    visitors, home_agents = SecurityTable(), SecurityTable()
    for index, visitor in enumerate(file.mobile_node):
        place = f"{path}: mobile_node[{index}]."
        found = _association(path, place, visitor)
        _add(visitors, place, visitor.home_address, found)
    for index, peer in enumerate(file.home_agent):
        place = f"{path}: home_agent[{index}]."
        if peer.address in table.care_of_addresses:
            raise ConfigError(
                f"{place}address: is one of foreign_agent.care_of_addresses; "
                "allowed: another host's address"
            )
        _add(home_agents, place, peer.address, _association(path, place, peer))
    state_dir = None if table.state_dir is None else Path(table.state_dir)
    return AgentConfig(
        policy=ForeignAgentPolicy(
            interfaces=tuple(table.interfaces),
            care_of_addresses=tuple(table.care_of_addresses),
            advertisement=_advertisement(table),
            registration_lifetime=table.registration_lifetime,
            registration_required=table.registration_required,
            encapsulations=encapsulations,
            reverse_tunnel=table.reverse_tunnel,
            encapsulating_delivery=table.encapsulating_delivery,
            gre_keys=table.gre_keys,
            max_pending=table.max_pending,
            pending_timeout=table.pending_timeout,
            max_visitors=table.max_visitors,
            mobile_nodes=visitors,
            home_agents=home_agents,
            strict=table.strict,
        ),
        options=_options(path, table, state_dir),
        warnings=_exposed([(path, file.mobile_node), (path, file.home_agent)]),
    )


def _mobile_node(path: Path, document: dict[str, Any]) -> AgentConfig:
    file = _validate(path, models.MobileNodeFile, document)
    table = file.mobile_node
    network = None
    if table.home_network is not None:
        network = IPv4Network(table.home_network)
        if IPv4Address(table.home_address) not in network:
            raise ConfigError(
                f"{path}: mobile_node.home_address: not in mobile_node.home_network; "
                f"allowed: addresses in {network}"
            )
    if table.home_address == table.home_agent:
        raise ConfigError(
            f"{path}: mobile_node.home_address: is the home agent's address; "
            "allowed: any other of the home network"
        )
    agents = SecurityTable()
    for index, agent in enumerate(file.foreign_agent):
        place = f"{path}: foreign_agent[{index}]."
        _add(agents, place, agent.address, _association(path, place, agent))
    state_dir = None if table.state_dir is None else Path(table.state_dir)
    return AgentConfig(
        policy=MobileNodePolicy(
            home_address=table.home_address,
            home_agent=table.home_agent,
            security=_association(path, f"{path}: mobile_node.", table),
            home_network=network,
            lifetime=table.lifetime,
            reverse_tunnel=table.reverse_tunnel,
            encapsulation=_encapsulation(table.encapsulation),
            broadcasts=table.broadcasts,
            interfaces=tuple(table.interfaces),
            care_of=CareOf(table.care_of),
            foreign_agents=agents,
            delivery_style=DeliveryStyle(table.delivery_style),
            simultaneous=table.simultaneous_bindings,
            hysteresis=HYSTERESIS_S,
            coarse_timestamps="coarse_timestamps" in table.quirks,
        ),
        options=_options(path, table, state_dir),
        warnings=_exposed([(path, [table]), (path, file.foreign_agent)]),
    )


def _options(
    path: Path, table: models.CommonTable, state_dir: Path | None
) -> AgentOptions:
    folder = path.parent
    return AgentOptions(
        state_dir=None if state_dir is None else folder / state_dir,
        control_socket=folder / table.control_socket,
        dataplane=table.dataplane,
        ntp_servers=tuple(table.ntp_server),
    )


def _encapsulation(name: str) -> Encapsulation:
    return next(member for member in Encapsulation if member.title == name)


def _association(
    path: Path, place: str, entry: models.SecurityKeys
) -> SecurityAssociation:
    return SecurityAssociation(entry.spi, _key(path, place, entry), entry.algorithm)


def _node(path: Path, place: str, entry: models.ServedNode) -> NodeAssociation:
    return NodeAssociation(
        entry.spi,
        _key(path, place, entry),
        entry.algorithm,
        replay=ReplayStyle(entry.replay),
        quirks=map(NodeQuirk, entry.quirks),
    )


def _key(path: Path, place: str, entry: models.SecurityKeys) -> bytes:
    try:
        return entry.key(path.parent)
    except ValueError as error:
        raise ConfigError(f"{place}{entry.key_name()}: {error}") from None


def _add(
    table: SecurityTable, place: str, peer: str, association: SecurityAssociation
) -> None:
    try:
        table.add(peer, association)
    except ValueError as error:
        raise ConfigError(
            f"{place}spi: {error}; allowed: one key for each SPI of a peer"
        ) from None


def _exposed(sources: list[tuple[Path, Any]]) -> tuple[str, ...]:
    """Warn of files with keys in them that every user of the machine may read."""
    files: dict[Path, None] = {}
    for path, entries in sources:
        for entry in entries:
            if entry.key_file is None:
                files[path] = None
            else:
                files[key_path(entry.key_file, path.parent)] = None
    return tuple(
        f"{path}: holds keys and every user may read it: chmod o-rwx {path}"
        for path in files
        if readable_by_others(path)
    )


def _validate(path: Path, model: type[_Model], document: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = explain(error, model)
    raise ConfigError(*(f"{path}: {problem}" for problem in problems))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: byte {error.start} is not UTF-8; allowed: text in UTF-8"
        ) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(path))
    except tomllib.TOMLDecodeError as error:
        text = str(error)
        place = _TOML_PLACE.search(text)
        where = f"{path}"
        if place is not None:
            text = text[: place.start()]
            line, column = place.groups()
            where += f":{line}:{column}" if line else " (at its end)"
        # The parser may quote the name of a key, never a value.
        raise ConfigError(f"{where}: no valid TOML: {text}") from None
    except RecursionError:
        raise ConfigError(f"{path}: no valid TOML: nested too deeply") from None
    except ValueError:
        # Python reads no number of thousands of digits, nor a date like 2026-02-30.
        raise ConfigError(
            f"{path}: no valid TOML: a number or a date is out of range"
        ) from None
