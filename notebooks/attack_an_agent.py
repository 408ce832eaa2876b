# SPDX-License-Identifier: GPL-2.0-only

# %% [markdown]
# # Attacking and fuzzing an agent
#
# UDP port 434 of a home agent is open to everybody. What arrives there may be noise,
# may be almost right, or may have been right yesterday. This lab throws some ten
# thousand such datagrams at a home agent, the real engine on a virtual clock, and
# counts what it says.
#
# **You should know** what fuzzing is. **You will see** that nearly everything is
# dropped in silence, what is answered and why, and that the agent serves its node all
# the while.

# %%
import random
from collections import Counter

import matplotlib.pyplot as plt
from scapy.packet import fuzz

from mip_agents.protocol.events import Received
from mip_agents.simulation.world import (
    HOME_AGENT,
    Plan,
    Site,
    World,
    home_agent_address,
)
from scapy_mip.all import (
    MIP,
    MIPMHAE,
    MIPNAI,
    MIPRRQ,
    SecurityAssociation,
    describe_code,
)

# %% [markdown]
# ## The victim
#
# One home agent, and one node that registers with it from a visited network.

# %%
chance = random.Random(7)
world = World(Plan(sites=(Site(),), lifetime=60, advertisement_interval=0.0), seed=7)
sent = []
world.internet.record = sent.append
world.start()
world.run(1)
world.move(0, "eth0", "site-1")
world.run(1)
agent = world.shells[HOME_AGENT]
AGENT = home_agent_address(0)
genuine = [packet for packet in sent if packet.data[0] == 1][-1]
print(MIP(genuine.data).summary())


STRANGER = "192.0.2.66"


def throw(data):
    """Let a stranger's datagram arrive; return what he gets, and what is noted."""
    answers, notes = [], []

    def watch(_shell, send):
        if send.destination == STRANGER:
            answers.append(MIP(send.data))

    agent.on_send = watch
    world.on_note = lambda shell, note: notes.append((shell, note))
    agent.post(
        Received(
            data=data,
            source=STRANGER,
            source_port=4444,
            destination=AGENT,
            destination_port=434,
            interface="lan0",
            ttl=64,
        )
    )
    agent.on_send = world.on_note = None
    world.run(0.05)
    return answers, [note for shell, note in notes if shell is agent]


def judged(answers, notes):
    """Say in words what came of a datagram."""
    if answers:
        code = answers[0].code
        return f"answered with {code} ({describe_code(code)})"
    if any(note.event == "reply_held_back" for note in notes):
        return "denied, but the answer is held back"
    (rule,) = {note.rule for note in notes if note.event == "message_dropped"}
    return f"dropped by {rule}"


# %% [markdown]
# ## Five kinds of trouble
#
# - **noise**: random bytes that begin like a request;
# - **fuzz**: `fuzz(MIPRRQ())`, every field at random, the form good;
# - **mutation**: the genuine request with one to three bytes changed;
# - **forgery**: a fresh, well-formed request for the node, signed with a wrong key;
# - **lies**: extensions whose length runs over the end.
#
# Which of these deserve an answer? The checks of a home agent go by an order (RFC 5944
# section 3.8.2.1), and answering strangers makes a host a reflector.

# %%
wrong = SecurityAssociation(256, "not the node's key")


def noise():
    return b"\x01" + chance.randbytes(chance.randrange(80))


def fuzzed():
    return bytes(fuzz(MIPRRQ()) / MIPMHAE(association=wrong))


def mutated():
    data = bytearray(genuine.data)
    for _ in range(chance.randrange(1, 4)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def forged():
    now = agent.clock.now().ntp
    return bytes(
        MIPRRQ(
            flags="D",
            lifetime=600,
            home_address="10.0.1.0",
            home_agent=AGENT,
            care_of_address=STRANGER,
            identification=now,
        )
        / MIPMHAE(association=wrong)
    )


def lying():
    length = chance.randrange(20, 256)
    return genuine.data[:24] + bytes(MIPNAI(nai="mn", length=length))


ROUNDS = 400
outcomes = {}
reasons = Counter()
asked = answered = 0
for kind in (noise, fuzzed, mutated, forged, lying):
    counts = outcomes[kind.__name__] = Counter()
    for _ in range(ROUNDS):
        data = kind()
        answers, notes = throw(data)
        asked += len(data) + 28
        answered += sum(len(answer) + 28 for answer in answers)
        counts[judged(answers, notes)] += 1
        reasons.update(note.fields.get("reason") for note in notes)

# %%
names = sorted({name for counts in outcomes.values() for name in counts})
figure, axes = plt.subplots(figsize=(10, 3.8), layout="constrained")
left = [0.0] * len(outcomes)
for number, name in enumerate(names):
    shares = [counts[name] / ROUNDS * 100 for counts in outcomes.values()]
    axes.barh(list(outcomes), shares, left=left, label=name, color=f"C{number}")
    left = [before + share for before, share in zip(left, shares, strict=True)]
axes.invert_yaxis()
axes.set_xlim(0, 100)
axes.set_xlabel("share of datagrams (%)")
axes.legend(
    loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False, fontsize=9
)
plt.show()
print(f"{asked} bytes in, {answered} bytes out")
for reason, count in reasons.most_common(6):
    print(f"{count:5} x {reason}")

# %% [markdown]
# The ids are those of the checklist in `tests/data/behaviour.md`: COM-03 is about
# lengths, HA-06 about requests without a signature that could be checked, HA-07 about
# bad ones.
#
# **Question.** RFC 5944 has a code for a bad signature, 131. Why are most of these not
# answered?
#
# **Answer.** Each denial is a signed datagram to an address that a stranger chose. The
# first ones help an honest node with a wrong key; the thousandth helps nobody but an
# attacker who wants a reflector. So they are limited in number.
#
# **Question.** Can a mutation be accepted at all?
#
# **Answer.** Only one that is none: two flips of the same bit. That is the genuine
# request again, which changes nothing (`replay_attacks`). Everything else is covered by
# the authenticator, or is the authenticator.

# %%
accepted = 0
for _ in range(ROUNDS):
    data = mutated()
    answers, _ = throw(data)
    if any(answer.code == 0 for answer in answers):
        assert data == genuine.data
        accepted += 1
print(f"{accepted} of {ROUNDS} were accepted")

# %% [markdown]
# ## Does it still serve?
#
# The node must not have noticed anything. Its refreshes went on, the binding is where
# it was, and nobody else has one.

# %%
world.run(120)
status = agent.engine.status(agent.clock.now())
node = world.nodes[0]
state = node.engine.status(node.clock.now())["state"]
print(f"bindings: {status['bindings']}, the node: {state}")
assert status["bindings"] == 1

# %% [markdown]
# **Exercise.** Let the fuzzer know the key: sign `fuzz(MIPRRQ())` with the node's own
# (`1234567812345678`). What does a compromised node achieve, and what not?

# %%
own = SecurityAssociation(256, "1234567812345678")
counts = Counter()
for _ in range(ROUNDS):
    message = fuzz(MIPRRQ(home_address="10.0.1.0", home_agent=AGENT))
    counts[judged(*throw(bytes(message / MIPMHAE(association=own))))] += 1
for name, count in counts.most_common():
    print(f"{count:4} x {name}")

# %% [markdown]
# A random Identification is not the time: 133, and that is limited in number as well.
# Signing is not enough to be believed.
