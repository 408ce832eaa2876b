# SPDX-License-Identifier: GPL-2.0-only
"""Where each entry of the protocol registry lives in `scapy_mip`, table by table."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

from scapy.layers.inet import UDP

import scapy_mip.all
from scapy_mip import _bindings, auth, const, keys
from scapy_mip.base import message_classes
from scapy_mip.discovery import icmp_classes
from scapy_mip.discovery_extensions import discovery_extension_classes
from scapy_mip.extensions.base import extension_classes, subtype_classes
from scapy_mip.extensions.vendor import vendor_items
from scapy_mip.nesting import layer_of
from support import registry

STRUCTURES = {
    "RRQ": "MIPRegistrationRequest",
    "MobilityAgentAdvertisement": "MIPMobilityAgentAdvertisement",
    "Revocation": "MIPRegistrationRevocation",
    "RevocationAck": "MIPRegistrationRevocationAcknowledgment",
    "RevocationSupportExt": "MIPRevocationSupport",
    "UDPTunnelRequest": "MIPUDPTunnelRequest",
    "UDPTunnelReply": "MIPUDPTunnelReply",
    "GNM": "MIPGenericNotificationMessage",
    "HRqst/HRply": "MIPHandoffRequest",
    "RouteOptCapability": "MIPMRRouteOptimizationIndication",
    "RouteOptReply": "MIPRouteOptimizationReply",
    "Multipath": "MIPMultipath",
}
"""The layer that has the flags of a structure of the registry."""
AUTHENTICATORS = {
    "chap-md5": keys.chap_authenticator,
    "hmac-sha1-128": keys.correspondent_authenticator,
}
"""Algorithms that take more than a key and the covered bytes."""
CONSTANTS = {
    "lifetime_infinite": const.LIFETIME_INFINITE,
    "lifetime_deregister": const.LIFETIME_DEREGISTER,
    "default_icmp_lifetime": const.DEFAULT_LIFETIME,
    "replay_tolerance_default_s": const.REPLAY_TOLERANCE_DEFAULT,
    "min_registration_interval_s": const.MIN_REGISTRATION_INTERVAL,
    "spi_reserved_max": const.SPI_RESERVED_MAX,
    "chap_spi": const.SPI_CHAP,
    "rrq_ttl_reverse_tunnel": const.TTL_REVERSE_TUNNEL,
    "adv_ttl": _bindings._TTL_ON_LINK,
    "solicit_ttl": _bindings._TTL_ON_LINK,
    "fbu_max_lifetime_s": const.FAST_BINDING_MAX_LIFETIME,
}
"""Constants that stand in packets or that a layer needs."""
BEHAVIOUR = {
    "fa_pending_max_typical",
    "fa_pending_timeout_s",
    "replay_tolerance_min_s",
    "reg_processing_allowance_ms",
    "satellite_delay_ms",
    "adv_interval_max_fraction_of_lifetime",
    "solicit_initial_count",
    "solicit_initial_rate_per_s",
    "solicit_max_interval_min_s",
    "adv_sequence_first",
    "adv_sequence_wrap_from",
    "adv_sequence_wrap_to",
    "key_bits_default",
    "challenge_window_default",
    "nat_keepalive_default_s",
    "nat_keepalive_min_s",
    "nat_short_lifetime_suggested_s",
    "rrq_ttl_multicast",
    "ro_max_nonce_lifetime_s",
    "ro_max_token_lifetime_s",
    "ro_max_update_rate",
    "irdp_max_adv_interval_default_s",
    "irdp_max_adv_interval_range",
    "irdp_min_adv_interval_factor",
    "irdp_min_adv_interval_floor_s",
    "irdp_adv_lifetime_factor",
    "irdp_adv_lifetime_max_s",
    "irdp_max_initial_advert_interval_s",
    "irdp_max_initial_advertisements",
    "irdp_max_response_delay_s",
    "irdp_max_solicitation_delay_s",
    "irdp_solicitation_interval_s",
    "irdp_max_solicitations",
    "irdp_preference_never",
    "verified",
}
"""Constants that no packet holds: timers, counts and limits of nodes and agents."""
STRAYS = {110, 111, 194}
"""Codes in another's range: two of the GFA (RFC 4857), one of the FA (RFC 5944)."""
PROSE = {
    "meta",
    "transport",
    "extension_rules",
    "message_unassigned",
    "auth_coverage",
    "identification",
    "irdp_entry",
    "rfc6521_compression",
    "rfc6521_keys",
    "related",
}
"""Tables that say rules or sources in words, or the layout of one structure."""


def _extension(entry: dict[str, Any]) -> Any:
    control = entry["space"] == "control"
    found = extension_classes() if control else discovery_extension_classes()
    return found.get(entry["type"])


def _vendor(entry: dict[str, Any]) -> Any:
    critical = entry["kind"] == "CVSE"
    names = "vendor_id", "vendor_type", "sub_type"
    return vendor_items().get((critical, *(entry.get(name) for name in names)))


def _encapsulation(entry: dict[str, Any]) -> Any:
    layer = layer_of(entry["ip_protocol"], bytes(60))
    return message_classes()[const.MessageType.TUNNEL_DATA] if layer is UDP else layer


def _range(entry: dict[str, Any]) -> Any:
    """Return what is said of the range, where its codes are of its issuer."""
    codes = range(entry["low"], entry["high"] + 1)
    first = entry["meaning"].split()[0]
    issuer = {"success": "accept", "correspondent": "CR", "no": None}.get(first, first)
    named = {
        code: const.REPLY_CODES[code] for code in codes if code in const.REPLY_CODES
    }
    fit = all(one.issuer == issuer for code, one in named.items() if code not in STRAYS)
    return [const.describe_code(code) for code in codes] if fit else None


def _flag(entry: dict[str, Any]) -> Any:
    layer = getattr(scapy_mip.all, STRUCTURES[entry["structure"]])
    names = layer().get_field("flags").names
    return layer if entry["name"] in names else None


def _tables() -> Iterator[tuple[str, dict[int, str]]]:
    for found in pkgutil.walk_packages(scapy_mip.__path__, "scapy_mip."):
        if found.name.endswith("_contrib"):
            continue
        for name, value in vars(importlib.import_module(found.name)).items():
            if name.isupper() and isinstance(value, dict):
                yield f"{found.name}.{name}", value


def _enum(entry: dict[str, Any]) -> Any:
    wanted = {int(number): text for number, text in entry["values"].items()}
    short = {number: text.split(" (RFC")[0] for number, text in wanted.items()}
    return next((n for n, table in _tables() if table in (wanted, short)), None)


def _algorithm(entry: dict[str, Any]) -> Any:
    name = entry["ident"]
    if name in AUTHENTICATORS:
        return AUTHENTICATORS[name]
    return auth.Algorithm(name) if name in set(auth.Algorithm) else None


FINDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "message": lambda one: message_classes().get(one["type"]),
    "extension": _extension,
    "extension_subtype": lambda e: subtype_classes().get((e["type"], e["subtype"])),
    "vendor_extension": _vendor,
    "icmp": lambda one: icmp_classes().get(one["type"]),
    "encapsulation": _encapsulation,
    "reply_code": lambda one: const.REPLY_CODES.get(one["code"]),
    "reply_code_range": _range,
    "flag": _flag,
    "enum": _enum,
    "auth_algorithm": _algorithm,
    "reserved_spi": lambda one: one["spi"] <= const.SPI_RESERVED_MAX or None,
    "reserved_spi_range": lambda one: one["high"] == const.SPI_RESERVED_MAX or None,
}
"""By table of the registry: what there is for an entry, None where there is nothing."""


def homes(table: str) -> list[tuple[str, Any]]:
    """Return label and home of every entry of a table."""
    listed = registry.registry()[table]
    return [(label(one), FINDERS[table](one)) for one in listed]


def label(entry: dict[str, Any]) -> str:
    """Name an entry by its numbers and its name."""
    numbers = ("structure", "type", "subtype", "vendor_id", "vendor_type", "sub_type")
    parts = [str(entry[n]) for n in (*numbers, "code", "spi", "low") if n in entry]
    return " ".join([*parts, entry.get("name", entry.get("meaning", ""))])
