# SPDX-License-Identifier: GPL-2.0-only

# %% [markdown]
# # Replay attacks and resynchronisation
#
# A signed request stays signed. Who records it can send it again in an hour, and
# without more the home agent would send the node's packets to where it once was. The 64
# bits of Identification stand against that, as a timestamp or as a nonce (RFC 5944
# section 5.7).
#
# **You should know** what an authenticator covers (`authentication`). **You will see**
# a replay fail, a clock that is wrong by an hour set itself right, and why nonces need
# no clock. The agents are the real ones, on a virtual clock.

# %%
import logging
import random
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import SVG, display

from mip_agents.captures.diagram import diagram
from mip_agents.protocol.events import Received
from mip_agents.simulation.capture import write_capture
from mip_agents.simulation.world import HOME_AGENT, Plan, Site, World, home_network
from scapy_mip import ident
from scapy_mip.all import MIP, KeyRing, SecurityAssociation

logging.getLogger("scapy").setLevel(logging.ERROR)
folder = Path(tempfile.mkdtemp(prefix="mip-replay-"))
keys = KeyRing()
keys.add(SecurityAssociation(256, "1234567812345678"))


def drawn(packets, name):
    """Write a capture and draw it."""
    path = folder / f"{name}.pcapng"
    write_capture(path, packets)
    return SVG(data=diagram([path], keys))


# %% [markdown]
# ## The replay
#
# A node registers from a visited network. Mallory has recorded the request, and sends
# the same bytes from elsewhere two seconds later, and again after the node has come
# home.

# %%
world = World(Plan(sites=(Site(),), lifetime=600, advertisement_interval=0.0), seed=2)
packets = []
world.internet.record = packets.append
home_agent = world.shells[HOME_AGENT]
world.start()
world.run(2)
world.move(0, "eth0", "site-1")
world.run(2)
recorded = [one for one in packets if one.data[0] == 1][-1]


def replay(packet):
    """Let a recorded datagram arrive at the home agent from a stranger."""
    event = Received(
        data=packet.data,
        source="192.0.2.66",
        source_port=4444,
        destination=packet.destination,
        destination_port=packet.destination_port,
        interface="lan0",
        ttl=64,
    )
    world.internet.inject(home_agent.ports["lan0"], event)
    world.run(1)


replay(recorded)
world.move(0, "eth0", "home")
world.run(2)
replay(recorded)
display(drawn(packets, "replay"))
print(
    "bindings at the end:", home_agent.engine.status(home_agent.clock.now())["bindings"]
)

# %% [markdown]
# 192.0.2.66 is Mallory. The picture takes him for a foreign agent, since he sends what
# somebody else has signed. His second request was denied with code 133. The first got a
# copy of the answer that the node had, and nothing else: the newest request again, byte
# for byte, may be a datagram that the network has doubled, and to say once more what
# was said changes no binding.
#
# **Question.** The second replay came when the home agent had no binding any more. How
# did it know?
#
# **Answer.** It remembers the newest Identification of every node, beyond the binding
# and over a restart: in the journal. Else a replay right after a deregistration would
# work.

# %% [markdown]
# ## How late is too late?
#
# A timestamp counts if it is within 7 s of the home agent's clock (RFC 5944 section
# 5.7.1) and newer than all before. Here fresh nodes with clocks that are off by more
# and more register once; the figure says what the first answer was.

# %%
offsets = [-30, -10, -8, -7, -6, -3, 0, 3, 6, 7, 8, 10, 30]
first_codes = []
for offset in offsets:
    one = World(Plan(sites=(Site(),), advertisement_interval=0.0), seed=5)
    seen = []
    one.internet.record = seen.append
    one.nodes[0].clock.offset = offset
    one.start()
    one.run(0.2)
    first_codes.append(next(MIP(p.data).code for p in seen if p.data[0] == 3))
figure, axes = plt.subplots(figsize=(9, 2.8), layout="constrained")
accepted = [code == 0 for code in first_codes]
colours = ["tab:green" if good else "tab:red" for good in accepted]
axes.axvspan(-7, 7, color="tab:green", alpha=0.12, label="tolerance of 7 s")
axes.scatter(offsets, [str(code) for code in first_codes], color=colours, zorder=3)
axes.set_xlabel("clock of the mobile node, off by (s)")
axes.set_ylabel("code of the reply")
axes.margins(y=0.4)
axes.grid(visible=True, axis="x", alpha=0.3)
axes.legend(loc="center right", framealpha=1)
plt.show()

# %% [markdown]
# At -7 s the request was 7.005 s old when it arrived: the way counts, too.

# %% [markdown]
# ## Resynchronisation
#
# A clock that is an hour slow must not lock a node out. A denial with code 133 has the
# home agent's time in the high half of its Identification, *signed*. The node keeps the
# difference, and asks again with a corrected timestamp. Expect one denial, then
# success.

# %%
world = World(Plan(sites=(Site(),), lifetime=600, advertisement_interval=0.0), seed=3)
packets = []
world.internet.record = packets.append
world.nodes[0].clock.offset = -3600
world.start()
world.run(2)
world.move(0, "eth0", "site-1")
world.run(2)
display(drawn(packets, "resynchronisation"))
for packet in packets:
    message = MIP(packet.data)
    high, low = ident.split(message.identification)
    kind = "request" if packet.data[0] == 1 else f"reply {message.code:3}"
    day = high - 3_900_000_000  # seconds since the world began
    print(f"{packet.time:6.3f} s  {kind:10} time {day:6} s  low {low:08x}")

# %% [markdown]
# **Question.** Why must the node believe only a 133 whose low half is that of its own
# request, and whose authenticator is good?
#
# **Answer.** Or else anybody could set its clock: to the past, so that all its requests
# are denied, or to the future, so that the home agent, which takes nothing older than
# the newest, denies all of them once the clock is right again.

# %% [markdown]
# ## Nonces: no clocks at all
#
# With nonces (RFC 5944 section 5.7.2) the home agent gives a random number with each
# reply, and takes only a request that has it. Here the engine of a home agent is driven
# by hand: events in, effects out.

# %%
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import InstallTunnel, Journal, Send
from mip_agents.protocol.events import JournalWritten, Restored, TunnelReady
from mip_agents.protocol.home_agent import HomeAgentEngine
from mip_agents.protocol.policy import HomeAgentPolicy
from mip_agents.protocol.security import (
    NodeAssociation,
    ReplayStyle,
    SecurityTable,
)
from scapy_mip.all import MIPMHAE, MIPRRQ

association = NodeAssociation(256, b"1234567812345678", replay=ReplayStyle.NONCE)
engine = HomeAgentEngine(
    HomeAgentPolicy(
        address="10.0.0.1",
        home_network=home_network(0),
        mobile_nodes=SecurityTable.for_network(home_network(0), [association]),
    ),
    random.Random(1).randbytes,
)
clock = Instant(0.0, 0xEEAE4141_00000000)
engine.handle(Restored(bindings=(), identifications=()), clock)


def ask(high, low):
    """Send a request; return the code and both halves of the answer."""
    request = MIPRRQ(
        flags="D",
        lifetime=600,
        home_address="10.0.1.0",
        home_agent="10.0.0.1",
        care_of_address="10.1.1.0",
        identification=ident.join(high, low),
    ) / MIPMHAE(association=association)
    events = [
        Received(
            data=bytes(request),
            source="10.1.1.0",
            source_port=434,
            destination="10.0.0.1",
            destination_port=434,
        )
    ]
    while events:
        for effect in engine.handle(events.pop(0), clock):
            match effect:
                case Journal():
                    events.append(JournalWritten(effect.token))
                case InstallTunnel():
                    events.append(TunnelReady(effect.token))
                case Send():
                    reply = MIP(effect.data)
    answer = (reply.code, *ident.split(reply.identification))
    print(f"{high:08x} {low:08x}  ->  code {answer[0]:3}, next nonce {answer[1]:08x}")
    return answer


_, nonce, _ = ask(high=0, low=1)  # knows nothing yet: a denial that tells a nonce
code, following, _ = ask(high=nonce, low=2)
assert code == 0
assert ask(high=nonce, low=3)[0] == 133  # a nonce is good once
assert ask(high=following, low=4)[0] == 0

# %% [markdown]
# **Exercise.** What does a lost reply cost in each style? Think of what the node knows
# afterwards, and try it with `ask()`: ignore an answer and go on with the old nonce.
#
# **Answer.** With timestamps nothing, the next request is simply later. With nonces the
# node has not seen the new nonce, so its next request is denied and costs one round
# trip more.
