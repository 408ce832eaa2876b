# SPDX-License-Identifier: GPL-2.0-only

# %% [markdown]
# # Simulation at scale
#
# One handover can be watched. What a thousand nodes do to a home agent in a day cannot,
# but it can be computed: the engines of `mip_agents` know neither clock nor socket, so
# they run on a virtual clock as they are. `mip simulate` does it on the command line.
#
# **You should know** what a median is. **You will see** what loss does to outages, what
# a short lifetime costs, and how signalling grows.

# %%
import time

import matplotlib.pyplot as plt

from mip_agents.simulation.life import Life, LifeOptions


def live(**options):
    """Simulate some nodes for a while; return what came of it."""
    return Life(LifeOptions(**options)).run()


# %% [markdown]
# ## Two hours of a hundred lives
#
# A hundred nodes, two hours, six moves an hour each. The same seed is the same history.

# %%
begun = time.process_time()
crowd = live(nodes=100, hours=2, loss=0.02, seed=1)
took = time.process_time() - begun
print(f"{crowd.handovers} handovers, {crowd.registrations} registrations")
print(
    f"median outage {crowd.outage(0.5):.2f} s, the longest {max(crowd.outages):.2f} s"
)
print(f"{2 * 3600 / took:,.0f} times as fast as the clock")

# %% [markdown]
# ## Loss, and the price of patience
#
# A request that is lost is sent again after a second at least, then after two, four,
# and so on (RFC 5944 section 3.6.3). So a lossy link should make *some* outages much
# longer, and leave the median alone. Where do you expect the steps?

# %%
figure, axes = plt.subplots(figsize=(10, 4), layout="constrained")
for number, loss in enumerate((0.0, 0.02, 0.1, 0.2)):
    ranked = sorted(live(nodes=40, hours=2, loss=loss, seed=2).outages)
    shares = [(place + 1) / len(ranked) * 100 for place in range(len(ranked))]
    axes.plot(ranked, shares, color=f"C{number}", label=f"{loss:.0%} lost on each link")
axes.set_xscale("log")
axes.xaxis.set_major_formatter("{x:g}")
axes.set_xlabel("time without a registration after a link has ended (s)")
axes.set_ylabel("handovers that take no longer (%)")
axes.grid(visible=True, which="both", alpha=0.3)
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# Left of half a second lies the association with the new link, which loss does not
# touch. The shoulders to the right are retransmissions: one second, then three, then
# seven.
#
# **Question.** With 20 % of loss on a link, what share of first tries fails?
#
# **Answer.** A request from a visited network passes two links, and its reply as well:
# 0.8 to the 4th is 41 % that get through, so 59 % fail. For 2 % it is 8 %. Read it off
# the height of the first shoulder, which is a little better: a fifth of the moves lead
# home, where there is one link each way.

# %%
for loss in (0.02, 0.1, 0.2):
    print(f"{loss:.0%} on each link: {1 - (1 - loss) ** 4:.0%} of first tries fail")

# %% [markdown]
# ## What a lifetime costs
#
# A short lifetime lets a home agent forget a vanished node soon. The price is
# signalling.

# %%
lifetimes = [30, 60, 120, 300, 600, 1800]
per_node = []
for lifetime in lifetimes:
    results = live(nodes=20, hours=1, lifetime=lifetime, seed=3)
    per_node.append(results.messages / 20)
figure, axes = plt.subplots(figsize=(10, 3.6), layout="constrained")
axes.plot(lifetimes, per_node, marker="o", color="tab:blue")
axes.set_xscale("log")
axes.set_yscale("log")
axes.set_xticks(lifetimes, [str(one) for one in lifetimes])
axes.set_yticks([10, 20, 50, 100, 200, 500], ["10", "20", "50", "100", "200", "500"])
axes.minorticks_off()
axes.set_xlabel("lifetime that nodes ask for (s)")
axes.set_ylabel("messages per node and hour")
axes.grid(visible=True, alpha=0.3)
plt.show()
for lifetime, messages in zip(lifetimes, per_node, strict=True):
    print(f"{lifetime:5} s: {messages:6.1f} messages per node and hour")

# %% [markdown]
# **Question.** Why does the curve level out?
#
# **Answer.** Six moves an hour need their registrations whatever the lifetime is: past
# some minutes the next move comes before the next refresh.
#
# **Exercise.** Half of the sites get a foreign agent and give no addresses
# (`foreign_agents=4`). Does the median outage get longer or shorter? Why does the
# number of messages jump? Think of what an advertisement costs that nobody needs.

# %%
plain = live(nodes=20, hours=1, seed=4)
agents = live(nodes=20, hours=1, seed=4, foreign_agents=4)
for name, results in (("addresses of their own", plain), ("foreign agents", agents)):
    print(
        f"{name:22} median outage {results.outage(0.5):.2f} s, "
        f"{results.messages} messages"
    )
