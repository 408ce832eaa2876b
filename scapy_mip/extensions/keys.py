# SPDX-License-Identifier: GPL-2.0-only
"""Extensions that ask for and bring key generation nonces. RFC 3957 section 6.

What the keys are derived from them is in `scapy_mip.keys`.
"""

from __future__ import annotations

from scapy.fields import ByteEnumField, IntField, ShortEnumField, ShortField

from scapy_mip.const import KEY_GENERATION_SUBTYPES, REPLAY_METHODS, ExtensionType
from scapy_mip.extensions.base import (
    ExtensionTypeField,
    MIPExtension,
    register_extension,
)
from scapy_mip.fields import LengthField, RestField, SPIField


@register_extension
class MIPMNFAKeyGenerationNonceRequest(MIPExtension):
    """MN-FA Key Generation Nonce Request extension. RFC 3957 section 6.1."""

    name = "MN-FA Key Generation Nonce Request"
    extension_type = ExtensionType.MN_FA_KEY_GENERATION_NONCE_REQUEST
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.MN_FA_KEY_GENERATION_NONCE_REQUEST),
        ByteEnumField("subtype", 1, KEY_GENERATION_SUBTYPES),
        LengthField(of="subtype_data", plus=4, fmt="H"),
        SPIField("mn_spi", 256),
        RestField("subtype_data", b"", plus=4),
    ]


@register_extension
class MIPMNFAKeyGenerationNonceReply(MIPExtension):
    """MN-FA Key Generation Nonce Reply extension. RFC 3957 section 6.2."""

    name = "MN-FA Key Generation Nonce Reply"
    extension_type = ExtensionType.MN_FA_KEY_GENERATION_NONCE_REPLY
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.MN_FA_KEY_GENERATION_NONCE_REPLY),
        ByteEnumField("subtype", 1, KEY_GENERATION_SUBTYPES),
        LengthField(of="key_generation_nonce", plus=14, fmt="H"),
        IntField("lifetime", 0),
        SPIField("aaa_spi", 256),
        SPIField("fa_spi", 256),
        ShortField("algorithm_id", 0),
        RestField("key_generation_nonce", b"", plus=14),
    ]


@register_extension
class MIPMNHAKeyGenerationNonceRequest(MIPExtension):
    """MN-HA Key Generation Nonce Request extension. RFC 3957 section 6.3."""

    name = "MN-HA Key Generation Nonce Request"
    extension_type = ExtensionType.MN_HA_KEY_GENERATION_NONCE_REQUEST
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.MN_HA_KEY_GENERATION_NONCE_REQUEST),
        ByteEnumField("subtype", 1, KEY_GENERATION_SUBTYPES),
        LengthField(of="subtype_data", plus=4, fmt="H"),
        SPIField("mn_spi", 256),
        RestField("subtype_data", b"", plus=4),
    ]


@register_extension
class MIPMNHAKeyGenerationNonceReply(MIPExtension):
    """MN-HA Key Generation Nonce Reply extension. RFC 3957 section 6.4."""

    name = "MN-HA Key Generation Nonce Reply"
    extension_type = ExtensionType.MN_HA_KEY_GENERATION_NONCE_REPLY
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.MN_HA_KEY_GENERATION_NONCE_REPLY),
        ByteEnumField("subtype", 1, KEY_GENERATION_SUBTYPES),
        LengthField(of="key_generation_nonce", plus=16, fmt="H"),
        IntField("lifetime", 0),
        SPIField("aaa_spi", 256),
        SPIField("ha_spi", 256),
        ShortField("algorithm_id", 0),
        ShortEnumField("replay_method", 2, REPLAY_METHODS),
        RestField("key_generation_nonce", b"", plus=16),
    ]
