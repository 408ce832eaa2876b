# SPDX-License-Identifier: GPL-2.0-only
"""GRE keys that a foreign agent asks for."""

from __future__ import annotations

import pytest

from mip_agents.protocol.effects import (
    AnnounceAddress,
    BindingRecord,
    InstallTunnel,
    Journal,
)
from mip_agents.protocol.events import Restored
from mip_agents.protocol.tunnel import Form, Tunnel
from scapy_mip.all import MIPRRP, MIPGREKey
from scapy_mip.const import Encapsulation
from support.agents import (
    FA,
    FA_KEY,
    FHAE,
    HA,
    HOME,
    MHAE,
    A,
    asks,
    home_agent,
    relayed_with,
)
from support.scenario import (
    JOURNAL_WRITTEN,
    TUNNEL_READY,
    Scenario,
    Wait,
    instant,
    like,
    noted,
    scenario,
    sends,
)

GRE_KEY = 48


def keyed(key: int, flags: int = 0x02, **fields: object) -> asks:
    """A request that comes with a key from the foreign agent."""
    tail = relayed_with(bytes(MIPGREKey(key_identifier=key)), association=FA_KEY)
    care_of_address = fields.pop("care_of_address", FA)
    return asks(
        tail=tail, source=FA, care_of_address=care_of_address, flags=flags, **fields
    )


def form(running: Scenario) -> Form:
    """Return how the tunnel that is asked for wraps its packets."""
    (order,) = (o for o in running.orders if isinstance(o, InstallTunnel))
    (found,) = dict(order.tunnel.forms()).values()
    return found


def answered(running: Scenario) -> tuple[list[int], int | None]:
    """Return the types of the extensions of the latest reply, and the key in it."""
    reply = MIPRRP(running.sent[-1].data)
    types = [extension.original[0] for extension in reply.extensions]
    keys = [e.key_identifier for e in reply.extensions if isinstance(e, MIPGREKey)]
    return types, keys[0] if keys else None


def registered(key: int = 77, flags: int = 0x02) -> tuple[Scenario, Form]:
    running = scenario(home_agent(foreign_agent=True)) >> keyed(key, flags)
    found = form(running)
    running << like(Journal) << like(InstallTunnel) >> JOURNAL_WRITTEN >> TUNNEL_READY
    return running << sends(code=0) << AnnounceAddress(HOME), found


@pytest.mark.parametrize("flags", [0x02, 0x0A, 0x12])
def test_each_end_says_which_key_it_wants(flags):
    """TUN-08: its key in what we send, ours in what it sends; like G, also without."""
    running, found = registered(77, flags)
    assert found.encapsulation is Encapsulation.GRE
    assert found.send_key == 77
    assert found.receive_key not in (None, 0, 77)
    # The reply has our key behind what is for the node and before FHAE (HA-27).
    assert answered(running) == ([MHAE, GRE_KEY, FHAE], found.receive_key)
    assert running


def test_zero_asks_us_for_both_keys():
    """TUN-08: the extension has room for one, so that both are the same."""
    running, found = registered(0)
    assert found.send_key == found.receive_key
    assert found.send_key not in (None, 0)
    assert answered(running)[1] == found.send_key
    assert running


def test_without_gre_a_key_is_denied():
    """TUN-08: 139, even where the flags ask for what is allowed."""
    engine = home_agent(
        foreign_agent=True,
        encapsulations=frozenset({Encapsulation.IPIP, Encapsulation.MINIMAL}),
    )
    running = scenario(engine) >> keyed(77, 0x12) << sends(code=139)
    assert answered(running)[0] == [MHAE, FHAE]
    assert running << noted("registration_denied", "TUN-08")


@pytest.mark.parametrize("key", [77, 0])
def test_a_refresh_keeps_our_key_and_the_tunnel(key):
    """TUN-08."""
    running, found = registered(key)
    running >> Wait(100) >> keyed(key) << like(Journal) >> JOURNAL_WRITTEN
    running << sends(code=0)
    assert answered(running)[1] == found.receive_key
    # Another key of the foreign agent replaces the tunnel, and ours stays.
    running >> Wait(200) >> keyed(99)
    assert form(running) == found._replace(send_key=99, receive_key=found.receive_key)
    running << like(Journal)
    assert running << like(InstallTunnel)


def test_a_request_without_a_key_has_none():
    """TUN-08: also where there was one before."""
    running, _ = registered()
    plain = asks(
        tail=relayed_with(association=FA_KEY), source=FA, care_of_address=FA, flags=0x0A
    )
    running >> Wait(100) >> plain << like(Journal)
    running << like(InstallTunnel, tunnel=like(Tunnel, peer_forms=()))
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)
    assert answered(running)[0] == [MHAE, FHAE]
    assert running


def test_a_deregistration_is_answered_with_the_key_that_was():
    """TUN-08: the foreign agent sends it in deregistrations, too."""
    running, found = registered()
    running >> Wait(100) >> keyed(77, lifetime=0)
    running.effects = []
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0, lifetime=0)
    assert answered(running) == ([MHAE, GRE_KEY], found.receive_key)
    assert running


def test_a_repeated_request_gets_the_same_key():
    """TUN-08, HA-22."""
    request = keyed(0)
    running = scenario(home_agent(foreign_agent=True)) >> request << like(Journal)
    running << like(InstallTunnel) >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)
    running << AnnounceAddress(HOME) >> request << sends(code=0)
    assert running.sent[0] == running.sent[1]
    assert running


def test_each_of_several_bindings_has_its_own_keys():
    """HA-44, TUN-08."""
    running, found = registered()
    running >> Wait(10) >> asks(flags=0xA2)
    (order,) = (o for o in running.orders if isinstance(o, InstallTunnel))
    assert dict(order.tunnel.forms()) == {FA: found, A: Form(Encapsulation.IPIP)}
    running << like(Journal)
    assert running << like(InstallTunnel)


def test_keys_survive_a_restart():
    """TUN-08: both ends go on with them."""
    kept = BindingRecord(
        home_address=HOME,
        care_of_address=FA,
        home_agent=HA,
        flags=0x02,
        lifetime=600,
        expires=instant(300).ntp,
        identification=instant(0.5).ntp,
        spi=256,
        source=FA,
        send_key=77,
        receive_key=88,
    )
    running = scenario(home_agent(foreign_agent=True)) >> Restored((kept,), ())
    assert form(running) == Form(Encapsulation.GRE, send_key=77, receive_key=88)
    assert running << like(InstallTunnel)
    without = home_agent(encapsulations=frozenset({Encapsulation.IPIP}))
    assert scenario(without) >> Restored((kept,), ()) << like(Journal)


def test_keys_are_journaled_with_the_binding():
    running = scenario(home_agent(foreign_agent=True)) >> keyed(77)
    found = form(running)
    record = like(BindingRecord, send_key=77, receive_key=found.receive_key)
    (journal,) = (o for o in running.orders if isinstance(o, Journal))
    assert journal.changes[0] == record
    running << like(Journal)
    assert running << like(InstallTunnel)


@pytest.mark.parametrize("body", [b"\0\0\2ab", b"\0\0\5abcde", b"\1\0\4abcd"])
def test_a_key_of_another_shape_drops_the_request(body):
    """COM-01, TUN-08."""
    running = scenario(home_agent()) >> asks(tail=lambda d: d + bytes([48]) + body)
    assert running << noted("message_dropped")
