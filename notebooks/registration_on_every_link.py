# SPDX-License-Identifier: GPL-2.0-only

# %% [markdown]
# # One registration, seen from every link
#
# A registration through a foreign agent is four datagrams on two links, and a tunnel
# that comes of it. This lab plays one with the real agents, in network namespaces, with
# a capture on each link, and puts the captures together into one picture.
#
# **You should know** who mobile node, foreign agent and home agent are. **You will
# see** the same message on both sides of the foreign agent, what it may change and what
# not, and when the first tunnelled packet leaves.
#
# It needs no root where unprivileged user namespaces are allowed; elsewhere it takes
# the captures of other agents that lie in `pcaps/`.

# %%
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from IPython.display import SVG, display

from mip_agents.captures.check import check_files
from mip_agents.captures.decode import decode_file
from mip_agents.captures.diagram import diagram
from mip_agents.captures.lines import summary
from scapy_mip.all import KeyRing, SecurityAssociation

# %% [markdown]
# ## The play
#
# A scenario is a list of steps. The node begins at home, loses that link, and comes to
# a network where the only way out is its foreign agent: nobody gives addresses there.

# %%
folder = Path(tempfile.mkdtemp(prefix="mip-registration-"))
(folder / "lesson.toml").write_text("""
title = "One registration through a foreign agent"
start = { eth0 = "home" }
steps = [
    { wait = 1 },
    { move = "home -> A (FA)" },
    { unplug = "eth0" },
    { plug = "wlan0", into = "visited-a" },
    { traffic = "again" },
    { wait = 1 },
]

[network.visited-a]
foreign_agent = true
dhcp = false

[foreign_agent]
advertisement_interval = 1.0

[mobile_node]
lifetime = 30

[traffic]
probe_interval_ms = 50
longest_gap = 20.0
""")
demo = [sys.executable, "-m", "mip_agents.cli", "demo"]
run = subprocess.run(
    [*demo, "--scenario", folder / "lesson.toml", "--folder", folder / "run"],
    capture_output=True,
    text=True,
    check=False,
)
links = ["home", "internet", "visited-a"]
captures = [folder / "run" / f"{link}.pcap" for link in links]
keys = KeyRing()
if (folder / "run").exists():
    assert run.returncode == 0, run.stderr
    agent = tomllib.loads((folder / "run" / "ha.toml").read_text())
    for node in agent["mobile_node"]:
        keys.add(SecurityAssociation(node["spi"], bytes.fromhex(node["key_hex"])))
    print("captures of our own agents")
else:
    print(run.stderr.strip(), "So here are captures of other agents.", sep="\n")
    here = Path.cwd()
    root = next(path for path in (here, *here.parents) if (path / "pcaps").is_dir())
    links = ["home", "public", "foreign"]
    captures = [root / f"pcaps/recorded/click-jv-{link}.pcap" for link in links]

# %% [markdown]
# ## The picture
#
# Time goes down. A packet that was seen on several links is one arrow, with its frame
# on each; a message that the foreign agent relays is an arrow for each part of its way.
# What comes in crowds is folded. `mip check --diagram FILE.svg` draws the same.

# %%
display(SVG(data=diagram(captures, keys)))

# %% [markdown]
# **Question.** The node sends its request from its home address, on a link where that
# makes no sense. How does the answer find it?
#
# **Answer.** By its link-layer address. The foreign agent remembers from where the
# request came, and sends the reply there without asking ARP (RFC 5944 section 3.7.3.2):
# the node must not answer ARP for its home address on a foreign link.

# %% [markdown]
# ## What the foreign agent changed
#
# The same request, on the visited link and behind the foreign agent: here are both as a
# decoder sees them.

# %%
for link, path in zip(links, captures, strict=True):
    for record, _ in decode_file(path, keys):
        if record["message"].startswith("registration"):
            print(
                f"{link:10} {record['src']:14} > {record['dst']:14} {summary(record)}"
            )

# %%
requests = {}
for path in captures:
    for record, _ in decode_file(path, keys):
        if record["message"] == "registration_request":
            fields = {**record["fields"], "extensions": len(record["extensions"])}
            sender = f"{record['src']}:{record['sport']} > {record['dst']}"
            requests.setdefault(fields["identification"], {})[sender] = fields
for identification, hops in requests.items():
    if len(hops) > 1:
        print("request", identification)
        for sender in hops:
            print(f"  {sender}")
        first, *others = hops.values()
        print("  every field is the same:", all(first == other for other in others))

# %% [markdown]
# Only the IP and UDP headers differ: addresses, ports and TTL are the foreign agent's
# own. Everything up to the node's authenticator must arrive as it was sent (RFC 5944
# section 3.7.2.2); what the foreign agent has to add goes behind it.

# %% [markdown]
# ## The examiner's view
#
# `mip check` compares the links, too: rules FA-16 and FA-26 say what a relay may not
# touch.

# %%
findings = list(check_files(captures, keys))
for finding in findings[:10]:
    print(f"frame {finding.frame}: {finding.rule.id} {finding.text}")
print(len(findings), "findings")

# %% [markdown]
# **Exercise.** With a co-located care-of address the node is its own end of the tunnel
# (D). Give `visited-a` addresses (`dhcp = true`, `foreign_agent = false`), and draw it
# again. Which arrows are gone, and which one gets longer?
#
# **Answer.** The relay's. Request and reply go straight between node and home agent,
# and so does the tunnel, which now crosses the visited link, too: 20 bytes more for
# each packet on what may be the slowest link of all (RFC 2003 section 3).
