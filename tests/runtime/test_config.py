# SPDX-License-Identifier: GPL-2.0-only
"""Configuration files: what they become, and one line for everything that is wrong."""

from importlib import resources
from ipaddress import IPv4Network
from pathlib import Path

import pytest

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
from mip_agents.protocol.quirks import NodeQuirk
from mip_agents.protocol.security import NodeAssociation, ReplayStyle
from mip_agents.protocol.tunnel import Category
from mip_agents.runtime.config import ConfigError, load_config
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import Encapsulation

KEY_HEX = "31323334353637383132333435363738"
SECRET = "hunter2hunter2hu"

HA = f"""\
[home_agent]
address = "10.1.1.20"
home_network = "10.1.1.0/24"
state_dir = "state"
# here
[[mobile_node]]
home_address = "10.1.1.10"
spi = 256
key_hex = "{KEY_HEX}"
# there
"""

MN = f"""\
[mobile_node]
home_address = "10.1.1.10"
home_agent = "10.1.1.20"
spi = 256
key_text = "{SECRET}"
interfaces = ["eth0"]
# here
"""

FA = f"""\
[foreign_agent]
interfaces = ["eth1"]
care_of_addresses = ["10.1.2.1"]
# here
[[mobile_node]]
home_address = "10.1.1.10"
spi = 400
key_text = "{SECRET}"
# there
[[home_agent]]
address = "10.1.1.20"
spi = 300
key_hex = "{KEY_HEX}"
"""


@pytest.fixture
def write(tmp_path):
    def writing(text, name="mip.toml", mode=0o600):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        return path

    return writing


def test_a_home_agent_with_defaults(write):
    """HA-01: its address, the size of its network, an association for each node."""
    path = write(HA)
    config = load_config(path)
    policy = config.policy
    assert isinstance(policy, HomeAgentPolicy)
    assert policy.address == "10.1.1.20"
    assert policy.home_network == IPv4Network("10.1.1.0/24")
    assert policy.max_lifetime == 36000
    assert policy.max_bindings_per_node == 4
    assert policy.encapsulations == {Encapsulation.IPIP, Encapsulation.GRE}
    assert policy.reverse_tunnel is ReverseTunnel.OPTIONAL
    assert policy.broadcasts == frozenset()
    assert policy.timestamp_tolerance == 7
    assert policy.advertisement == AdvertisementPolicy(interval=3.0)
    found = policy.mobile_nodes.find("10.1.1.10", 256)
    assert found == SecurityAssociation(256, "1234567812345678")
    assert config.options.state_dir == path.parent / "state"
    assert config.options.control_socket == Path("/run/mip/ha.sock")
    assert config.options.dataplane == "auto"
    assert config.warnings == ()


def test_each_node_has_its_replay_style_and_its_quirks(write):
    """HA-28: the style is part of the association."""
    more = 'replay = "nonce"\nquirks = ["any_clock", "code_0_only"]'
    policy = load_config(write(HA.replace("# there", more))).policy
    assert isinstance(policy, HomeAgentPolicy)
    assert not policy.strict
    association = policy.mobile_nodes.find("10.1.1.10", 256)
    assert isinstance(association, NodeAssociation)
    assert association.replay is ReplayStyle.NONCE
    assert association.quirks == set(NodeQuirk)
    assert association != SecurityAssociation(256, "1234567812345678")


def test_nodes_with_a_name_get_their_address_from_a_pool(write):
    """HA-24: a pool of their own, that of the home agent, or one fixed address."""
    text = HA.replace("# here", 'address_pool = ["10.1.1.64/27", "10.1.1.128"]')
    for line in (
        'nai = "a@example.org"',
        'nai = "b@example.org"\naddress_pool = "10.1.1.100-10.1.1.109"',
        'nai = "@Example.org"\nhome_address = "10.1.1.77"',
    ):
        text += f'[[mobile_node]]\n{line}\nspi = 300\nkey_hex = "{KEY_HEX}"\n'
    policy = load_config(write(text)).policy
    assert isinstance(policy, HomeAgentPolicy)
    sizes = {}
    for name in ("a@example.org", "b@example.org", "c@example.org"):
        found = policy.named_nodes.find(name, 300)
        assert found is not None
        sizes[name[0]] = found.pool.size
    assert sizes == {"a": 33, "b": 10, "c": 1}
    assert policy.named_nodes.find("a@example.org", 256) is None
    assert policy.named_nodes.any_of("a@example.com") is None


def test_a_home_agent_with_everything(write):
    write(
        '[[mobile_node]]\nhome_address = "10.1.1.64/26"\nspi = 300\n'
        'key_file = "key"\nalgorithm = "hmac-sha256"\n',
        "nodes.toml",
    )
    write("1234567812345678\n", "key")
    text = HA.replace(
        "# here",
        """\
max_lifetime = 65535
max_bindings_per_node = 1
encapsulations = ["gre"]
reverse_tunnel = "required"
broadcasts = ["limited", "multicast"]
timestamp_tolerance = 20
strict = true
advertisement_interval = 20
advertisement_destination = "255.255.255.255"
icmp_code = 16
prefix_lengths = true
control_socket = "ha.sock"
dataplane = "none"
ntp_server = ["a.example", "b.example"]
mobile_nodes_file = "nodes.toml"
""",
    ).replace(
        "# there",
        f"""\
[[foreign_agent]]
address = "10.1.2.1"
spi = 400
key_hex = "{KEY_HEX}"
""",
    )
    config = load_config(write(text), "home_agent")
    policy = config.policy
    assert isinstance(policy, HomeAgentPolicy)
    assert policy.max_lifetime == 65535
    assert policy.encapsulations == {Encapsulation.GRE}
    assert policy.reverse_tunnel is ReverseTunnel.REQUIRED
    assert policy.broadcasts == {Category.LIMITED, Category.MULTICAST}
    assert policy.strict
    assert policy.advertisement == AdvertisementPolicy(
        interval=20, icmp_code=16, destination="255.255.255.255", prefix_lengths=True
    )
    key = "1234567812345678"
    assert policy.mobile_nodes.find("10.1.1.99", 300) == SecurityAssociation(
        300, key, "hmac-sha256"
    )
    assert policy.foreign_agents.find("10.1.2.1", 400) == SecurityAssociation(400, key)
    assert config.options.ntp_servers == ("a.example", "b.example")
    assert config.options.dataplane == "none"


def test_a_home_agent_need_not_advertise(write):
    """AG-06, AG-14: not at all, or only when it is asked."""
    policy = load_config(write(HA.replace("# here", "advertise = false"))).policy
    assert isinstance(policy, HomeAgentPolicy)
    assert policy.advertisement is None
    asked = HA.replace("# here", "advertisement_interval = 0")
    policy = load_config(write(asked)).policy
    assert isinstance(policy, HomeAgentPolicy)
    assert policy.advertisement == AdvertisementPolicy(interval=0)


def test_all_encapsulations(write):
    """HA-43: as many as there are flags for."""
    every = 'encapsulations = ["ipip", "gre", "minimal"]'
    config = load_config(write(HA.replace("# here", every)), "home_agent")
    assert config.policy.encapsulations == set(Encapsulation)
    chosen = 'encapsulation = "minimal"'
    config = load_config(write(MN.replace("# here", chosen)), "mobile_node")
    assert config.policy.encapsulation is Encapsulation.MINIMAL


def test_a_mobile_node(write):
    """MN-28."""
    text = MN.replace(
        "# here",
        """\
home_network = "10.1.1.0/24"
algorithm = "hmac-sha1"
lifetime = 65535
reverse_tunnel = false
encapsulation = "gre"
broadcasts = true
care_of = "co-located"
ntp_server = "a.example"
quirks = ["coarse_timestamps"]
""",
    )
    config = load_config(write(text), "mobile_node")
    policy = config.policy
    assert isinstance(policy, MobileNodePolicy)
    assert policy.security == SecurityAssociation(256, SECRET, "hmac-sha1")
    assert policy.encapsulation is Encapsulation.GRE
    assert policy.home_network == IPv4Network("10.1.1.0/24")
    assert (policy.lifetime, policy.reverse_tunnel) == (65535, False)
    assert policy.interfaces == ("eth0",)
    assert policy.broadcasts
    assert policy.roam
    assert policy.coarse_timestamps
    assert policy.care_of is CareOf.CO_LOCATED
    assert config.options.ntp_servers == ("a.example",)


def test_a_mobile_node_that_uses_foreign_agents(write):
    text = MN.replace(
        "# here",
        f"""\
care_of = "foreign-agent"
delivery_style = "encapsulating"
simultaneous_bindings = true
[[foreign_agent]]
address = "10.1.2.1"
spi = 400
key_hex = "{KEY_HEX}"
""",
    )
    policy = load_config(write(text), "mobile_node").policy
    assert isinstance(policy, MobileNodePolicy)
    assert policy.care_of is CareOf.FOREIGN_AGENT
    assert policy.delivery_style is DeliveryStyle.ENCAPSULATING
    assert policy.simultaneous
    shared = SecurityAssociation(400, bytes.fromhex(KEY_HEX))
    assert policy.foreign_agents.find("10.1.2.1", 400) == shared


def test_a_mobile_node_with_defaults_uses_what_there_is(write):
    policy = load_config(write(MN), "mobile_node").policy
    assert isinstance(policy, MobileNodePolicy)
    assert policy.care_of is CareOf.AUTO
    assert policy.delivery_style is DeliveryStyle.DIRECT
    assert not policy.simultaneous
    assert policy.hysteresis == HYSTERESIS_S
    assert policy.foreign_agents.is_empty


H, M = "home_agent", "mobile_node"

# What is put in the place of `# here` or of a line; the beginning of the error; a part.
ERRORS = [
    # Unknown keys
    (HA, "# here", "max_lifetme = 5", "home_agent.max_lifetme: unknown key",
     "did you mean max_lifetime?"),
    (HA, "# here", "zzz = 5", "home_agent.zzz: unknown key", "allowed: address, "),
    (HA, "# there", "key_txt = 5", "mobile_node[0].key_txt: unknown key", "key_text"),
    (HA, "address = ", "adress = ", "home_agent.adress: unknown key", "address?"),
    (HA, "[home_agent]", "[home_agnet]", "home_agnet: unknown key", "home_agent?"),
    (HA, "# here", r'"max\nlifetime" = 5', "home_agent.a key that is no name: ", ""),
    (HA, "# here", r'"\u001b[2J" = 5', "home_agent.a key that is no name: ", ""),
    (HA, "# there", f'{KEY_HEX} = "key_hex"',
     "mobile_node[0].a key that is no name: ", "allowed: "),
    (HA, "[home_agent]", r'["home_agent\n"]', "a key that is no name: ", "home_agent?"),
    (MN, "spi = 256", "SPI = 256", "mobile_node.SPI: unknown key", ""),
    # Missing keys
    (HA, 'home_network = "10.1.1.0/24"', "", "home_agent.home_network: is missing", ""),
    (HA, "spi = 256", "", "mobile_node[0].spi: is missing", ""),
    (MN, 'interfaces = ["eth0"]', "", "mobile_node.interfaces: is missing", ""),
    # Wrong types
    (HA, "# here", 'max_lifetime = "600"', "home_agent.max_lifetime: wrong type",
     "a whole number"),
    (HA, "# here", "max_lifetime = 600.0", "home_agent.max_lifetime: wrong type", ""),
    (HA, "# here", "max_lifetime = true", "home_agent.max_lifetime: wrong type", ""),
    (HA, '"10.1.1.20"', "20", "home_agent.address: wrong type", "text in quotes"),
    (HA, "# here", 'encapsulations = "gre"', "home_agent.encapsulations: wrong type",
     "a list"),
    (HA, "# here", "mobile_node = 5", "", ""),
    (MN, "# here", 'reverse_tunnel = "yes"', "mobile_node.reverse_tunnel: wrong type",
     "true or false"),
    # Out of range
    (HA, "# here", "max_lifetime = 65536", "home_agent.max_lifetime: out of range",
     "1 to 65535"),
    (HA, "# here", "max_lifetime = 0", "home_agent.max_lifetime: out of range", ""),
    (HA, "# here", "max_bindings_per_node = 0", "home_agent.max_bindings_per_node: ",
     "1 to 64"),
    (HA, "# here", "timestamp_tolerance = -1", "home_agent.timestamp_tolerance: ", ""),
    (HA, "# here", "advertisement_interval = 0.05",
     "home_agent.advertisement_interval: out of range", "0.1 to 1800 seconds, or 0"),
    (HA, "# here", "advertisement_interval = nan",
     "home_agent.advertisement_interval: out of range", ""),
    (HA, "# here", "advertisement_interval = true",
     "home_agent.advertisement_interval: wrong type", "a number"),
    (HA, "# here", "icmp_code = 1", "home_agent.icmp_code: not a known code",
     "0 (routes common traffic), 16 ("),
    (HA, "# here", 'advertisement_destination = "10.1.1.255"',
     "home_agent.advertisement_destination: not one", '"224.0.0.1", "255.255.255.255"'),
    (HA, "spi = 256", "spi = 255", "mobile_node[0].spi: out of range", "256 to"),
    (HA, "spi = 256", "spi = 4294967296", "mobile_node[0].spi: out of range", ""),
    (MN, "# here", "lifetime = 0", "mobile_node.lifetime: out of range", ""),
    # Values
    (HA, '"10.1.1.20"', '"10.1.1.300"', "home_agent.address: not an IPv4 address", ""),
    (HA, '"10.1.1.20"', '"224.0.0.1"', "home_agent.address: not a unicast", ""),
    (HA, '"10.1.1.20"', '"0.0.0.0"', "home_agent.address: not a unicast", ""),
    (HA, '"10.1.1.0/24"', '"10.1.1.5/24"', "home_agent.home_network: has bits set",
     "allowed: 10.1.1.0/24"),
    (HA, '"10.1.1.0/24"', '"home"', "home_agent.home_network: not an IPv4 prefix", ""),
    (HA, "# here", 'encapsulations = ["gre", "l2tp"]', "home_agent.encapsulations[1]: ",
     'not one of the known values; allowed: "ipip", "gre", "minimal"'),
    (MN, "# here", 'encapsulation = "l2tp"', "mobile_node.encapsulation: not one",
     '"ipip", "gre", "minimal"'),
    (HA, "# here", "encapsulations = []", "home_agent.encapsulations: is empty", ""),
    (HA, "# here", 'encapsulations = ["gre", "gre"]', "home_agent.encapsulations: ",
     "twice"),
    (HA, "# here", 'reverse_tunnel = "yes"', "home_agent.reverse_tunnel: ",
     '"off", "optional", "required"'),
    (HA, "# here", 'broadcasts = ["subnets"]', "home_agent.broadcasts[0]: not one",
     '"limited", "subnet", "multicast"'),
    (HA, "# here", 'broadcasts = ["multicast"]\nreverse_tunnel = "off"',
     "home_agent.broadcasts: multicast takes a reverse tunnel", '"optional"'),
    (MN, "# here", 'broadcasts = ["limited"]', "mobile_node.broadcasts: wrong type",
     "true or false"),
    (HA, "# there", 'algorithm = "md4"', "mobile_node[0].algorithm: ",
     '"hmac-md5", "hmac-sha1", "hmac-sha256", "md5-prefix-suffix"'),
    (HA, '"10.1.1.10"', '"10.1.2.10"', "mobile_node[0].home_address: not in",
     "10.1.1.0/24"),
    (HA, '"10.1.1.10"', '"10.1.0.0/16"', "mobile_node[0].home_address: not in", ""),
    (HA, '"10.1.1.10"', '"10.1.1.20"', "mobile_node[0].home_address: is the home", ""),
    (HA, "# here", 'control_socket = ""', "home_agent.control_socket: no path", ""),
    (HA, '"state"', r'"a\u0000b"', "home_agent.state_dir: no path", ""),
    (HA, "# there", r'key_file = "a\nb"', "mobile_node[0].key_file: no path",
     "printable"),
    (HA, "# here", f'control_socket = "/{"x" * 107}"', "home_agent.control_socket: too",
     "107"),
    (HA, "# here", 'ntp_server = ""', "home_agent.ntp_server[0]: is empty", ""),
    (HA, "# here", 'mobile_nodes_file = "none.toml"', "cannot be read: No such file",
     ""),
    (HA, "# there", f"""[[mobile_node]]
home_address = "10.1.1.10"
spi = 256
key_text = "{SECRET}" """, "mobile_node[1].spi: 10.1.1.10 has SPI 256 twice", ""),
    (MN, '["eth0"]', "[]", "mobile_node.interfaces: is empty", ""),
    (MN, '["eth0"]', '["eth0", "a/b"]', "mobile_node.interfaces[1]: not the name", ""),
    (MN, '["eth0"]', '["eth0", "eth0"]', "mobile_node.interfaces: has an entry", ""),
    (MN, '"10.1.1.20"', '"10.1.1.10"', "mobile_node.home_address: is the home", ""),
    (MN, "# here", 'home_network = "10.9.0.0/16"', "mobile_node.home_address: not in",
     ""),
    (MN, "# here", 'quirks = ["magic"]', "mobile_node.quirks[0]: ", "coarse"),
    # Keys
    (HA, "key_hex", "# key_hex", "mobile_node[0].key_hex: give exactly one of",
     "key_hex, key_text, key_file"),
    (HA, "# there", f'key_text = "{SECRET}"', "mobile_node[0].key_hex: give exactly",
     ""),
    (HA, KEY_HEX, "123", "mobile_node[0].key_hex: not hexadecimal", "digits 0-9 a-f"),
    (HA, KEY_HEX, "", "mobile_node[0].key_hex: the key is empty", ""),
    (MN, f'key_text = "{SECRET}"', 'key_file = "nokey"',
     "mobile_node.key_file: cannot read", "No such file"),
    # What this version cannot do
    (HA, "# here", 'dataplane = "magic"', "home_agent.dataplane: not one",
     '"auto", "ebpf", "kernel", "tun", "none"'),
    (HA, "# there", 'replay = "none"', "mobile_node[0].replay: not one",
     'allowed: "timestamp", "nonce"'),
    (HA, "# there", 'quirks = ["magic"]', "mobile_node[0].quirks[0]: not one",
     'allowed: "any_clock", "code_0_only"'),
    (HA, "# here", "strict = 1", "home_agent.strict: ", "true or false"),
    (HA, "# there", 'nai = "mn"', "mobile_node[0].nai: not an NAI", "user@realm"),
    (HA, 'home_address = "10.1.1.10"', 'nai = "mn@example.org"',
     "mobile_node[0].address_pool: is missing", "home_address"),
    (HA, 'home_address = "10.1.1.10"', "", "mobile_node[0].home_address: is missing",
     "nai"),
    (HA, "# there", 'address_pool = "10.1.1.100-10.1.1.109"',
     "mobile_node[0].address_pool: is for nodes with a name", "with nai"),
    (HA, "# there", 'nai = "mn@example.org"\naddress_pool = "10.1.1.0/25"',
     "mobile_node[0].address_pool: home_address says it", "one of them"),
    (HA, 'home_address = "10.1.1.10"', 'nai = "@b"\naddress_pool = "10.1.2.0/25"',
     "mobile_node[0].address_pool: not in home_agent.home_network", "10.1.1.0/24"),
    (HA, "10.1.1.10\"", '10.1.9.10"\nnai = "mn@example.org"',
     "mobile_node[0].home_address: not in home_agent.home_network", "10.1.1.0/24"),
    (HA, "# here", 'address_pool = "10.1.1.9-10.1.1.1"',
     "home_agent.address_pool[0]: not a range", "10.1.1.100-10.1.1.150"),
    (HA, "# here", "address_pool = []", "home_agent.address_pool: is empty", ""),
    (HA, "# there", f"""[[mobile_node]]
nai = "mn@example.org"
home_address = "10.1.1.11"
spi = 256
key_text = "{SECRET}"
[[mobile_node]]
nai = "mn@EXAMPLE.org"
home_address = "10.1.1.12"
spi = 256
key_text = "{SECRET}" """, "mobile_node[2].spi: mn@example.org has SPI 256 twice", ""),
    (MN, "# here", 'care_of = "agent"', "mobile_node.care_of: not one of",
     'allowed: "auto", "co-located", "foreign-agent"'),
    (MN, "# here", 'delivery_style = "plain"', "mobile_node.delivery_style: not one of",
     'allowed: "direct", "encapsulating"'),
    (MN, "# here", "simultaneous_bindings = 1", "mobile_node.simultaneous_bindings: ",
     ""),
    (MN, "# here", '[[foreign_agent]]\naddress = "10.1.2.1"',
     "foreign_agent[0].spi: is missing", ""),
    (MN, "# here", f"""[[foreign_agent]]
address = "10.1.2.1"
spi = 400
key_text = "{SECRET}"
[[foreign_agent]]
address = "10.1.2.1"
spi = 400
key_hex = "{KEY_HEX}" """, "foreign_agent[1].spi: ", "one key for each SPI"),
    # A foreign agent
    (FA, '["eth1"]', "[]", "foreign_agent.interfaces: is empty", ""),
    (FA, '["10.1.2.1"]', "[]", "foreign_agent.care_of_addresses: is empty", ""),
    (FA, '"10.1.2.1"', '"224.0.0.1"', "foreign_agent.care_of_addresses[0]: not a", ""),
    (FA, '"10.1.2.1"', ", ".join(f'"10.1.2.{n}"' for n in range(1, 64)),
     "foreign_agent.care_of_addresses: do not fit", "up to 62"),
    (FA, "care_of_addresses", "careof_addresses",
     "foreign_agent.careof_addresses: unknown key", "care_of_addresses"),
    (FA, "# here", 'reverse_tunnel = "optional"', "foreign_agent.reverse_tunnel: not",
     'allowed: true, false, "required"'),
    (FA, "# here", "reverse_tunnel = 1", "foreign_agent.reverse_tunnel: not", ""),
    (FA, "# here", "reverse_tunnel = [true]", "foreign_agent.reverse_tunnel: not", ""),
    (FA, "# here", "icmp_code = 1", "foreign_agent.icmp_code: ", "16"),
    (FA, "# here", 'advertisement_destination = "10.1.2.255"',
     "foreign_agent.advertisement_destination: not one", '"224.0.0.1"'),
    (FA, "# here", "max_pending = 0", "foreign_agent.max_pending: out of range", ""),
    (FA, "# here", "pending_timeout = 0", "foreign_agent.pending_timeout: out of", ""),
    (FA, "# here", "pending_timeout = true", "foreign_agent.pending_timeout: ",
     "a number"),
    (FA, "# here", "registration_lifetime = 65536",
     "foreign_agent.registration_lifetime: out of range", ""),
    (FA, "# here", 'encapsulations = ["ipip"]\ngre_keys = true',
     "foreign_agent.gre_keys: are for GRE", ""),
    (FA, '"10.1.1.20"', '"10.1.2.1"', "home_agent[0].address: is one of", ""),
    (FA, "spi = 400", "spi = 255", "mobile_node[0].spi: out of range", "256 to"),
    (FA, "# there", 'replay = "nonce"', "mobile_node[0].replay: unknown key", ""),
    (FA, "# there", f"""[[mobile_node]]
home_address = "10.1.1.10"
spi = 400
key_hex = "{KEY_HEX}" """, "mobile_node[1].spi: 10.1.1.10 has SPI 400 twice", ""),
    # Whole files
    ("", "", "", "no table [home_agent], [foreign_agent] or [mobile_node]", ""),
    (FA, "[[home_agent]]", "[home_agent]", "both [home_agent] and [foreign_agent]", ""),
    (HA + "[home_agent.x]\n", "", "", "home_agent.x: unknown key", ""),
    (HA, "[[mobile_node]]", "[mobile_node]", "both [home_agent] and", ""),
    (HA.split("[[")[0], "", "", "mobile_node: at least one", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "old", "new", "begin", "part"), ERRORS)
def test_each_error_is_one_line_with_file_and_key(write, text, old, new, begin, part):
    """COM-09 among them: no association has an SPI up to 255."""
    path = write(text.replace(old, new, 1) if old else text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (line,) = str(caught.value).splitlines()
    place, _, said = line.partition(": ")
    assert Path(place).parent == path.parent
    assert said.startswith(begin)
    assert part in said
    assert SECRET not in line
    assert KEY_HEX not in line
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[home_agent]\naddress = 10.1.1.20\n", ":2:"),
        ('[home_agent]\n\naddress = "10\n', ":3:"),
        ("[home_agent]\n[home_agent]\n", ":2:"),
        (f'[mobile_node]\nkey_text = "{SECRET}', ""),
        (f"[mobile_node]\nkey_text = {SECRET}\n", ":2:"),
    ],
)
def test_toml_errors_give_file_and_line_and_no_value(write, text, where):
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    line = str(caught.value)
    assert line.startswith(f"{path}{where}")
    assert "no valid TOML" in line
    assert "\n" not in line
    assert SECRET not in line


@pytest.mark.parametrize(
    ("value", "words"),
    [("[" * 5000 + "]" * 5000, "nested too deeply"), ("9" * 6000, "out of range")],
)
def test_toml_that_the_parser_chokes_on_is_one_line(write, value, words):
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(write(f"[home_agent]\naddress = {value}\n"))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_files_that_cannot_be_read(write, tmp_path):
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'[home_agent]\nx = "\xe4"\n')
    for path, words in [
        (tmp_path / "none.toml", "No such file"),
        (tmp_path, "Is a directory"),
        (latin, "not UTF-8"),
    ]:
        with pytest.raises(ConfigError, match=words):
            load_config(path)


def test_several_errors_are_a_line_each_and_a_slip_is_reported_once(write):
    text = HA.replace("address = ", "adress = ", 1).replace("spi = 256", "spi = 1")
    with pytest.raises(ConfigError) as caught:
        load_config(write(text))
    assert len(caught.value.problems) == 2


def test_a_table_of_the_other_role_is_refused_with_the_right_command(write):
    with pytest.raises(ConfigError, match=r"\[mobile_node\] is for `mip mn`"):
        load_config(write(MN), "home_agent")


def test_an_error_in_the_nodes_file_names_that_file(write):
    nodes = write("[[mobile_node]]\nspi = 1\n", "nodes.toml")
    path = write(HA.replace("# here", 'mobile_nodes_file = "nodes.toml"'))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert all(line.startswith(f"{nodes}: ") for line in caught.value.problems)


LINES = f"""\
# served since 2026
spi,home_address,key_hex,algorithm,key_text,replay

256,10.1.1.10,{KEY_HEX},,,timestamp
300, 10.1.1.64/26 ,,hmac-sha1,"a, ""b"" c",
"""


def with_lines(write, lines):
    nodes = write(lines, "nodes.csv")
    return nodes, write(HA.replace("# here", 'mobile_nodes_file = "nodes.csv"'))


def test_nodes_may_be_lines_of_a_file(write):
    _, path = with_lines(write, LINES)
    policy = load_config(path).policy
    assert isinstance(policy, HomeAgentPolicy)
    key = "1234567812345678"
    assert policy.mobile_nodes.find("10.1.1.10", 256) == SecurityAssociation(256, key)
    found = policy.mobile_nodes.find("10.1.1.99", 300)
    assert found == SecurityAssociation(300, 'a, "b" c', "hmac-sha1")


def test_nodes_with_names_may_be_lines_of_a_file(write):
    lines = f"""\
nai,spi,key_hex,replay,quirks,address_pool
mn@example.org,256,{KEY_HEX},nonce,any_clock code_0_only,10.1.1.30 10.1.1.32/31
"""
    policy = load_config(with_lines(write, lines)[1]).policy
    assert isinstance(policy, HomeAgentPolicy)
    named = policy.named_nodes.find("mn@example.org", 256)
    assert named is not None
    assert list(named.pool) == ["10.1.1.30", "10.1.1.32", "10.1.1.33"]
    association = named.association
    assert isinstance(association, NodeAssociation)
    assert association.replay is ReplayStyle.NONCE
    assert association.quirks == set(NodeQuirk)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("spi,", "spy,", "2: the first line names a column that there is not; did you"),
        ("replay\n", "spi\n", "2: names a column twice"),
        (",timestamp", ",timestamp,", "4: has more values than columns; allowed: 6"),
        (",timestamp", ",sometimes", "4: replay: not one of the known values"),
        ("256,10", "twelve,10", "4: spi: wrong type; allowed: a whole number"),
        ("256,10", "12,10", "4: spi: out of range"),
        (KEY_HEX, SECRET, "4: key_hex: not hexadecimal"),
        (KEY_HEX, "", "4: key_hex: give exactly one of"),
        ("10.1.1.10,", "10.1.1.300,", "4: home_address: not an IPv4 address"),
        ("10.1.1.10,", "10.1.2.10,", "4: home_address: not in home_agent.home_network"),
        ("10.1.1.10,", "10.1.1.20,", "4: home_address: is the home agent's own"),
        (" 10.1.1.64/26 ", "", "5: home_address: is missing; allowed:"),
        ('c"', "c", "5: quotes do not match"),
        ("300, 10.1.1.64/26 ,,hmac-sha1", "256,10.1.1.10,,", "5: spi: 10.1.1.10 has"),
    ],
)  # fmt: skip
def test_an_error_in_a_line_names_file_and_line_and_shows_no_key(write, old, new, says):
    nodes, path = with_lines(write, LINES.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.problems[0].startswith(f"{nodes}:{says}")
    assert len(caught.value.problems) == 1
    assert SECRET not in str(caught.value)
    assert KEY_HEX not in str(caught.value)


def test_lines_without_a_header_show_no_key(write):
    _, path = with_lines(write, f"10.1.1.10,256,hmac-md5,{KEY_HEX}\n")
    with pytest.raises(ConfigError, match="the first line names a column") as caught:
        load_config(path)
    assert KEY_HEX not in str(caught.value)


def test_lines_that_others_may_read_draw_a_warning(write):
    nodes, path = with_lines(write, LINES)
    nodes.chmod(0o644)
    (warning,) = load_config(path).warnings
    assert warning.startswith(f"{nodes}: holds keys")


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666])
def test_keys_that_others_may_read_draw_a_warning(write, mode):
    path = write(HA, mode=mode)
    (warning,) = load_config(path).warnings
    assert warning.startswith(f"{path}: holds keys")
    assert "chmod o-rwx" in warning


def test_the_warning_is_about_the_file_with_the_key(write):
    key = write("x", "key", 0o644)
    text = MN.replace(f'key_text = "{SECRET}"', 'key_file = "key"')
    (warning,) = load_config(write(text, mode=0o644)).warnings
    assert warning.startswith(f"{key}: ")
    key.chmod(0o640)
    assert load_config(write(text, mode=0o644)).warnings == ()


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b"secret\n\n", b"secret\n"),
        (b"\x00\xff\n\x01", b"\x00\xff\n\x01"),
    ],
)
def test_a_key_file_holds_the_bytes_of_the_key(write, tmp_path, content, key):
    (tmp_path / "key").write_bytes(content)
    text = MN.replace(f'key_text = "{SECRET}"', 'key_file = "key"')
    policy = load_config(write(text)).policy
    assert isinstance(policy, MobileNodePolicy)
    assert policy.security == SecurityAssociation(256, key)


def test_a_foreign_agent_with_defaults(write):
    """FA-01, FA-03, FA-04: what interfaces.md names, with its values."""
    config = load_config(write(FA), "foreign_agent")
    policy = config.policy
    assert isinstance(policy, ForeignAgentPolicy)
    assert policy == ForeignAgentPolicy(
        interfaces=("eth1",),
        care_of_addresses=("10.1.2.1",),
        mobile_nodes=policy.mobile_nodes,
        home_agents=policy.home_agents,
    )
    assert (policy.registration_lifetime, policy.registration_required) == (1800, True)
    assert (policy.max_pending, policy.pending_timeout) == (5, 7.0)
    assert policy.mobile_nodes.find("10.1.1.10", 400) == SecurityAssociation(
        400, SECRET
    )
    found = policy.home_agents.find("10.1.1.20", 300)
    assert found == SecurityAssociation(300, "1234567812345678")
    assert config.options.control_socket == Path("/run/mip/fa.sock")
    assert config.options.state_dir is None


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("true", ReverseTunnel.OPTIONAL),
        ("false", ReverseTunnel.OFF),
        ('"required"', ReverseTunnel.REQUIRED),
    ],
)
def test_a_foreign_agent_offers_reverse_tunnels_or_demands_them(write, word, meaning):
    """RT-04."""
    policy = load_config(write(FA.replace("# here", f"reverse_tunnel = {word}"))).policy
    assert isinstance(policy, ForeignAgentPolicy)
    assert policy.reverse_tunnel is meaning


def test_every_key_of_a_foreign_agent_counts(write):
    text = FA.replace(
        "# here",
        """\
registration_lifetime = 65535
registration_required = false
encapsulations = ["gre", "minimal"]
encapsulating_delivery = false
gre_keys = true
advertisement_interval = 0.5
advertisement_destination = "255.255.255.255"
icmp_code = 16
prefix_lengths = true
max_pending = 50
pending_timeout = 3
max_visitors = 9
strict = true
state_dir = "state"
control_socket = "fa.sock"
dataplane = "none"
""",
    )
    path = write(text)
    config = load_config(path)
    policy = config.policy
    assert isinstance(policy, ForeignAgentPolicy)
    assert policy.registration_lifetime == 65535
    assert not policy.registration_required
    assert policy.encapsulations == {Encapsulation.GRE, Encapsulation.MINIMAL}
    assert policy.advertisement == AdvertisementPolicy(
        interval=0.5, icmp_code=16, destination="255.255.255.255", prefix_lengths=True
    )
    assert (policy.encapsulating_delivery, policy.gre_keys) == (False, True)
    assert (policy.max_pending, policy.pending_timeout, policy.max_visitors) == (
        50,
        3,
        9,
    )
    assert policy.strict
    assert config.options.state_dir == path.parent / "state"
    assert config.options.dataplane == "none"


def test_no_repr_of_a_configuration_shows_a_key(write):
    for text in (HA, MN, FA):
        config = load_config(write(text))
        shown = f"{config!r} {config.policy!r}"
        assert SECRET not in shown
        assert KEY_HEX not in shown
        assert "12345678" not in shown


@pytest.mark.parametrize(
    "name", ["home-agent.toml", "foreign-agent.toml", "mobile-node.toml"]
)
def test_the_examples_are_good(name):
    example = resources.files("mip_agents") / "data" / name
    with resources.as_file(example) as path:
        config = load_config(path)
    assert config.policy
    # An example is there to be read by everyone, and says so itself.
    assert len(config.warnings) <= 1
