# SPDX-License-Identifier: GPL-2.0-only
"""The mapping from effects to ports, without any event loop."""

import pytest

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import (
    AnnounceAddress,
    Finished,
    GiveBackAddress,
    IdentificationRecord,
    Journal,
    Noted,
    RemoveTunnel,
    SendDiscovery,
)
from mip_agents.protocol.events import (
    CancelRequested,
    JournalFailed,
    JournalWritten,
    TimerFired,
    TunnelFailed,
)
from mip_agents.runtime.dispatch import Dispatcher, Ports
from support.shell import (
    FAILED,
    Journalling,
    ListAnswers,
    ListNotes,
    ScriptedEngine,
    Sending,
    Working,
    send,
)

NOW = Instant(mono=10.0, ntp=1 << 63)


class Bench:
    def __init__(self, answer):
        self.log = []
        self.engine = ScriptedEngine(answer)
        self.store = Journalling(self.log)
        self.net = Sending(self.log)
        self.worker = Working(self.log)
        self.notes = ListNotes()
        self.answers = ListAnswers()
        self.dispatcher = Dispatcher(
            self.engine,
            Ports(
                net=self.net,
                store=self.store,
                worker=self.worker,
                notes=self.notes,
                answers=self.answers,
            ),
        )

    def turn(self, *events):
        self.dispatcher.turn(events, NOW)


def change(name):
    return IdentificationRecord(name, 1)


def journal_then_reply(event):
    match event:
        case TimerFired():
            token = journal_then_reply.tokens = journal_then_reply.tokens + 1
            return [Journal(token, (change(f"n{token}"),))]
        case JournalWritten(token):
            return [send(b"reply %d" % token)]
        case JournalFailed(token, reason):
            return [send(b"denied %d" % token), Noted(event=reason)]
    return []


@pytest.fixture
def replying():
    journal_then_reply.tokens = 0
    return Bench(journal_then_reply)


def test_one_commit_for_all_journals_of_a_turn_and_replies_behind_it(replying):
    replying.turn(TimerFired(), TimerFired(), TimerFired())
    assert replying.log == [
        ("commit", (change("n1"), change("n2"), change("n3"))),
        ("send", b"reply 1"),
        ("send", b"reply 2"),
        ("send", b"reply 3"),
    ]


def test_a_whole_turn_has_one_now(replying):
    replying.turn(TimerFired(), TimerFired())
    assert {now for _, now in replying.engine.seen} == {NOW}


def test_a_datagram_asked_for_before_the_journal_leaves_behind_it_too():
    bench = Bench(
        lambda event: (
            [send(b"x"), Journal(1, (change("n"),))] if event == TimerFired() else []
        )
    )
    bench.turn(TimerFired())
    assert [kind for kind, _ in bench.log] == ["commit", "send"]


def test_discovery_leaves_among_the_datagrams_in_order():
    discovery = SendDiscovery(
        data=b"advertisement",
        source="10.1.1.20",
        destination="224.0.0.1",
        interface="eth0",
    )
    bench = Bench(lambda event: [send(b"one"), discovery, send(b"two")])
    bench.turn(TimerFired())
    assert bench.log == [
        ("send", b"one"),
        ("discovery", b"advertisement"),
        ("send", b"two"),
    ]


def test_a_failed_commit_is_told_for_every_journal_and_raises_nothing(replying):
    replying.store.failure = FAILED
    replying.turn(TimerFired(), TimerFired())
    assert replying.engine.events[2:] == [
        JournalFailed(1, "disk full"),
        JournalFailed(2, "disk full"),
    ]
    assert [what for kind, what in replying.log if kind == "send"] == [
        b"denied 1",
        b"denied 2",
    ]
    assert not replying.notes.crashes


def test_an_unexpected_error_of_the_store_is_noted_and_told(replying):
    replying.store.failure = RuntimeError("bug")
    replying.turn(TimerFired())
    assert replying.engine.events[1] == JournalFailed(
        1, "internal error: RuntimeError; see the log"
    )
    assert replying.notes.crashes == [("journal", replying.store.failure)]


def test_journals_that_follow_from_an_answer_are_committed_in_the_same_turn():
    def answer(event):
        match event:
            case TimerFired():
                return [Journal(1, (change("a"),))]
            case JournalWritten(1):
                return [Journal(2, (change("b"),))]
            case JournalWritten(2):
                return [send(b"done")]
        return []

    bench = Bench(answer)
    bench.turn(TimerFired())
    assert [kind for kind, _ in bench.log] == ["commit", "commit", "send"]


def test_orders_go_to_the_worker_in_order():
    orders = [
        RemoveTunnel(1, "10.1.1.10"),
        AnnounceAddress("10.1.1.10"),
        GiveBackAddress("10.1.1.10", "eth0"),
    ]
    bench = Bench(lambda event: orders)
    bench.turn(TimerFired())
    assert bench.log == [("order", order) for order in orders]


def test_an_exception_in_the_engine_leaves_the_rest_of_the_batch_alone():
    def answer(event):
        if isinstance(event, CancelRequested):
            raise ValueError("bug")
        return [send(b"fine")]

    bench = Bench(answer)
    bench.turn(CancelRequested(7), TimerFired())
    assert bench.log == [("send", b"fine")]
    assert bench.notes.crashes[0][0] == "engine: CancelRequested"
    # Who waits for the request must not wait for ever.
    assert bench.answers.finished == [
        Finished(token=7, error="internal error: ValueError; see the log")
    ]


def test_an_exception_in_a_port_is_told_to_the_engine():
    bench = Bench(
        lambda event: [RemoveTunnel(3, "10.1.1.10")] if event == TimerFired() else []
    )
    bench.worker.submit = lambda order: 1 / 0
    bench.turn(TimerFired())
    assert bench.engine.events[1] == TunnelFailed(
        3, "internal error: ZeroDivisionError; see the log"
    )


def test_an_exception_while_sending_does_not_keep_the_next_reply():
    bench = Bench(lambda event: [send(b"one"), send(b"two")])
    sent = []

    def send_or_fail(order):
        if order.data == b"one":
            raise ValueError("bug")
        sent.append(order.data)

    bench.net.send = send_or_fail
    bench.turn(TimerFired())
    assert sent == [b"two"]
    assert bench.notes.crashes[0][0] == "send"


def test_notes_and_answers_reach_their_readers():
    noted, finished = Noted(event="hello"), Finished(token=1)
    bench = Bench(lambda event: [noted, finished])
    bench.turn(TimerFired())
    assert bench.notes.noted == [noted]
    assert bench.answers.finished == [finished]
