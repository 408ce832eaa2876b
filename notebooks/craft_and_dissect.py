# SPDX-License-Identifier: GPL-2.0-only

# %% [markdown]
# # Crafting and dissecting a registration
#
# A mobile node tells its home agent where it is with one UDP datagram, the Registration
# Request (RFC 5944 section 3.3). This lab builds one, takes it apart, and breaks its
# authentication in three ways. It needs no network and no privileges.
#
# **You should know** what UDP and a TLV are. **You will see** every byte of a request,
# what its authenticator covers, and how a layer bears a message that lies.
#
# Read it as it is, run the text form with `python`, or open that in Jupyter with the
# jupytext extension.

# %%
from scapy_mip import ident
from scapy_mip.all import (
    MIP,
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    ReplyCode,
    SecurityAssociation,
    is_skippable,
    verify,
)

# %% [markdown]
# ## A request, as it reads
#
# The mobile node 10.1.1.10 is at 10.1.2.5, decapsulates packets itself (D), wants GRE
# (G) and a reverse tunnel (T). Lengths and the authenticator fill themselves in: the
# mobile node and its home agent share the key of SPI 256.

# %%
shared = SecurityAssociation(256, "1234567812345678")
request = (
    MIPRRQ(
        flags="DGT",
        lifetime=600,
        home_address="10.1.1.10",
        home_agent="10.1.1.20",
        care_of_address="10.1.2.5",
        identification=ident.from_unix_ns(1_700_000_000_000_000_000),
    )
    / MIPNAI(nai="mn@example.org")
    / MIPMHAE(association=shared)
)
request.show2()

# %% [markdown]
# ## The same from bytes
#
# `MIP` finds the message by its first byte. Every byte is kept: building the dissected
# message again gives what was received.

# %%
datagram = bytes(request)
received = MIP(datagram)
assert type(received) is MIPRRQ
assert bytes(received) == datagram
assert received.flags.D and not received.flags.S
print(received.summary())

# %% [markdown]
# ## What the authenticator covers
#
# Everything from the first byte of the message through the SPI of the extension itself
# (RFC 5944 section 3.5.1). So its place decides. The extension here starts behind the
# 24 bytes of the fixed part and the NAI.

# %%
offset = 24 + len(received.extensions[0])
assert verify(shared, datagram, offset)

# %% [markdown]
# Change one bit of what is covered, and it fails. Take another key, and it fails. Put
# something *behind* it, as a foreign agent does, and it still holds.

# %%
altered = bytearray(datagram)
altered[3] ^= 1  # the lifetime
assert not verify(shared, bytes(altered), offset)
assert not verify(SecurityAssociation(256, "8765432187654321"), datagram, offset)
relayed = bytes(received / MIPNAI(nai="fa@example.net"))
assert verify(shared, relayed, offset)

# %% [markdown]
# ## Identification: two halves
#
# The low half ties a reply to its request; the high half is the clock of the sender. A
# home agent that finds it too far off answers 133 with its own clock in the high half
# (RFC 5944 section 5.7.1).

# %%
seconds, fraction = ident.split(received.identification)
home_agent_clock = seconds + 3600
reply = MIPRRP(
    code=ReplyCode.HA_IDENTIFICATION_MISMATCH,
    home_address=received.home_address,
    home_agent=received.home_agent,
    identification=ident.join(home_agent_clock, fraction),
) / MIPMHAE(association=shared)
assert reply.answers(received)
difference = ident.difference(reply.identification, received.identification)
print(reply.summary())
print("the mobile node's clock is", difference >> 32, "seconds slow")

# %% [markdown]
# **Question.** Who must not change the low half, and who may change the high half?
#
# **Answer.** Nobody may change the low half of a reply: it has to be that of the
# request, or the mobile node discards it (RFC 5944 section 3.6.2.1). The high half of a
# denial with code 133 is the home agent's to choose. Both lie in front of the
# authenticator, so a foreign agent on the way can change neither.

# %% [markdown]
# ## Broken on purpose
#
# A layer validates nothing, so that any broken message can be made. Here a length says
# 200 bytes where two follow. The rest of the message is kept with it, byte for byte.

# %%
broken = bytes(MIPRRQ() / MIPNAI(nai="mn", length=200))
lying = MIP(broken).extensions[0]
lying.show()
assert lying.is_cut
assert bytes(MIP(broken)) == broken

# %% [markdown]
# **Exercise.** Put an extension of type 60 in front of `MIPMHAE`, then one of type 200:
# `MIPExtension(type=60, data=b"?")`. Which of the two makes a home agent discard the
# request?
#
# **Answer.** The first. Types up to 127 must be understood, or the whole message goes;
# those from 128 on are skipped (RFC 5944 section 1.8). The layer tells them apart, too.

# %%
print({kind: is_skippable(kind) for kind in (60, 200)})
