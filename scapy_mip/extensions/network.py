# SPDX-License-Identifier: GPL-2.0-only
"""Extensions about networks behind a node: mobile networks, IPv6, several paths.

RFC 5177 and RFC 6626, RFC 5454, RFC 7629.
"""

from __future__ import annotations

from typing import Any

from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    FieldLenField,
    FieldListField,
    FlagsField,
    IP6Field,
    IPField,
)

from scapy_mip.const import (
    FLOW_ACTIONS,
    IPV6_PREFIX_CODES,
    MOBILE_NETWORK_CODES,
    TRAFFIC_SELECTOR_FORMATS,
    ExtensionType,
)
from scapy_mip.extensions.base import (
    ExtensionTypeField,
    MIPExtension,
    register_extension,
)
from scapy_mip.fields import LengthField, RestField

MOBILE_NETWORK_SUBTYPES = {0: "request", 1: "explicit ack", 2: "implicit ack"}
"""What is done with a mobile network. RFC 5177 section 4."""


@register_extension
class MIPMobileNetwork(MIPExtension):
    """Mobile Network extension of a subtype that is not known. RFC 5177 section 4."""

    name = "Mobile Network"
    extension_type = ExtensionType.MOBILE_NETWORK
    fields_desc = [
        ExtensionTypeField(ExtensionType.MOBILE_NETWORK),
        LengthField(of="data", plus=1),
        ByteEnumField("subtype", 3, MOBILE_NETWORK_SUBTYPES),
        RestField("data", b"", plus=1),
    ]


@register_extension
class MIPMobileNetworkRequest(MIPExtension):
    """Mobile Network Request extension. RFC 5177 section 4.1.

    The prefix 0.0.0.0 asks for one. RFC 6626.
    """

    name = "Mobile Network Request"
    extension_type = ExtensionType.MOBILE_NETWORK
    extension_subtype = 0
    fields_desc = [
        ExtensionTypeField(ExtensionType.MOBILE_NETWORK),
        LengthField(plus=6),
        ByteEnumField("subtype", 0, MOBILE_NETWORK_SUBTYPES),
        ByteField("prefix_length", 0),
        IPField("prefix", "0.0.0.0"),
    ]

    def mysummary(self) -> str:
        """Show the network."""
        return self.sprintf("Mobile Network Request %prefix%/%prefix_length%")


@register_extension
class MIPMobileNetworkExplicitAck(MIPExtension):
    """Mobile Network Acknowledgement for a network asked for. RFC 5177 section 4.2."""

    name = "Mobile Network Explicit Ack"
    extension_type = ExtensionType.MOBILE_NETWORK
    extension_subtype = 1
    fields_desc = [
        ExtensionTypeField(ExtensionType.MOBILE_NETWORK),
        LengthField(plus=8),
        ByteEnumField("subtype", 1, MOBILE_NETWORK_SUBTYPES),
        ByteEnumField("code", 0, MOBILE_NETWORK_CODES),
        ByteField("prefix_length", 0),
        ByteField("reserved", 0),
        IPField("prefix", "0.0.0.0"),
    ]

    def mysummary(self) -> str:
        """Show the network and the code."""
        return self.sprintf("Mobile Network %prefix%/%prefix_length% %code%")


@register_extension
class MIPMobileNetworkImplicitAck(MIPMobileNetworkExplicitAck):
    """Mobile Network Acknowledgement for a configured one. RFC 5177 section 4.2."""

    name = "Mobile Network Implicit Ack"
    extension_subtype = 2
    subtype = 2


DUAL_STACK_SUBTYPES = {1: "prefix request", 2: "prefix reply", 3: "tunnelling mode"}
"""What is said about IPv6. RFC 5454 section 2."""


@register_extension
class MIPDualStack(MIPExtension):
    """Dual Stack extension of a subtype that is not known. RFC 5454 section 2."""

    name = "Dual Stack"
    extension_type = ExtensionType.DUAL_STACK
    fields_desc = [
        ExtensionTypeField(ExtensionType.DUAL_STACK),
        LengthField(of="data", plus=1),
        ByteEnumField("subtype", 0, DUAL_STACK_SUBTYPES),
        RestField("data", b"", plus=1),
    ]


@register_extension
class MIPIPv6PrefixRequest(MIPExtension):
    """IPv6 Prefix Request extension. RFC 5454 section 2.1.

    A prefix length of 255 marks a link-local address.
    """

    name = "IPv6 Prefix Request"
    extension_type = ExtensionType.DUAL_STACK
    extension_subtype = 1
    fields_desc = [
        ExtensionTypeField(ExtensionType.DUAL_STACK),
        LengthField(plus=18),
        ByteEnumField("subtype", 1, DUAL_STACK_SUBTYPES),
        ByteField("prefix_length", 64),
        IP6Field("prefix", "::"),
    ]


@register_extension
class MIPIPv6PrefixReply(MIPExtension):
    """IPv6 Prefix Reply extension. RFC 5454 section 2.2."""

    name = "IPv6 Prefix Reply"
    extension_type = ExtensionType.DUAL_STACK
    extension_subtype = 2
    fields_desc = [
        ExtensionTypeField(ExtensionType.DUAL_STACK),
        LengthField(plus=20),
        ByteEnumField("subtype", 2, DUAL_STACK_SUBTYPES),
        ByteEnumField("code", 0, IPV6_PREFIX_CODES),
        ByteField("prefix_length", 64),
        ByteField("reserved", 0),
        IP6Field("prefix", "::"),
    ]


@register_extension
class MIPIPv6TunnelingMode(MIPExtension):
    """IPv6 Tunneling Mode extension. RFC 5454 section 2.3."""

    name = "IPv6 Tunneling Mode"
    extension_type = ExtensionType.DUAL_STACK
    extension_subtype = 3
    fields_desc = [
        ExtensionTypeField(ExtensionType.DUAL_STACK),
        LengthField(plus=2),
        ByteEnumField("subtype", 3, DUAL_STACK_SUBTYPES),
        ByteField("reserved", 0),
    ]


MULTIPATH_SUBTYPES = {1: "multipath", 2: "flow binding"}
"""What is said about paths. RFC 7629 section 4."""

_PATH_FIELDS: list[Any] = [
    ByteField("if_att", 0),
    ByteField("if_label", 1),
    ByteField("binding_id", 1),
    FlagsField("flags", 0, 2, "OB"),
    BitField("reserved", 0, 6),
]


def _flow_fields(plus: int) -> list[Any]:
    """Return the fields of a flow binding.

    :param plus: bytes between the length and the action.
    """
    return [
        ByteEnumField("action", 1, FLOW_ACTIONS),
        FieldLenField("bid_count", None, fmt="B", count_of="bids"),
        FieldListField(
            "bids",
            [],
            ByteField("", 0),
            count_from=lambda p: p.bid_count,
            max_count=0xFF,
        ),
        ByteEnumField("ts_format", 1, TRAFFIC_SELECTOR_FORMATS),
        SelectorField(plus),
    ]


class SelectorField(RestField):
    """The traffic selector, behind a list whose size the binding says."""

    def __init__(self, plus: int) -> None:
        super().__init__("traffic_selector", b"", plus + 3)
        self.length_from = lambda p: max(p.length - self.plus - len(p.bids), 0)


class FlowLengthField(LengthField):
    """The length of a flow binding, which has two variable parts."""

    def __init__(self, plus: int, fmt: str) -> None:
        super().__init__("traffic_selector", plus + 3, fmt)
        self.adjust = lambda pkt, size: size + plus + 3 + len(pkt.bids)


@register_extension
class MIPMultipathExtension(MIPExtension):
    """Type 154 with a subtype that is not known. RFC 7629 section 4."""

    name = "Multipath"
    extension_type = ExtensionType.MULTIPATH
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.MULTIPATH),
        ByteEnumField("subtype", 0, MULTIPATH_SUBTYPES),
        LengthField(of="data", fmt="H"),
        RestField("data", b""),
    ]


@register_extension
class MIPMultipath(MIPExtension):
    """Multipath extension in the long format of RFC 7629 section 4.1."""

    name = "Multipath"
    extension_type = ExtensionType.MULTIPATH
    extension_subtype = 1
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.MULTIPATH),
        ByteEnumField("subtype", 1, MULTIPATH_SUBTYPES),
        LengthField(plus=4, fmt="H"),
        *_PATH_FIELDS,
    ]


@register_extension
class MIPMultipathShort(MIPExtension):
    """Multipath extension in the short format, which suits its skippable type."""

    name = "Multipath, short"
    extension_type = ExtensionType.MULTIPATH
    extension_subtype = 1
    fields_desc = [
        ExtensionTypeField(ExtensionType.MULTIPATH),
        LengthField(plus=5),
        ByteEnumField("subtype", 1, MULTIPATH_SUBTYPES),
        *_PATH_FIELDS,
    ]


@register_extension
class MIPFlowBinding(MIPExtension):
    """Flow Binding extension in the long format of RFC 7629 section 4.2."""

    name = "Flow Binding"
    extension_type = ExtensionType.MULTIPATH
    extension_subtype = 2
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.MULTIPATH),
        ByteEnumField("subtype", 2, MULTIPATH_SUBTYPES),
        FlowLengthField(0, "H"),
        *_flow_fields(0),
    ]

    @classmethod
    def fits(cls, data: bytes, start: int, end: int) -> bool:
        """Return whether all bindings are there that it counts."""
        size = _fixed_size(cls)
        return end - start >= size and end - start >= size + data[start + size - 2]


@register_extension
class MIPFlowBindingShort(MIPExtension):
    """Flow Binding extension in the short format, which suits its skippable type."""

    name = "Flow Binding, short"
    extension_type = ExtensionType.MULTIPATH
    extension_subtype = 2
    fields_desc = [
        ExtensionTypeField(ExtensionType.MULTIPATH),
        FlowLengthField(1, "B"),
        ByteEnumField("subtype", 2, MULTIPATH_SUBTYPES),
        *_flow_fields(1),
    ]

    @classmethod
    def fits(cls, data: bytes, start: int, end: int) -> bool:
        """Return whether all bindings are there that it counts."""
        size = _fixed_size(cls)
        return end - start >= size and end - start >= size + data[start + size - 2]


def _fixed_size(cls: type[MIPExtension]) -> int:
    return cls.header_size + cls.least_body
