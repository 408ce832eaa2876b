# SPDX-License-Identifier: GPL-2.0-only

# %% [markdown]
# # Agent discovery: where am I, and who is here?
#
# Nobody tells a mobile node that it has moved. It finds out from Agent Advertisements,
# ICMP router advertisements with an extension (RFC 5944 section 2), or from their
# absence. This lab builds one, then lets a node wander past two foreign agents and lose
# one of them.
#
# The agents are the real ones, on the virtual clock of `mip_agents.simulation`: a
# minute takes a moment, and the same seed gives the same history.
#
# **You should know** what ICMP is. **You will see** the flags of an agent, how a node
# notices a move, and how long that takes.

# %%
import logging
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import SVG, display

from mip_agents.captures.diagram import diagram
from mip_agents.simulation.capture import write_capture
from mip_agents.simulation.world import Plan, Site, World
from scapy_mip.all import (
    MIPICMP,
    MIPAgentAdvertisement,
    MIPMobilityAgentAdvertisement,
    MIPPrefixLengths,
    MIPRouterEntry,
)

logging.getLogger("scapy").setLevel(logging.ERROR)

# %% [markdown]
# ## An advertisement, as it reads
#
# A foreign agent (F) that wants everybody to register with it (R), speaks GRE (G) and
# tunnels back (T). TTL 1 keeps the advertisement on its link.

# %%
advertisement = (
    MIPAgentAdvertisement(
        lifetime=9, entries=[MIPRouterEntry(router_address="10.1.0.1")]
    )
    / MIPMobilityAgentAdvertisement(
        sequence_number=0,
        registration_lifetime=1800,
        flags="RFGT",
        care_of_addresses=["10.1.0.1"],
    )
    / MIPPrefixLengths(prefix_lengths=[16])
)
data = bytes(advertisement)
heard = MIPICMP(data)
heard.show()
assert bytes(heard) == data

# %% [markdown]
# **Question.** There are two lifetimes. What is each for?
#
# **Answer.** The one of ICMP, 9 s, says how long to believe that the agent is there at
# all: three times the interval of advertisements, so that two may be lost (RFC 5944
# section 2.1). The one of the extension, 1800 s, is the longest registration that it
# relays.

# %% [markdown]
# ## A walk past two foreign agents
#
# The node is at home, then plugged into site 1. Ten seconds later the foreign agent
# there dies without a word, and at last the node goes to site 2. The expected signs are
# advertisements that end, and a registration by way of each agent.

# %%
agents_only = Site(foreign_agent=True, dhcp=False)
world = World(
    Plan(sites=(agents_only, agents_only), advertisement_interval=1.0), seed=4
)
packets, notes = [], []
world.internet.record = packets.append
world.on_note = lambda shell, noted: notes.append((world.agenda.now, shell.name, noted))
world.start()
world.run(4)
left_home = world.agenda.now
world.move(0, "eth0", None)
world.run(0.1)
world.move(0, "eth0", "site-1")
world.run(10)
died = world.agenda.now
world.shells["fa-1"].kill()
world.run(6)
left_site = world.agenda.now
world.move(0, "eth0", "site-2")
world.run(6)
for when, who, noted in notes:
    if who == "mn-0" and noted.event not in ("agent_heard", "request_sent"):
        print(f"{when:6.2f} s  {noted.event:24} {noted.fields.get('state', '')}")

# %%
folder = Path(tempfile.mkdtemp(prefix="mip-discovery-"))
moves = [(0.0, "home"), (left_home, "site-1"), (left_site, "site-2")]


def is_heard(packet):
    """Whether it is on the link where the node is, or no discovery at all."""
    place = [link for begun, link in moves if begun <= packet.time][-1]
    return not packet.icmp or packet.link == place


write_capture(folder / "walk.pcapng", list(filter(is_heard, packets)))
display(SVG(data=diagram([folder / "walk.pcapng"])))

# %% [markdown]
# That is what the node could hear. All that was sent, as a timeline: a tick for each
# advertisement, on its link. Their distances differ a little on purpose, lest agents
# fall into step (RFC 1256 section 4.3).

# %%
links = ["home", "site-1", "site-2"]
figure, axes = plt.subplots(figsize=(10, 3), layout="constrained")
for row, link in enumerate(links):
    here = [one for one in packets if one.icmp and one.link == link]
    times = [one.time for one in here if one.data[0] == 9]
    axes.eventplot([times], lineoffsets=[row], linelengths=[0.6], colors=[f"C{row}"])
accepted = [
    when
    for when, who, noted in notes
    if who == "mn-0" and noted.event == "registration_accepted"
]
for number, when in enumerate(accepted):
    axes.axvline(
        when, color="black", linestyle="--", label=None if number else "registered"
    )
for number, when in enumerate((left_home, left_site)):
    axes.axvline(when, color="0.6", label=None if number else "link changed")
axes.axvline(died, color="tab:red", label="foreign agent died")
axes.set_yticks(range(len(links)), links)
axes.set_xlabel("time (s)")
axes.set_title("Advertisements by link")
axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3, frameon=False)
plt.show()
waits = [accepted[0] - left_home, accepted[1] - left_site]
print("from a new link to a registration:", [f"{wait:.2f} s" for wait in waits])

# %% [markdown]
# **Question.** Can the node not be faster than the next advertisement?
#
# **Answer.** It can ask: a solicitation is answered at once (RFC 5944 sections 2.2 and
# 2.4). A node may send one when it comes to a new link; it must then slow down, so that
# a crowd of nodes does not flood a link that has no agent at all.
#
# **Exercise.** A sequence number goes 0, 1, 2 ... 65535, and then 256, not 0 (RFC 5944
# section 2.3.2). Why? Judge the pairs below before you run the cell.

# %%
for before, now in ((41, 42), (41, 0), (65535, 256), (65535, 0)):
    restarted = now < before and not (before > 0xFF00 and now >= 256)
    said = "it has restarted: register anew" if restarted else "the same life goes on"
    print(f"{before:5} then {now:5}: {said}")

# %% [markdown]
# Numbers below 256 belong to an agent that has just begun. So a node tells an agent
# that lost its memory, and with it all visitors, from one that has counted to the end.
