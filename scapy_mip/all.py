# SPDX-License-Identifier: GPL-2.0-only
"""Every layer, enumeration and helper: `from scapy_mip.all import *`.

Importing it gives UDP port 434 to these layers.
"""

from scapy_mip import _bindings
from scapy_mip.auth import Algorithm, SecurityAssociation, sign, verify
from scapy_mip.base import register_message
from scapy_mip.const import (
    MIP_PORT,
    AgentFlag,
    DiscoveryExtensionType,
    Encapsulation,
    ExtensionType,
    MessageType,
    ReplyCode,
    RequestFlag,
    describe_code,
    flag_letters,
)
from scapy_mip.discovery import (
    MIPICMP,
    MIPAgentAdvertisement,
    MIPAgentSolicitation,
    MIPExperimentalMobility,
    MIPRouterEntry,
)
from scapy_mip.discovery_extensions import (
    MIPChallenge,
    MIPDiscoveryExperimentalNonSkippable,
    MIPDiscoveryExperimentalSkippable,
    MIPDiscoveryExtension,
    MIPDiscoveryLinkLayerAndIPv4Address,
    MIPDiscoveryNAICarrying,
    MIPDiscoveryOneBytePadding,
    MIPLinkLayerAddress,
    MIPMobilityAgentAdvertisement,
    MIPNewIPv4Address,
    MIPNewRouterPrefixInformation,
    MIPPrefixLengths,
    register_discovery_extension,
)
from scapy_mip.encap import MIPMinimalEncapsulation
from scapy_mip.experimental import MIPExperimentalMessage
from scapy_mip.extensions.auth import (
    MIPFHAE,
    MIPMFAE,
    MIPMHAE,
    MIPAuthentication,
    MIPForeignHomeAuthentication,
    MIPGeneralizedMobileIPAuthentication,
    MIPMobileForeignAuthentication,
    MIPMobileHomeAuthentication,
)
from scapy_mip.extensions.base import (
    MIPExtension,
    MIPLongExtension,
    MIPOneBytePadding,
    dissect_extensions,
    extension_name,
    is_skippable,
    register_extension,
)
from scapy_mip.extensions.identity import MIPNAI, MIPMobileNodeNAI
from scapy_mip.handover import (
    MIPFastBindingAcknowledgment,
    MIPFastBindingUpdate,
    MIPHandoffReply,
    MIPHandoffRequest,
)
from scapy_mip.messages import MIP, MIPMessage, message_name
from scapy_mip.notification import (
    MIPGenericNotificationAcknowledgementMessage,
    MIPGenericNotificationMessage,
)
from scapy_mip.regional import (
    MIPRegionalRegistrationReply,
    MIPRegionalRegistrationRequest,
)
from scapy_mip.registration import (
    MIPRRP,
    MIPRRQ,
    MIPRegistrationReply,
    MIPRegistrationRequest,
)
from scapy_mip.revocation import (
    MIPRegistrationRevocation,
    MIPRegistrationRevocationAcknowledgment,
)
from scapy_mip.routeopt import (
    MIPCareOfTest,
    MIPCareOfTestInit,
    MIPHomeTest,
    MIPHomeTestInit,
)
from scapy_mip.tunneldata import MIPTunnelData

restore_builtin_mobileip = _bindings.restore

__all__ = [
    "MIP",
    "MIPFHAE",
    "MIPICMP",
    "MIPMFAE",
    "MIPMHAE",
    "MIPNAI",
    "MIPRRP",
    "MIPRRQ",
    "MIP_PORT",
    "AgentFlag",
    "Algorithm",
    "DiscoveryExtensionType",
    "Encapsulation",
    "ExtensionType",
    "MIPAgentAdvertisement",
    "MIPAgentSolicitation",
    "MIPAuthentication",
    "MIPCareOfTest",
    "MIPCareOfTestInit",
    "MIPChallenge",
    "MIPDiscoveryExperimentalNonSkippable",
    "MIPDiscoveryExperimentalSkippable",
    "MIPDiscoveryExtension",
    "MIPDiscoveryLinkLayerAndIPv4Address",
    "MIPDiscoveryNAICarrying",
    "MIPDiscoveryOneBytePadding",
    "MIPExperimentalMessage",
    "MIPExperimentalMobility",
    "MIPExtension",
    "MIPFastBindingAcknowledgment",
    "MIPFastBindingUpdate",
    "MIPForeignHomeAuthentication",
    "MIPGeneralizedMobileIPAuthentication",
    "MIPGenericNotificationAcknowledgementMessage",
    "MIPGenericNotificationMessage",
    "MIPHandoffReply",
    "MIPHandoffRequest",
    "MIPHomeTest",
    "MIPHomeTestInit",
    "MIPLinkLayerAddress",
    "MIPLongExtension",
    "MIPMessage",
    "MIPMinimalEncapsulation",
    "MIPMobileForeignAuthentication",
    "MIPMobileHomeAuthentication",
    "MIPMobileNodeNAI",
    "MIPMobilityAgentAdvertisement",
    "MIPNewIPv4Address",
    "MIPNewRouterPrefixInformation",
    "MIPOneBytePadding",
    "MIPPrefixLengths",
    "MIPRegionalRegistrationReply",
    "MIPRegionalRegistrationRequest",
    "MIPRegistrationReply",
    "MIPRegistrationRequest",
    "MIPRegistrationRevocation",
    "MIPRegistrationRevocationAcknowledgment",
    "MIPRouterEntry",
    "MIPTunnelData",
    "MessageType",
    "ReplyCode",
    "RequestFlag",
    "SecurityAssociation",
    "describe_code",
    "dissect_extensions",
    "extension_name",
    "flag_letters",
    "is_skippable",
    "message_name",
    "register_discovery_extension",
    "register_extension",
    "register_message",
    "restore_builtin_mobileip",
    "sign",
    "verify",
]
