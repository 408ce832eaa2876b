# SPDX-License-Identifier: GPL-2.0-only

# %% [markdown]
# # A handover, measured
#
# A mobile node keeps its address and its connections when it moves. But for a while
# nobody can reach it: until it notices, has a link, and has registered. This lab
# measures that while in three moves of different kinds, with a UDP probe and a TCP
# stream that run all the time, in network namespaces with the real agents.
#
# **You should know** what a TCP retransmission is. **You will see** the gap of a hard
# and of a soft handover, the packets lost, and what TCP makes of both.
#
# It takes half a minute, and no root where unprivileged user namespaces are allowed.

# %%
import json
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import Image, display

from mip_agents.captures.reader import read_frames
from mip_agents.lab.topology import CORRESPONDENT, HOME_ADDRESS

# %% [markdown]
# ## The experiment
#
# *Hard*: the old link ends, and the new one begins later, as with Wi-Fi out of reach.
# *Soft*: both work for two seconds, and the node changes over in between. What do you
# expect of each: how long a gap, and how many of the probes, one each 10 ms, are lost?

# %%
folder = Path(tempfile.mkdtemp(prefix="mip-handover-"))
(folder / "lesson.toml").write_text("""
title = "Hard, soft, and home again"
start = { eth0 = "home" }
steps = [
    { delay = "home", ms = 5 },
    { delay = "visited-a", ms = 10 },
    { delay = "visited-b", ms = 20 },
    { wait = 2 },
    { move = "home -> A (hard)" },
    { unplug = "eth0" },
    { wait = 0.1 },
    { plug = "wlan0", into = "visited-a" },
    { traffic = "again" },
    { wait = 3 },
    { move = "A -> B (soft)" },
    { plug = "eth0", into = "visited-b" },
    { traffic = "again" },
    { wait = 2 },
    { unplug = "wlan0" },
    { traffic = "again" },
    { wait = 3 },
    { move = "B -> home (hard)" },
    { unplug = "eth0" },
    { wait = 0.1 },
    { plug = "eth0", into = "home" },
    { traffic = "again" },
    { wait = 2 },
]

[mobile_node]
lifetime = 30
reverse_tunnel = true

[traffic]
longest_gap = 20.0
""")
demo = [sys.executable, "-m", "mip_agents.cli", "demo"]
run = subprocess.run(
    [
        *demo,
        *("--scenario", folder / "lesson.toml", "--folder", folder / "run"),
        *("--plot", folder / "timeline.png"),
    ],
    capture_output=True,
    text=True,
    check=False,
)
if not (folder / "run").exists():
    sys.exit(f"nothing can be measured here: {run.stderr.strip()}")
assert run.returncode == 0, run.stderr
results = json.loads((folder / "run" / "summary.json").read_text())
for move in results["handovers"]:
    print(
        f"{move['from']:>5} -> {move['to']:12} "
        f"{move['lost_out']:3} lost on the way out, {move['lost_back']:3} back, "
        f"longest gap {move['longest_gap_ms']} ms"
    )

# %% [markdown]
# ## The timeline
#
# Each dot is the round trip of one probe, red is lost. The lanes below are what links
# and agents did: a gap begins with a link that ends, and it ends with a registration.

# %%
display(Image(filename=folder / "timeline.png", width=900))

# %% [markdown]
# **Question.** Network A is 10 ms away, but the round trip to a node there is not 20
# ms. Where does the rest come from?
#
# **Answer.** What the correspondent sends goes to the home network first, 5 ms, and is
# tunnelled from there to the visited one: 5 ms out again and 10 ms in. Here what comes
# back takes the same way, since the tunnel is two-way (T, RFC 3024). So it is 40 ms for
# A, and 60 for B, though the correspondent may be next door: the price of one address
# everywhere.

# %% [markdown]
# ## Measured again, from the capture
#
# A summary can be believed, a capture can be checked. `correspondent.pcap` has all
# packets at the correspondent. From it: the times without an arrival, and the
# throughput of TCP.

# %%
UDP, TCP = 17, 6
HEADERS = 20  # IPv4 without options


def address(data):
    return ".".join(map(str, data))


arrivals = {UDP: [], TCP: []}
for frame in read_frames(folder / "run" / "correspondent.pcap"):
    packet = frame.packet
    source, target = address(packet[12:16]), address(packet[16:20])
    if (source, target) == (HOME_ADDRESS, CORRESPONDENT) and packet[9] in arrivals:
        size = int.from_bytes(packet[2:4], "big") - HEADERS
        arrivals[packet[9]].append((frame.time, size))
first = arrivals[UDP][0][0]
gaps = sorted(
    (
        (late - early, early - first)
        for (early, _), (late, _) in pairwise(arrivals[UDP])
    ),
    reverse=True,
)
for length, when in gaps[:5]:
    print(f"{length * 1000:6.0f} ms without a probe, from second {when:.2f} on")

# %%
STEP = 0.1
end = arrivals[UDP][-1][0]
bins = [0.0] * (int((end - first) / STEP) + 1)
for when, size in arrivals[TCP]:
    if first <= when <= end:
        bins[int((when - first) / STEP)] += size * 8 / STEP / 1e6
figure, axes = plt.subplots(figsize=(10, 3.4), layout="constrained")
seconds = [number * STEP for number in range(len(bins))]
axes.step(seconds, bins, where="post", color="tab:blue", label="TCP, in 0.1 s")
longest = [gap for gap in gaps if gap[0] > 0.05]
for number, (length, when) in enumerate(longest):
    label = None if number else "more than 50 ms without a probe"
    axes.axvspan(when, when + length, color="tab:red", alpha=0.3, label=label)
axes.set_xlabel("time since the first probe (s)")
axes.set_ylabel("from the mobile node (Mbit/s)")
axes.set_ylim(bottom=0)
axes.grid(visible=True, alpha=0.3)
axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)
plt.show()

# %% [markdown]
# The spike behind a gap is what TCP had waiting: after a gap it sends again what was
# lost, and its timer has backed off by then. So TCP can be silent for longer than the
# path is.
#
# **Question.** A soft handover has both links all the time. Why can it lose anything?
#
# **Answer.** Home agent and node change over at different moments, half a round trip
# apart. Until the reply arrives, the node sends through its old tunnel, which the home
# agent no longer takes, since its outer source is no care-of address of the node now.
#
# **Exercise.** `[mobile_node]` of a scenario takes the keys of its configuration. Set
# `simultaneous_bindings = true`: the home agent then sends each packet to both care-of
# addresses while both stand (S, RFC 5944 section 3.6.1.2). What do you pay for it? Look
# for `duplicates` in `summary.json`.

# %%
print("duplicates in this run:", results["probe"]["duplicates"])
