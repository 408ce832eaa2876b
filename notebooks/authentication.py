# SPDX-License-Identifier: GPL-2.0-only

# %% [markdown]
# # Authentication, and how to break it
#
# Whoever can forge a Registration Request gets all packets of a mobile node. So every
# request carries an authenticator that only the node and its home agent can make (RFC
# 5944 section 3.5). This lab signs a request, finds out byte by byte what the signature
# protects, and then breaks it the only way that is left: a bad key.
#
# **You should know** what a MAC is. **You will see** which bytes a foreign agent can
# still change, why the order of extensions matters, and a key that falls in a second.

# %%
import time

import matplotlib.pyplot as plt

from scapy_mip import ident
from scapy_mip.all import (
    MIP,
    MIPFHAE,
    MIPMHAE,
    MIPNAI,
    MIPRRQ,
    Algorithm,
    SecurityAssociation,
    verify,
)

# %% [markdown]
# ## Two signatures on one message
#
# The node signs for its home agent (MHAE, Mobile-Home Authentication Extension). The
# foreign agent that relays the request appends an extension of its own, and signs all
# of it for the home agent once more (FHAE).

# %%
node = SecurityAssociation(256, "1234567812345678")
relay = SecurityAssociation(300, "the agents' own key")
request = (
    MIPRRQ(
        lifetime=600,
        home_address="10.1.1.10",
        home_agent="10.1.1.20",
        care_of_address="10.1.2.1",
        identification=ident.from_unix_ns(1_700_000_000_000_000_000),
    )
    / MIPNAI(nai="mn@example.org")
    / MIPMHAE(association=node)
    / MIPNAI(nai="fa@example.net")
    / MIPFHAE(association=relay)
)
datagram = bytes(request)
offsets = []
offset = MIPRRQ.fixed_size
for extension in MIP(datagram).extensions:
    offsets.append(offset)
    print(f"byte {offset:3}: {extension.name}, {len(extension)} bytes")
    offset += len(extension)
mhae, fhae = offsets[1], offsets[3]
assert verify(node, datagram, mhae)
assert verify(relay, datagram, fhae)

# %% [markdown]
# ## What is protected: try every byte
#
# An authenticator covers the UDP payload up to and with the SPI of its own extension
# (RFC 5944 section 3.5.1). Do not believe it: flip one bit in each byte, and ask both.

# %%
noticed = {"MHAE": [], "FHAE": []}
for place in range(len(datagram)):
    altered = bytearray(datagram)
    altered[place] ^= 1
    noticed["MHAE"].append(not verify(node, bytes(altered), mhae))
    noticed["FHAE"].append(not verify(relay, bytes(altered), fhae))

figure, axes = plt.subplots(figsize=(10, 2.6), layout="constrained")
axes.imshow(
    [noticed["MHAE"], noticed["FHAE"]],
    aspect="auto",
    cmap="Blues",
    vmin=0,
    vmax=1.4,
    extent=(0, len(datagram), 2, 0),
)
for edge in [*offsets, mhae + 6, fhae + 6]:
    axes.axvline(edge, color="0.3", linewidth=1)
names = ["fixed part", "NAI", "MHAE", "NAI of the FA", "FHAE"]
for name, start, end in zip(
    names, [0, *offsets], [*offsets, len(datagram)], strict=True
):
    axes.text((start + end) / 2, -0.1, name, ha="center", va="bottom", fontsize=9)
axes.set_yticks([0.5, 1.5], ["noticed by MHAE", "noticed by FHAE"])
axes.set_xlabel("byte of the UDP payload (dark: a change is noticed)")
plt.show()

# %% [markdown]
# The node's signature ends with its own extension: that is what lets a foreign agent
# add something at all. Everything in front of it, the lifetime included, is out of the
# foreign agent's reach. (A changed *length* of an extension counts as noticed, too: the
# authenticator is not where it was.)
#
# **Question.** Why may nothing follow the FHAE?
#
# **Answer.** It would be signed by nobody. A home agent that reads it takes the word of
# whoever is on the way. So the order is fixed: extensions for the home agent, MHAE,
# extensions of the foreign agent, FHAE (RFC 5944 sections 3.6.1.3 and 3.7.2.2).

# %% [markdown]
# ## A strong function saves no weak key
#
# HMAC-MD5 has no known forgery. But a request on a wireless link is a free test for
# keys: take the bytes, guess, compare. Nobody is asked, nobody notices. The capture in
# `pcaps/` was made with a "secret" that stands in many examples.

# %%
from pathlib import Path

from scapy.layers.inet import UDP
from scapy.utils import rdpcap

here = Path.cwd()
root = next(path for path in (here, *here.parents) if (path / "pcaps").is_dir())
first = rdpcap(str(root / "pcaps/recorded/mkiol-reg-dereg.pcap"), count=1)[0]
captured = bytes(first[UDP].payload)
target = MIP(captured)
where = MIPRRQ.fixed_size  # there is but one extension

words = ["", "secret", "mobile", "password", "12345678", "87654321", "mip"]
guesses = [one + other for one in words for other in words if one + other]
begun = time.perf_counter()
found = [
    guess
    for guess in guesses
    if verify(SecurityAssociation(target.extensions[0].spi, guess), captured, where)
]
took = time.perf_counter() - begun
print(f"{len(guesses)} guesses: {found}")

# %%
tries = 20_000
begun = time.perf_counter()
for number in range(tries):
    verify(SecurityAssociation(256, f"{number:016}"), captured, where)
rate = tries / (time.perf_counter() - begun)
print(f"about {rate / 1000:.0f} thousand guesses per second on one core, in Python")
print(f"  all keys of 8 digits: {10**8 / rate / 60:,.0f} minutes")
print(f"  all keys of 8 letters and digits: {62**8 / rate / 86400 / 365:,.0f} years")
print(f"  all keys of 128 random bits: {2.0**128 / rate / 86400 / 365:.0e} years")

# %% [markdown]
# **Exercise.** Take the key as `key_hex` of 16 random bytes (`secrets.token_hex(16)`)
# and another algorithm. Does the list of guesses still find it?

# %%
import secrets

good = SecurityAssociation(256, secrets.token_bytes(16), Algorithm.HMAC_SHA256)
signed = bytes(MIPRRQ(lifetime=30) / MIPMHAE(association=good))
assert verify(good, signed, where)
assert not any(
    verify(SecurityAssociation(256, guess, Algorithm.HMAC_SHA256), signed, where)
    for guess in guesses
)
size = len(MIP(signed).extensions[0].authenticator)
print(f"not found; the authenticator has {size} bytes")

# %% [markdown]
# RFC 5944 section 5.1 asks for keys of 128 bits at least, and allows other algorithms
# than HMAC-MD5 between ends that agree on them.
