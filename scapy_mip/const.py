# SPDX-License-Identifier: GPL-2.0-only
"""Numbers and names of Mobile IPv4: ports, types, flags, reply codes, timers.

Every fact of the protocol that has a number stands here once; layers, engines and
tools take their tables from these enumerations. A test compares them with the
protocol registry.
"""

from __future__ import annotations

import enum
import functools
import re
from typing import NamedTuple, Self

MIP_PORT = 434
"""UDP port of Mobile IPv4 control messages. RFC 5944 section 3.1."""

LIFETIME_DEREGISTER = 0
"""A lifetime of zero asks for deregistration. RFC 5944 section 3.3."""

LIFETIME_INFINITE = 0xFFFF
"""This lifetime means infinity. RFC 5944 sections 3.3 and 3.4."""

DEFAULT_LIFETIME = 1800
"""Seconds to ask for where no agent advertised a lifetime. RFC 5944 section 3.6.1.2."""

NTP_UNIX_OFFSET = 2_208_988_800
"""Seconds from the NTP epoch (1900) to the Unix epoch (1970). RFC 5905."""

SPI_RESERVED_MAX = 255
"""SPIs 0-255 must not be used in a security association. RFC 5944 section 1.6."""

SKIPPABLE_MIN = 128
"""Unknown extensions from this type on are skipped; an unknown one below it discards
the whole message. RFC 5944 section 1.8."""

REPLAY_TOLERANCE_DEFAULT = 7
"""Seconds by which a timestamp may differ by default. RFC 5944 section 5.7.1."""

MIN_REGISTRATION_INTERVAL = 1
"""Seconds that a mobile node keeps between requests. RFC 5944 section 3.6.3."""

TTL_REVERSE_TUNNEL = 255
"""IP TTL of a request that asks for a reverse tunnel. RFC 3024 section 3.2."""

TTL_DIRECT = 64
"""IP TTL of requests and replies that cross routers (decision C-6)."""

TTL_LINK = 1
"""IP TTL of what must not leave the link: router discovery, and requests to a foreign
agent without a reverse tunnel (RFC 5944 section 2.1, decision C-6)."""


class NamedInt(enum.IntEnum):
    """A number with the registry's name for it."""

    title: str

    def __new__(cls, value: int, title: str) -> Self:
        """Make a member from its number and its title."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.title = title
        return member

    @property
    def slug(self) -> str:
        """The name in lower case, other characters turned into `_`, as in JSON."""
        return slug(self.title)


@functools.lru_cache(1024)
def slug(title: str) -> str:
    """Turn a registry name into the form that JSON, logs and tables use.

    >>> slug("Mobile-Home Authentication")
    'mobile_home_authentication'
    """
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


class MessageType(NamedInt):
    """Types of control messages on UDP port 434."""

    REGISTRATION_REQUEST = (1, "Registration Request")
    REGISTRATION_REPLY = (3, "Registration Reply")
    TUNNEL_DATA = (4, "Tunnel Data")
    REGISTRATION_REVOCATION = (7, "Registration Revocation")
    REGISTRATION_REVOCATION_ACKNOWLEDGMENT = (
        15,
        "Registration Revocation Acknowledgment",
    )
    HANDOFF_REQUEST = (16, "Handoff Request")
    HANDOFF_REPLY = (17, "Handoff Reply")
    REGIONAL_REGISTRATION_REQUEST = (18, "Regional Registration Request")
    REGIONAL_REGISTRATION_REPLY = (19, "Regional Registration Reply")
    FAST_BINDING_UPDATE = (20, "Fast Binding Update")
    FAST_BINDING_ACKNOWLEDGMENT = (21, "Fast Binding Acknowledgment")
    GENERIC_NOTIFICATION_MESSAGE = (22, "Generic Notification Message")
    GENERIC_NOTIFICATION_ACKNOWLEDGEMENT_MESSAGE = (
        23,
        "Generic Notification Acknowledgement Message",
    )
    HOME_TEST_INIT = (24, "Home Test Init")
    CARE_OF_TEST_INIT = (25, "Care-of Test Init")
    HOME_TEST = (26, "Home Test")
    CARE_OF_TEST = (27, "Care-of Test")
    EXPERIMENTAL_MESSAGE = (255, "Experimental Message")


class ExtensionType(NamedInt):
    """Types of extensions in control messages. RFC 5944 section 1.8."""

    ONE_BYTE_PADDING = (0, "One-byte Padding")
    MOBILE_HOME_AUTHENTICATION = (32, "Mobile-Home Authentication")
    MOBILE_FOREIGN_AUTHENTICATION = (33, "Mobile-Foreign Authentication")
    FOREIGN_HOME_AUTHENTICATION = (34, "Foreign-Home Authentication")
    GENERALIZED_MOBILE_IP_AUTHENTICATION = (36, "Generalized Mobile IP Authentication")
    OLD_CRITICAL_VENDOR_SPECIFIC = (
        37,
        "Critical Vendor/Organization Specific (obsolete number)",
    )
    CRITICAL_VENDOR_SPECIFIC = (38, "Critical Vendor/Organization Specific (CVSE)")
    MN_FA_KEY_GENERATION_NONCE_REQUEST = (40, "MN-FA Key Generation Nonce Request")
    MN_FA_KEY_GENERATION_NONCE_REPLY = (41, "MN-FA Key Generation Nonce Reply")
    MN_HA_KEY_GENERATION_NONCE_REQUEST = (42, "MN-HA Key Generation Nonce Request")
    MN_HA_KEY_GENERATION_NONCE_REPLY = (43, "MN-HA Key Generation Nonce Reply")
    UDP_TUNNEL_REPLY = (44, "UDP Tunnel Reply")
    FA_ERROR = (45, "FA Error")
    GFA_IP_ADDRESS = (46, "GFA IP Address")
    PMIPV4_NON_SKIPPABLE = (47, "PMIPv4 Non-Skippable")
    GRE_KEY = (48, "GRE Key")
    ROUTE_OPTIMIZATION = (49, "Route Optimization")
    ROUTE_OPTIMIZATION_DATA = (50, "Route Optimization Data")
    EXPERIMENTAL_NON_SKIPPABLE = (127, "Experimental non-skippable")
    DEPRECATED_128 = (128, "Deprecated 2001-08-31 (Integrated Mobility)")
    FIREWALL_TRAVERSAL = (129, "Firewall Traversal (SKIP)")
    ENCAPSULATING_DELIVERY_STYLE = (130, "Encapsulating Delivery Style")
    MOBILE_NODE_NAI = (131, "Mobile Node NAI")
    MOBILE_FOREIGN_CHALLENGE = (132, "Mobile-Foreign Challenge")
    OLD_NORMAL_VENDOR_SPECIFIC = (
        133,
        "Normal Vendor/Organization Specific (obsolete number)",
    )
    NORMAL_VENDOR_SPECIFIC = (134, "Normal Vendor/Organization Specific (NVSE)")
    NAI_CARRYING = (136, "NAI Carrying")
    REVOCATION_SUPPORT = (137, "Revocation Support")
    LINK_LAYER_AND_IPV4_ADDRESS = (
        138,
        "Generalized Link Layer and IPv4 Address (registration)",
    )
    DYNAMIC_HA = (139, "Dynamic HA")
    HIERARCHICAL_FOREIGN_AGENT = (140, "Hierarchical Foreign Agent")
    REPLAY_PROTECTION_STYLE = (141, "Replay Protection Style")
    REGIONAL_REGISTRATION_LIFETIME = (142, "Regional Registration Lifetime")
    UDP_TUNNEL_REQUEST = (144, "UDP Tunnel Request")
    MESSAGE_STRING = (145, "Message String")
    PMIPV4_SKIPPABLE = (147, "PMIPv4 Skippable")
    MOBILE_NETWORK = (148, "Mobile Network")
    TRUSTED_NETWORKS_CONFIGURED = (149, "Trusted Networks Configured")
    RESERVED_150 = (150, "Reserved")
    SERVICE_SELECTION = (151, "Service Selection")
    DUAL_STACK = (152, "Dual Stack (DSMIPv4)")
    MR_ROUTE_OPTIMIZATION_INDICATION = (153, "MR Route Optimization Indication")
    MULTIPATH = (154, "Multipath")
    EXPERIMENTAL_SKIPPABLE = (255, "Experimental skippable")


LONG_FORM_EXTENSIONS = frozenset(
    {
        ExtensionType.GENERALIZED_MOBILE_IP_AUTHENTICATION,
        ExtensionType.OLD_CRITICAL_VENDOR_SPECIFIC,
        ExtensionType.CRITICAL_VENDOR_SPECIFIC,
        ExtensionType.MN_FA_KEY_GENERATION_NONCE_REQUEST,
        ExtensionType.MN_FA_KEY_GENERATION_NONCE_REPLY,
        ExtensionType.MN_HA_KEY_GENERATION_NONCE_REQUEST,
        ExtensionType.MN_HA_KEY_GENERATION_NONCE_REPLY,
        ExtensionType.PMIPV4_NON_SKIPPABLE,
        ExtensionType.GRE_KEY,
        ExtensionType.ROUTE_OPTIMIZATION_DATA,
        ExtensionType.EXPERIMENTAL_NON_SKIPPABLE,
        ExtensionType.DYNAMIC_HA,
        ExtensionType.MULTIPATH,
    }
)
"""Types with a subtype byte and a 16-bit length. RFC 5944 section 1.10; 139 and 154
are in the skippable range against that rule (decision C-8)."""


class SentShort(NamedTuple):
    """How a type of the long format is told where it is sent in the short one."""

    lengths: range
    """The lengths that such an extension may state."""
    subtypes: frozenset[int]
    """The subtypes that exist."""


SENT_SHORT_EXTENSIONS: dict[int, SentShort] = {
    # Type, length, subtype, method: a private layout of PMIPv4 agents.
    ExtensionType.PMIPV4_NON_SKIPPABLE: SentShort(range(2, 3), frozenset({1})),
    # Skippable by number, so that decoders expect the length in the second byte.
    ExtensionType.DYNAMIC_HA: SentShort(range(5, 6), frozenset({1, 2})),
    ExtensionType.MULTIPATH: SentShort(range(5, 256), frozenset({1, 2})),
}
"""Types of the long format that are met in the short one too (decision C-8)."""


class RequestFlag(enum.IntFlag):
    """Flags of a Registration Request by the RFC's letters. RFC 5944 section 3.3."""

    S = 0x80
    """Simultaneous bindings: earlier bindings are kept."""
    B = 0x40
    """Broadcast datagrams of the home network are wanted."""
    D = 0x20
    """Decapsulation by the mobile node: co-located care-of address."""
    M = 0x10
    """Minimal encapsulation is wanted."""
    G = 0x08
    """GRE encapsulation is wanted."""
    r = 0x04
    """Sent as zero, ignored on reception."""
    T = 0x02
    """Reverse tunnelling is wanted. RFC 3024 section 3.2."""
    x = 0x01
    """Sent as zero, ignored on reception."""


def flag_letters(flags: int) -> str:
    """Write the flags of a request by the RFC's letters, in its order.

    >>> flag_letters(0x2A)
    'DGT'
    """
    return _LETTERS[flags & 0xFF]


_LETTERS = [
    "".join(flag.name or "" for flag in RequestFlag if number & flag)
    for number in range(0x100)
]


class Encapsulation(NamedInt):
    """Tunnel encapsulations by their IP protocol number. RFC 5944 section 4.1."""

    IPIP = (4, "ipip")
    GRE = (47, "gre")
    MINIMAL = (55, "minimal")


class Issuer(enum.StrEnum):
    """Who puts a reply code into a Registration Reply."""

    ACCEPT = "accept"
    FA = "FA"
    HA = "HA"
    GFA = "GFA"
    CR = "CR"


class ReplyCode(enum.IntEnum):
    """Codes of a Registration Reply with issuer, meaning and source."""

    issuer: Issuer
    meaning: str
    source: str

    def __new__(cls, value: int, issuer: Issuer, meaning: str, source: str) -> Self:
        """Make a member from its number, issuer, meaning and RFC section."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.issuer = issuer
        member.meaning = meaning
        member.source = source
        return member

    @property
    def accepted(self) -> bool:
        """Whether the code grants the registration."""
        return self.issuer is Issuer.ACCEPT

    @property
    def text(self) -> str:
        """The meaning with its issuer in front where one denies the request."""
        if self.accepted:
            return self.meaning
        return f"{self.issuer}: {self.meaning}"

    ACCEPTED = (0, Issuer.ACCEPT, "registration accepted", "RFC 5944 3.4")
    ACCEPTED_NO_SIMULTANEOUS_BINDINGS = (
        1,
        Issuer.ACCEPT,
        "registration accepted, simultaneous mobility bindings unsupported",
        "RFC 5944 3.4",
    )
    CONCURRENT_REGISTRATION = (
        2,
        Issuer.ACCEPT,
        "concurrent registration (pre-accept)",
        "RFC 6521 10",
    )
    FA_REASON_UNSPECIFIED = (64, Issuer.FA, "reason unspecified", "RFC 5944 3.4")
    FA_ADMINISTRATIVELY_PROHIBITED = (
        65,
        Issuer.FA,
        "administratively prohibited",
        "RFC 5944 3.4",
    )
    FA_INSUFFICIENT_RESOURCES = (
        66,
        Issuer.FA,
        "insufficient resources",
        "RFC 5944 3.4",
    )
    FA_MN_FAILED_AUTHENTICATION = (
        67,
        Issuer.FA,
        "mobile node failed authentication",
        "RFC 5944 3.4",
    )
    FA_HA_FAILED_AUTHENTICATION = (
        68,
        Issuer.FA,
        "home agent failed authentication",
        "RFC 5944 3.4",
    )
    FA_LIFETIME_TOO_LONG = (
        69,
        Issuer.FA,
        "requested Lifetime too long",
        "RFC 5944 3.4",
    )
    FA_POORLY_FORMED_REQUEST = (70, Issuer.FA, "poorly formed Request", "RFC 5944 3.4")
    FA_POORLY_FORMED_REPLY = (71, Issuer.FA, "poorly formed Reply", "RFC 5944 3.4")
    FA_ENCAPSULATION_UNAVAILABLE = (
        72,
        Issuer.FA,
        "requested encapsulation unavailable",
        "RFC 5944 3.4",
    )
    FA_RESERVED_73 = (73, Issuer.FA, "reserved and unavailable", "RFC 5944 3.4")
    FA_REVERSE_TUNNEL_UNAVAILABLE = (
        74,
        Issuer.FA,
        "requested reverse tunnel unavailable",
        "RFC 3024 3.4",
    )
    FA_REVERSE_TUNNEL_MANDATORY = (
        75,
        Issuer.FA,
        "reverse tunnel is mandatory and T bit not set",
        "RFC 3024 3.4",
    )
    FA_MN_TOO_DISTANT = (76, Issuer.FA, "mobile node too distant", "RFC 3024 3.4")
    FA_INVALID_CARE_OF_ADDRESS = (
        77,
        Issuer.FA,
        "invalid care-of address",
        "RFC 5944 3.4",
    )
    FA_REGISTRATION_TIMEOUT = (78, Issuer.FA, "registration timeout", "RFC 5944 3.4")
    FA_DELIVERY_STYLE_NOT_SUPPORTED = (
        79,
        Issuer.FA,
        "delivery style not supported",
        "RFC 3024 3.4",
    )
    FA_HOME_NETWORK_UNREACHABLE = (
        80,
        Issuer.FA,
        "home network unreachable (ICMP error)",
        "RFC 5944 3.4",
    )
    FA_HA_HOST_UNREACHABLE = (
        81,
        Issuer.FA,
        "home agent host unreachable (ICMP error)",
        "RFC 5944 3.4",
    )
    FA_HA_PORT_UNREACHABLE = (
        82,
        Issuer.FA,
        "home agent port unreachable (ICMP error)",
        "RFC 5944 3.4",
    )
    FA_HA_UNREACHABLE = (
        88,
        Issuer.FA,
        "home agent unreachable (other ICMP error)",
        "RFC 5944 3.4",
    )
    FA_VENDOR_SPECIFIC = (89, Issuer.FA, "vendor specific", "RFC 4784 4.9")
    FA_NONZERO_HA_REQD = (
        90,
        Issuer.FA,
        "non-zero home agent address required",
        "RFC 4433 7",
    )
    FA_NONZERO_HOMEADDR_REQD = (
        96,
        Issuer.FA,
        "non-zero home address required",
        "RFC 2794 5",
    )
    FA_MISSING_NAI = (97, Issuer.FA, "missing NAI", "RFC 2794 5")
    FA_MISSING_HOME_AGENT = (98, Issuer.FA, "missing home agent", "RFC 2794 5")
    FA_MISSING_HOMEADDR = (99, Issuer.FA, "missing home address", "RFC 2794 5")
    FA_UNKNOWN_CVSE_FROM_MN = (
        100,
        Issuer.FA,
        "unknown vendor or CVSE type sent by MN",
        "RFC 3115 2.4",
    )
    FA_UNKNOWN_CVSE_FROM_HA = (
        101,
        Issuer.FA,
        "unknown vendor or CVSE type sent by HA",
        "RFC 3115 2.4",
    )
    FA_UNKNOWN_CHALLENGE = (104, Issuer.FA, "unknown challenge", "RFC 4721 10")
    FA_MISSING_CHALLENGE = (105, Issuer.FA, "missing challenge", "RFC 4721 10")
    FA_STALE_CHALLENGE = (106, Issuer.FA, "stale challenge", "RFC 4721 10")
    FA_MISSING_MN_FA = (
        107,
        Issuer.FA,
        "missing MN-FA key generation nonce reply",
        "RFC 3957 7",
    )
    FA_BAD_AAA_AUTH = (
        108,
        Issuer.FA,
        "Mobile-AAA authentication failed at FA",
        "RFC 4721 10",
    )
    FA_HA_WRONG_CHALLENGE = (
        109,
        Issuer.FA,
        "HA returned wrong challenge",
        "RFC 4721 10",
    )
    GFA_REPLAY_PROT_UNAVAIL = (
        110,
        Issuer.GFA,
        "replay protection style unavailable",
        "RFC 4857 9.5",
    )
    GFA_ZERO_COA_NOT_SUPP = (
        111,
        Issuer.GFA,
        "zero care-of address not supported",
        "RFC 4857 9.5",
    )
    FA_UNKNOWN_GFA = (112, Issuer.FA, "unknown GFA", "RFC 4857 10.3")
    FA_GFA_UNREACHABLE = (113, Issuer.FA, "GFA unreachable", "RFC 4857 10.3")
    FA_GFA_HOST_UNREACHABLE = (114, Issuer.FA, "GFA host unreachable", "RFC 4857 10.3")
    FA_GFA_PORT_UNREACHABLE = (115, Issuer.FA, "GFA port unreachable", "RFC 4857 10.3")
    FA_EXPERIMENTAL = (127, Issuer.FA, "experimental FA error", "RFC 4064 7.3")
    HA_REASON_UNSPECIFIED = (128, Issuer.HA, "reason unspecified", "RFC 5944 3.4")
    HA_ADMINISTRATIVELY_PROHIBITED = (
        129,
        Issuer.HA,
        "administratively prohibited",
        "RFC 5944 3.4",
    )
    HA_INSUFFICIENT_RESOURCES = (
        130,
        Issuer.HA,
        "insufficient resources",
        "RFC 5944 3.4",
    )
    HA_MN_FAILED_AUTHENTICATION = (
        131,
        Issuer.HA,
        "mobile node failed authentication",
        "RFC 5944 3.4",
    )
    HA_FA_FAILED_AUTHENTICATION = (
        132,
        Issuer.HA,
        "foreign agent failed authentication",
        "RFC 5944 3.4",
    )
    HA_IDENTIFICATION_MISMATCH = (
        133,
        Issuer.HA,
        "registration Identification mismatch",
        "RFC 5944 3.4",
    )
    HA_POORLY_FORMED_REQUEST = (134, Issuer.HA, "poorly formed Request", "RFC 5944 3.4")
    HA_TOO_MANY_BINDINGS = (
        135,
        Issuer.HA,
        "too many simultaneous mobility bindings",
        "RFC 5944 3.4",
    )
    HA_UNKNOWN_HOME_AGENT = (
        136,
        Issuer.HA,
        "unknown home agent address",
        "RFC 5944 3.4",
    )
    HA_REVERSE_TUNNEL_UNAVAILABLE = (
        137,
        Issuer.HA,
        "requested reverse tunnel unavailable",
        "RFC 3024 3.4",
    )
    HA_REVERSE_TUNNEL_MANDATORY = (
        138,
        Issuer.HA,
        "reverse tunnel is mandatory and T bit not set",
        "RFC 3024 3.4",
    )
    HA_ENCAPSULATION_UNAVAILABLE = (
        139,
        Issuer.HA,
        "requested encapsulation unavailable",
        "RFC 3024 3.4",
    )
    HA_UNKNOWN_CVSE_FROM_MN = (
        140,
        Issuer.HA,
        "unknown vendor or CVSE type sent by MN",
        "RFC 3115 2.4",
    )
    HA_UNKNOWN_CVSE_FROM_FA = (
        141,
        Issuer.HA,
        "unknown vendor or CVSE type sent by FA",
        "RFC 3115 2.4",
    )
    HA_UDP_ENCAPSULATION_UNAVAILABLE = (
        142,
        Issuer.HA,
        "requested UDP tunnel encapsulation unavailable",
        "RFC 3519 8",
    )
    HA_REDIRECT_HA_REQ = (
        143,
        Issuer.HA,
        "re-register with redirected HA",
        "RFC 4433 7",
    )
    HA_BAD_AAA_AUTH = (
        144,
        Issuer.HA,
        "Mobile-AAA authentication failed at HA",
        "RFC 4721 10",
    )
    HA_ZERO_CAREOF_ADDRESS = (
        145,
        Issuer.HA,
        "zero care-of address without GFA IP Address extension",
        "RFC 4857 9.5",
    )
    HA_DYN_GFA_NOT_SUPP = (
        146,
        Issuer.HA,
        "dynamic GFA assignment not supported",
        "RFC 4857 9.5",
    )
    HA_MOBNET_ERROR = (
        147,
        Issuer.HA,
        "mobile network prefix operation error",
        "RFC 5177 11",
    )
    HA_MOBNET_DISALLOWED = (
        148,
        Issuer.HA,
        "mobile router operation not permitted",
        "RFC 5177 11",
    )
    HA_PMIP_UNSUPPORTED = (
        149,
        Issuer.HA,
        "proxy registration not supported by HA",
        "RFC 5563 12.2",
    )
    HA_PMIP_DISALLOWED = (
        150,
        Issuer.HA,
        "proxy registrations from this PMA not allowed",
        "RFC 5563 12.2",
    )
    HA_SERVICE_AUTHORIZATION_FAILED = (
        151,
        Issuer.HA,
        "service authorization failed",
        "RFC 5446 6",
    )
    HA_MULTIPATH_NOT_ALLOWED = (152, Issuer.HA, "multipath not allowed", "RFC 7629 4.3")
    HA_INVALID_FB_IDENTIFIER = (
        153,
        Issuer.HA,
        "invalid flow-binding identifier",
        "RFC 7629 4.3",
    )
    HA_EXPERIMENTAL = (192, Issuer.HA, "experimental HA error", "RFC 4064 7.3")
    GFA_NO_HOME_REG = (193, Issuer.GFA, "no home registration", "RFC 4857 10.3")
    FA_INVALID_HOME_AGENT = (
        194,
        Issuer.FA,
        "invalid home agent address",
        "RFC 5944 3.7.2",
    )
    CR_EXPIRED_HOME_NONCE_INDEX = (
        201,
        Issuer.CR,
        "expired home nonce index",
        "RFC 6521 10",
    )
    CR_EXPIRED_CARE_OF_NONCE_INDEX = (
        202,
        Issuer.CR,
        "expired care-of nonce index",
        "RFC 6521 10",
    )
    CR_EXPIRED_NONCES = (203, Issuer.CR, "expired nonces", "RFC 6521 10")


REPLY_CODES: dict[int, ReplyCode] = {int(code): code for code in ReplyCode}
"""Every assigned reply code by its number."""


def describe_code(code: int) -> str:
    """Say in words what a reply code means, also for a code that has no name.

    >>> describe_code(133)
    'HA: registration Identification mismatch'
    """
    named = REPLY_CODES.get(code)
    return f"unassigned code {code}" if named is None else named.text


HANDOFF_REPLY_CODES: dict[int, str] = {0: "success", 1: "generic failure"}
"""Codes of a Handoff Reply. RFC 4881 section 10.3."""

FAST_BINDING_MAX_LIFETIME = 10
"""Seconds that a fast binding may last. RFC 4988 section 5.1."""

FAST_BINDING_CODES: dict[int, str] = {
    0: "accepted",
    1: "accepted, NCoA supplied",
    128: "not accepted, unspecified",
    129: "administratively prohibited",
    130: "insufficient resources",
}
"""Codes of a Fast Binding Acknowledgment. RFC 4988 section 5.2."""

MESSAGE_DIRECTIONS: dict[int, str] = {
    0: "HA to MN",
    1: "HA to FA",
    2: "MN to HA",
    3: "MN to FA",
    4: "FA to MN",
    5: "FA to HA",
}
"""Who notifies whom. RFC 6098 section 4.1."""

NOTIFICATION_ACKNOWLEDGEMENT_CODES: dict[int, str] = {
    0: "accepted",
    64: "FA: unspecified",
    65: "FA: administratively prohibited",
    66: "FA: insufficient resources",
    67: "FA: MN failed authentication",
    68: "FA: HA failed authentication",
    69: "FA: Identification mismatch",
    128: "HA: unspecified",
    129: "HA: administratively prohibited",
    130: "HA: insufficient resources",
    131: "HA: MN failed authentication",
    132: "HA: FA failed authentication",
    133: "HA: Identification mismatch",
    192: "MN: unspecified",
    193: "MN: administratively prohibited",
    194: "MN: insufficient resources",
    195: "MN: FA failed authentication",
    196: "MN: HA failed authentication",
    197: "MN: Identification mismatch",
}
"""Codes of a Generic Notification Acknowledgement. RFC 6098 section 4.2."""

TUNNEL_DATA_HEADERS: dict[int, str] = {
    4: "IP-in-IP / IP-in-UDP",
    47: "GRE",
    55: "minimal",
    41: "IPv6 (RFC 5454 with next_header only)",
}
"""What Tunnel Data may hold, by IP protocol. RFC 3519 section 3.1.4, RFC 5454."""


SPI_CHAP = 2
"""The SPI that asks for an authenticator as RADIUS servers compute it. RFC 4721 8."""

SPI_MD5 = 3
"""MD5(key, data, key) with an AAA server, as 3GPP2 uses it; others HMAC. No RFC."""

SPI_HMAC = 4
"""HMAC with an AAA server. No RFC."""

KEY_GENERATION_SUBTYPES: dict[int, str] = {1: "from AAA"}
"""Subtypes of the extensions 40 to 43. RFC 3957 section 8."""

REPLAY_METHODS: dict[int, str] = {
    0: "reserved",
    1: "reserved",
    2: "timestamps",
    3: "nonces",
}
"""Replay protection of a derived key. RFC 3957 section 4."""

UDP_TUNNEL_REPLY_CODES: dict[int, str] = {
    0: "will do tunnelling",
    64: "declined, unspecified",
}
"""Codes of a UDP Tunnel Reply: below 64 it assents. RFC 3519 section 3.2.1."""

MOBILE_NETWORK_CODES: dict[int, str] = {
    0: "success",
    1: "invalid prefix (MOBNET_INVALID_PREFIX_LEN)",
    2: "unauthorized (MOBNET_UNAUTHORIZED)",
    3: "forwarding setup failed (MOBNET_FWDING_SETUP_FAILED)",
    4: "cannot assign prefix (MOBNET_UNASSIGNED)",
}
"""Codes of a Mobile Network acknowledgement. RFC 5177 4.2, RFC 6626 section 5."""

IPV6_PREFIX_CODES: dict[int, str] = {
    0: "accepted, tunnel to HoA",
    1: "accepted, tunnel to CoA",
    8: "rejected, unspecified",
    9: "rejected, administratively prohibited",
}
"""Codes of an IPv6 Prefix Reply. RFC 5454 section 2.2."""

ROUTE_OPTIMIZATION_CODES: dict[int, str] = {
    0: "will do route optimization",
    16: "declined, unspecified",
}
"""Codes of a Route Optimization Reply, in the five bits of the figure although the text
goes up to 63. RFC 6521 section 5.2."""

REPLAY_PROTECTION_STYLES: dict[int, str] = {0: "timestamp", 1: "nonce"}
"""Styles for regional registration. RFC 4857 section 9.3."""

PMIPV4_AUTHENTICATION_METHODS: dict[int, str] = {
    0: "reserved",
    1: "FA-HA authentication",
    2: "IPsec",
}
"""Per-node authentication methods. RFC 5563 section 5.1."""

PMIPV4_DEVICE_ID_TYPES: dict[int, str] = {
    0: "reserved",
    1: "Ethernet MAC",
    2: "MEID",
    3: "IMEI",
    4: "ESN",
}
"""Kinds of device identifiers. RFC 5563 section 5.3."""

PMIPV4_SUBSCRIBER_ID_TYPES: dict[int, str] = {0: "reserved", 1: "IMSI"}
"""Kinds of subscriber identifiers. RFC 5563 section 5.4."""

PMIPV4_ACCESS_TECHNOLOGIES: dict[int, str] = {
    0: "reserved",
    1: "802.3",
    2: "802.11a/b/g",
    3: "802.16e",
    4: "802.16m",
    5: "3GPP EUTRAN/LTE",
    6: "3GPP UTRAN/GERAN",
    7: "3GPP2 1xRTT/HRPD",
    8: "3GPP2 UMB",
}
"""Access technologies. RFC 5563 section 5.5."""

FLOW_ACTIONS: dict[int, str] = {0: "drop", 1: "forward"}
"""What a flow binding does. RFC 7629 section 4.2."""

TRAFFIC_SELECTOR_FORMATS: dict[int, str] = {
    1: "IPv4 binary (RFC 6088 3.1)",
    2: "IPv6 binary (RFC 6088 3.2)",
}
"""Formats of a traffic selector. RFC 7629 section 4.2."""

LINK_LAYER_ADDRESS_SUBTYPES: dict[int, str] = {
    1: "3GPP2 IMSI:connection id (ASCII)",
    2: "3GPP IMSI",
    3: "Ethernet MAC (48 bit)",
    4: "EUI-64",
    5: "solicited IPv4 address",
    6: "access point id (32 bit)",
    7: "FA IPv4 address",
}
"""Kinds of link-layer addresses. RFC 4881 section 9."""

NAI_CARRYING_SUBTYPES: dict[int, str] = {
    1: "HA identity",
    2: "AAAH identity",
    3: "FA-NAI (RFC 4857)",
}
"""Whose name it is. RFC 3846 sections 4 and 5, RFC 4857."""

VENDORS: dict[int, str] = {9: "Cisco", 5535: "3GPP2", 12951: "Verizon Wireless"}
"""Vendors whose extensions are known, by their enterprise number."""


class ICMPType(NamedInt):
    """ICMP types of Mobile IP. RFC 1256 section 3, RFC 4065."""

    AGENT_ADVERTISEMENT = (9, "Agent Advertisement")
    AGENT_SOLICITATION = (10, "Agent Solicitation")
    EXPERIMENTAL_MOBILITY = (41, "Experimental Mobility")


class DiscoveryExtensionType(NamedInt):
    """Types of extensions in router discovery, a number space of its own (COM-04)."""

    ONE_BYTE_PADDING = (0, "One-byte Padding")
    MOBILITY_AGENT_ADVERTISEMENT = (16, "Mobility Agent Advertisement")
    PREFIX_LENGTHS = (19, "Prefix-Lengths")
    LINK_LAYER_ADDRESS = (20, "Link-Layer Address (FMIPv4 option)")
    NEW_IPV4_ADDRESS = (21, "New IPv4 Address (FMIPv4 option)")
    NEW_ROUTER_PREFIX_INFORMATION = (
        22,
        "New Router Prefix Information (FMIPv4 option)",
    )
    CHALLENGE = (24, "Challenge")
    EXPERIMENTAL_NON_SKIPPABLE = (127, "Experimental non-skippable")
    NAI_CARRYING = (136, "NAI Carrying")
    LINK_LAYER_AND_IPV4_ADDRESS = (
        140,
        "Generalized Link Layer and IPv4 Address (advertisement)",
    )
    EXPERIMENTAL_SKIPPABLE = (255, "Experimental skippable")


class AgentFlag(enum.IntFlag):
    """Flags of a Mobility Agent Advertisement. RFC 5944 section 2.1.1."""

    R = 0x8000
    """Registration with a foreign agent on this link is required."""
    B = 0x4000
    """Busy: no new mobile nodes."""
    H = 0x2000
    """Home agent on this link."""
    F = 0x1000
    """Foreign agent on this link."""
    M = 0x0800
    """Minimal encapsulation."""
    G = 0x0400
    """GRE encapsulation."""
    r = 0x0200
    """Sent as zero, ignored on reception."""
    T = 0x0100
    """Reverse tunnelling. RFC 3024 section 3.1."""
    U = 0x0080
    """UDP tunnelling. RFC 3519 section 3.4."""
    X = 0x0040
    """Registration revocation. RFC 3543 section 3.1."""
    I = 0x0020  # noqa: E741  # the RFC's letter
    """Regional registration. RFC 4857 section 8.1, placed by RFC 5944 2.1.1."""


AGENT_ADVERTISEMENT_CODES: dict[int, str] = {
    0: "routes common traffic",
    16: "does not route common traffic",
}
"""ICMP codes of an agent advertisement. RFC 5944 section 2.1."""

ICMP_MOBILITY_SUBTYPES: dict[int, str] = {
    0: "CARD",
    1: "CXTP",
    6: "RtSolPr",
    7: "PrRtAdv",
    8: "HI",
    9: "HAck",
}
"""Subtypes of ICMP 41. RFC 4065 section 8, RFC 4988 section 8."""

PROXY_ADVERTISEMENT_CODES: dict[int, str] = {
    0: "use the tuple",
    1: "unsolicited handover trigger",
    2: "no new router info",
    3: "info for a subset",
    4: "unsolicited, not a trigger",
}
"""ICMP codes of a Proxy Router Advertisement. RFC 4988 section 5.4."""

HANDOVER_ACKNOWLEDGE_CODES: dict[int, str] = {
    0: "accepted",
    1: "accepted, NCoA not valid",
    2: "accepted, NCoA in use",
    3: "accepted, NCoA assigned",
    4: "accepted, NCoA not assigned",
    128: "not accepted",
    129: "administratively prohibited",
    130: "insufficient resources",
}
"""ICMP codes of a Handover Acknowledge. RFC 4988 section 5.6."""

LINK_LAYER_OPTION_CODES: dict[int, str] = {
    0: "wildcard",
    1: "new AP",
    2: "MN",
    3: "NAR",
    4: "source of RtSolPr/PrRtAdv",
    5: "AP belongs to current interface",
    6: "no prefix info",
    7: "no fast handover support",
}
"""Whose address a Link-Layer Address option holds. RFC 4988 section 6.1."""

ADDRESS_OPTION_CODES: dict[int, str] = {
    1: "previous CoA",
    2: "new CoA",
    3: "NAR address",
}
"""Which address a New IPv4 Address option holds. RFC 4988 section 6.2."""
