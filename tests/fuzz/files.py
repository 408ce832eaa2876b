# SPDX-License-Identifier: GPL-2.0-only
"""Files that a user writes: taken whole, or refused in one line for each problem.

A fuzzer changes lines of files that are right: to other keys with other values, or to
any bytes.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from fuzz.choices import Choices
from fuzz.refusals import refused
from mip_agents.captures.keys import load_keys
from mip_agents.runtime import models
from mip_agents.runtime.config import load_config

_EDITS_MAX = 8
_SERVING = b"""[home_agent]
address = "10.1.1.20"
home_network = "10.1.1.0/24"
mobile_nodes_file = "nodes.csv"
"""
_HOME_AGENT = b"""[home_agent]
address = "10.1.1.20"
home_network = "10.1.1.0/24"
address_pool = ["10.1.1.100-10.1.1.120"]
[[mobile_node]]
home_address = "10.1.1.10"
spi = 256
key_text = "1234567812345678"
[[mobile_node]]
nai = "mn@example.org"
spi = 300
key_file = "key"
[[foreign_agent]]
address = "10.1.2.1"
spi = 300
key_hex = "3132"
"""
_FOREIGN_AGENT = b"""[foreign_agent]
interfaces = ["eth1"]
care_of_addresses = ["10.1.2.1"]
[[mobile_node]]
home_address = "10.1.1.10"
spi = 400
key_text = "x"
[[home_agent]]
address = "10.1.1.20"
spi = 300
key_hex = "3132"
"""
_MOBILE_NODE = b"""[mobile_node]
home_address = "10.1.1.10"
home_agent = "10.1.1.20"
spi = 256
key_text = "1234567812345678"
interfaces = ["eth0"]
[[foreign_agent]]
address = "10.1.2.1"
spi = 300
key_file = "key"
"""
_NODES = b"""home_address,spi,algorithm,key_hex,replay
10.1.1.10,256,hmac-md5,3132,timestamp
# more
10.1.1.11,257,hmac-sha1,"3132",nonce
"""
_KEYS = b"""[[security_association]]
spi = 256
algorithm = "hmac-md5"
key_text = "1234567812345678"
[[security_association]]
spi = 300
key_file = "key"
peer = "10.1.2.1"
"""
_NAMES = sorted(
    {
        name.encode()
        for model in vars(models).values()
        if isinstance(model, type) and issubclass(model, BaseModel)
        for name in model.model_fields
    }
)
_NAMES.append(b'"a\\nb"')
_HEADERS = [b"[%s]" % name for name in _NAMES] + [b"[[%s]]" % name for name in _NAMES]
_TEXTS = (
    b"",
    b"10.1.1.10",
    b"10.1.1.0/24",
    b"10.1.1.255",
    b"0.0.0.0/0",
    b"10.1.1.5-10.1.1.9",
    b"10.1.1.9-10.1.1.5",
    b"255.255.255.255",
    b"mn@example.org",
    b"@",
    b"@example.org",
    b"eth0",
    b"a/b",
    b"key",
    b".",
    b"nodes.csv",
    b"hmac-sha256",
    b"nonce",
    b"gre",
    b"required",
    b"multicast",
    b"auto",
    b"31 32:33",
    b"a\\u0000b",
    b"a\\nb",
    b"\\U0001F600",
    b"x" * 300,
)
_VALUES = (
    *(b'"%s"' % text for text in _TEXTS),
    *(b'["%s"]' % text for text in _TEXTS),
    *b"0 1 -1 256 65535 65536 4294967296 1e400 nan -inf 0.5 true [] {} [[]]".split(),
    b"9" * 5000,
    b"2026-11-25",
    b"2026-02-30T00:00:00Z",
    b'["eth0", "eth0"]',
    b'["ipip", "gre", "minimal"]',
    b'{a = "b"}',
    b'"""' + b"a\nb" + b'"""',
    b"[" * 2000,
)


def _folder() -> Path:
    """Return a folder for the files of this process, where they cost least."""
    memory = Path("/dev/shm")
    folder = tempfile.TemporaryDirectory(
        prefix="fuzz-", dir=memory if memory.is_dir() else None
    )
    atexit.register(folder.cleanup)
    path = Path(folder.name)
    (path / "ha.toml").write_bytes(_SERVING)
    (path / "key").write_bytes(b"1234567812345678\n")
    return path


_FOLDER = _folder()


def _written(name: str, content: bytes) -> Path:
    path = _FOLDER / name
    path.write_bytes(content)
    return path


def _edited(
    choices: Choices, content: bytes, names: Sequence[bytes], between: bytes = b" = "
) -> bytes:
    """Return a file with some of its lines changed, added or taken away."""
    lines = content.splitlines()
    for _edit in range(_EDITS_MAX):
        if not choices:
            break
        at = choices.number() % (len(lines) + 1)
        kind = choices.number() % 4
        if kind == 0:
            new = [choices.text()]
        elif kind == 1:
            new = [choices.pick(_HEADERS)]
        else:
            new = [choices.pick(names) + between + choices.pick(_VALUES)]
        lines[at : at + choices.number() % 2] = new
    return b"\n".join(lines)


def configuration(data: bytes) -> None:
    """Read a configuration file of any role."""
    choices = Choices(data)
    known = choices.pick((_HOME_AGENT, _FOREIGN_AGENT, _MOBILE_NODE, b""))
    path = _written("agent.toml", _edited(choices, known, _NAMES))
    refused(lambda: load_config(path))


def nodes_file(data: bytes) -> None:
    """Read served nodes as lines of values."""
    content = _edited(Choices(data), _NODES, (*_NAMES, *_TEXTS), b",")
    _written("nodes.csv", content)
    refused(lambda: load_config(_FOLDER / "ha.toml"))


def key_file(data: bytes) -> None:
    """Read the keys that captures are judged with."""
    path = _written("keys.toml", _edited(Choices(data), _KEYS, _NAMES))
    refused(lambda: load_keys(path))
