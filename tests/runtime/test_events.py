# SPDX-License-Identifier: GPL-2.0-only
"""What is noted, as events, log lines and counters: the three never disagree."""

import asyncio
import io
import json
import logging
from functools import partial

from mip_agents.dataplane.api import Counters
from mip_agents.protocol.effects import Noted, Severity
from mip_agents.runtime import floods
from mip_agents.runtime.events import Broadcast, Notes, Stamped
from mip_agents.runtime.floods import PASSED, FloodGuard
from mip_agents.runtime.log import LogSink, adopt_libraries
from mip_agents.runtime.metrics import EventCounters, exposition, family
from mip_agents.runtime.options import LogFormat, LogLevel

DENIED = Noted(
    event="registration_denied",
    severity=Severity.WARNING,
    rule="HA-09",
    fields={"home_address": "10.1.1.10", "code": 133, "reason": None},
)


def test_an_event_as_json_has_time_name_severity_rule_and_fields():
    seen = []
    Notes(seen.append).note(DENIED)
    event = seen[0].as_json()
    assert isinstance(event.pop("time"), float)
    assert event == {
        "event": "registration_denied",
        "severity": "warning",
        "rule": "HA-09",
        "home_address": "10.1.1.10",
        "code": 133,
        "reason": None,
    }


def test_a_reader_that_fails_keeps_nothing_from_the_others():
    seen = []

    def broken(stamped):
        raise OSError("pipe closed")

    notes = Notes(broken, seen.append)
    notes.note(DENIED)
    notes.crash("here", ValueError("bug"))
    assert [stamped.noted.event for stamped in seen] == [
        "registration_denied",
        "internal_error",
    ]


def logged(form, level=LogLevel.INFO, *, error=None, noted=DENIED):
    stream = io.StringIO()
    notes = Notes(LogSink(form, level, stream))
    if error is None:
        notes.note(noted)
    else:
        notes.crash("here", error)
    return stream.getvalue()


def test_a_json_line_is_the_event():
    line = logged(LogFormat.JSON)
    assert line.count("\n") == 1
    record = json.loads(line)
    assert list(record)[:3] == ["time", "event", "severity"]
    assert record["code"] == 133
    assert "reason" not in record


def test_a_line_for_people_has_it_all():
    line = logged(LogFormat.CONSOLE)
    assert line.count("\n") == 1
    for part in ("warning", "registration_denied", "rule=HA-09", "code=133"):
        assert part in line


def test_quiet_events_are_left_out():
    assert logged(LogFormat.JSON, LogLevel.ERROR) == ""


def test_a_crash_is_logged_with_its_traceback_in_both_forms():
    try:
        raise ValueError("bug")
    except ValueError as error:
        for form in LogFormat:
            text = logged(form, error=error)
            assert "internal_error" in text
            assert "Traceback" in text
            assert "test_events.py" in text
    assert json.loads(logged(LogFormat.JSON, error=ValueError("bug")))


def test_a_field_may_have_any_name():
    noted = Noted(event="odd", fields={"level": "x", "timestamp": "y", "event": "z"})
    for form in LogFormat:
        assert "odd" in logged(form, noted=noted)


def test_warnings_of_libraries_come_into_our_log():
    seen = []
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        adopt_libraries(Notes(seen.append))
        logging.getLogger("uvicorn.error").warning("slow %s", "client")
        logging.getLogger("uvicorn.error").info("hello")
        try:
            raise ValueError("bug")
        except ValueError:
            logging.getLogger("uvicorn.error").exception("Exception in application")
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
    assert [stamped.noted.event for stamped in seen] == ["library", "internal_error"]
    assert seen[0].noted.fields == {"library": "uvicorn.error", "text": "slow client"}


def test_counters_count_by_event_and_code():
    counters = EventCounters()
    notes = Notes(counters)
    for code in (133, 131, 133):
        notes.note(Noted(event="registration_denied", fields={"code": code}))
    notes.note(Noted(event="dropped"))
    assert counters.totals() == {"dropped": 1, "registration_denied": 3}
    assert list(counters.samples()) == [
        ({"event": "dropped"}, 1),
        ({"event": "registration_denied", "code": 131}, 1),
        ({"event": "registration_denied", "code": 133}, 2),
    ]


def test_refusals_are_counted_by_rule_and_reason_and_their_kinds_are_bounded():
    counters = EventCounters()
    notes = Notes(counters)
    refuse = partial(Noted, event="message_dropped", rule="COM-03")
    for reason in ("cut short", "cut short", *map(str, range(500))):
        notes.note(refuse(fields={"reason": reason}))
    notes.note(refuse(fields={"reason": "cut short"}))
    samples = list(counters.refusals())
    labels = {"event": "message_dropped", "rule": "COM-03", "reason": "cut short"}
    assert (labels, 3) in samples
    assert sum(count for _, count in samples) == 503
    assert len(samples) < 250


def guarded(events):
    """Let events, each a name and its second, pass a guard; return what came out."""
    seen = []
    guard = FloodGuard(lambda stamped: seen.append(stamped.noted))
    for number, (name, second) in enumerate(events):
        loud = Severity.INFO if name.startswith("agent") else Severity.WARNING
        noted = Noted(event=name, severity=loud, rule="HA-07")
        guard(Stamped(number, 1000.0 + second, noted))
    return seen


def test_a_flood_of_one_kind_is_a_number_and_others_pass():
    flood = [("bad", 0.001 * n) for n in range(1000)]
    seen = guarded([*flood, ("other", 1.5), ("agent_started", 2), ("bad", 11)])
    names = [noted.event for noted in seen]
    assert names == ["bad"] * PASSED + [
        "other",
        "agent_started",
        "log_held_back",
        "bad",
    ]
    (held,) = [noted for noted in seen if noted.event == "log_held_back"]
    assert (held.rule, held.fields) == ("HA-07", {"of": "bad", "count": 1000 - PASSED})


def test_the_last_number_comes_before_the_end_of_the_agent():
    seen = guarded([*([("bad", 0.0)] * 50), ("agent_stopping", 1)])
    assert [noted.event for noted in seen[-2:]] == ["log_held_back", "agent_stopping"]


def test_what_a_log_does_not_write_is_no_flood():
    """A guard that hears of it would only cost time, for every refresh."""
    stream = io.StringIO()
    guard = FloodGuard(LogSink(LogFormat.JSON, LogLevel.ERROR, stream))
    for number in range(2 * PASSED):
        noted = Noted(event="bad", severity=Severity.WARNING)
        guard(Stamped(number, 1000.0, noted))
    guard(Stamped(99, 1000.0, Noted(event="agent_stopping", severity=Severity.ERROR)))
    lines = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert lines == ["agent_stopping"]


def test_a_number_comes_by_itself_when_the_flood_is_over(monkeypatch):
    monkeypatch.setattr(floods, "WINDOW_S", 0.05)

    async def body():
        came = asyncio.Event()
        guard = FloodGuard(
            lambda stamped: came.set() if stamped.noted.event == "log_held_back" else 0
        )
        for number in range(PASSED + 1):
            noted = Noted(event="bad", severity=Severity.WARNING)
            guard(Stamped(number, 1000.0, noted))
        assert not came.is_set()
        await asyncio.wait_for(came.wait(), 10)

    asyncio.run(body())


def test_labels_are_escaped():
    text = family("m", "counter", "a\nb", [({"reason": 'a "b" \\ \n c'}, 1)])
    assert (
        text == '# HELP m a\\nb\n# TYPE m counter\nm{reason="a \\"b\\" \\\\ \\n c"} 1\n'
    )


def test_the_exposition_has_every_family_once_and_ends_with_a_line_end():
    counters = EventCounters()
    Notes(counters).note(DENIED)
    text = exposition(
        info={"version": "1", "role": "home_agent"},
        uptime_s=1.5,
        events=counters,
        drops={"not for us": 2},
        traffic={
            "10.1.1.10": Counters(1, 2, 3, 4),
            "10.1.1.11": Counters(),
            "10.1.1.12%eth1": Counters(5),
        },
        gauges={"bindings": 2},
    )
    lines = text.splitlines()
    assert text.endswith("\n")
    assert len({line for line in lines if line.startswith("# TYPE")}) == sum(
        line.startswith("# TYPE") for line in lines
    )
    for line in (
        'mip_events_total{event="registration_denied",code="133"} 1',
        'mip_dropped_packets_total{reason="not for us"} 2',
        'mip_tunnel_bytes_total{home_address="10.1.1.10",direction="received"} 4',
        'mip_tunnel_packets_total{home_address="10.1.1.10",direction="sent"} 1',
        (
            'mip_tunnel_packets_total{home_address="10.1.1.12",interface="eth1",'
            'direction="sent"} 5'
        ),
        "mip_bindings 2",
        "mip_uptime_seconds 1.5",
    ):
        assert line in lines


def test_of_very_many_tunnels_only_the_sums_are_metrics():
    traffic = {str(number): Counters(1, 2, 3, 4) for number in range(1001)}
    text = exposition(
        info={},
        uptime_s=0,
        events=EventCounters(),
        drops={},
        traffic=traffic,
        gauges={},
    )
    assert "home_address" not in text
    assert 'mip_traffic_packets{direction="sent"} 1001' in text
    assert 'mip_traffic_bytes{direction="received"} 4004' in text


def watching(body):
    async def run():
        async with asyncio.timeout(10):
            broadcast = Broadcast()
            await body(broadcast, Notes(broadcast))

    asyncio.run(run())


async def take(events, count):
    return [(await anext(events)).noted.event for _ in range(count)]


def note(notes, *names):
    for name in names:
        notes.note(Noted(event=name))


def test_a_watcher_gets_what_happens_from_then_on():
    async def body(broadcast, notes):
        note(notes, "before")
        events = broadcast.watch()
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        note(notes, "one", "two")
        assert (await first).noted.event == "one"
        assert await take(events, 1) == ["two"]

    watching(body)


def test_a_watcher_may_begin_with_what_was_kept():
    async def body(broadcast, notes):
        note(notes, "one", "two", "three")
        assert await take(broadcast.watch(after=0), 3) == ["one", "two", "three"]
        assert await take(broadcast.watch(after=2), 1) == ["three"]

    watching(body)


def test_a_quiet_time_is_broken_by_heartbeats():
    async def body(broadcast, notes):
        events = broadcast.watch(heartbeat_s=0.01)
        assert await anext(events) is None
        assert await anext(events) is None

    watching(body)


def test_closing_ends_every_watcher_after_the_last_event():
    async def body(broadcast, notes):
        events = broadcast.watch()
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        note(notes, "one", "two")
        broadcast.close()
        assert (await first).noted.event == "one"
        assert [stamped.noted.event async for stamped in events] == ["two"]
        assert [stamped async for stamped in broadcast.watch()] == []

    watching(body)


def test_a_slow_watcher_loses_the_oldest_and_holds_nobody_up():
    async def body(broadcast, notes):
        events = broadcast.watch()
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        note(notes, *(str(number) for number in range(3000)))
        await first
        last = None
        broadcast.close()
        async for stamped in events:
            last = stamped.noted.event
        assert last == "2999"

    watching(body)
