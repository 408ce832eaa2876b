# SPDX-License-Identifier: GPL-2.0-only
"""Counters of what was noted, and their text form for Prometheus.

Version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from mip_agents.dataplane.api import Counters
from mip_agents.runtime.events import Stamped

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

_REASONS = 200
"""Reasons that are told apart; some name a byte, and strangers choose which."""

_TUNNELS = 1000
"""Home addresses that get metrics of their own: more are for the control interface."""

Labels = Mapping[str, str | int]
Sample = tuple[Labels, int | float]


class EventCounters:
    """Counts events by name and, where there is one, reply code; a sink of `Notes`.

    Those with a rule and a reason, refusals all of them, are counted by these, too.
    """

    def __init__(self) -> None:
        self._counts = defaultdict[tuple[str, int | str | None], int](int)
        self._refusals: dict[tuple[str, str, str], int] = {}

    def __call__(self, stamped: Stamped) -> None:
        """Count one event."""
        noted = stamped.noted
        fields = noted.fields
        self._counts[noted.event, fields.get("code")] += 1
        if noted.rule is not None and fields.get("reason") is not None:
            reason = fields["reason"]
            refusal = (noted.event, noted.rule, str(reason))
            if refusal not in self._refusals and len(self._refusals) >= _REASONS:
                refusal = (noted.event, noted.rule, "other")
            self._refusals[refusal] = self._refusals.get(refusal, 0) + 1

    def totals(self) -> dict[str, int]:
        """Return how often each event was noted."""
        totals: dict[str, int] = {}
        for (event, _), count in sorted(self._counts.items(), key=lambda kv: kv[0][0]):
            totals[event] = totals.get(event, 0) + count
        return totals

    def refusals(self) -> Iterable[Sample]:
        """Yield one sample per event, rule and reason."""
        for (event, rule, reason), count in sorted(self._refusals.items()):
            yield {"event": event, "rule": rule, "reason": reason}, count

    def samples(self) -> Iterable[Sample]:
        """Yield one sample per event and code."""
        for (event, code), count in sorted(
            self._counts.items(), key=lambda entry: (entry[0][0], str(entry[0][1]))
        ):
            labels: dict[str, str | int] = {"event": event}
            if code is not None:
                labels["code"] = code
            yield labels, count


def family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    """Write one metric with all its samples; nothing where there are none.

    :param kind: `counter` or `gauge`.
    """
    lines = [f"{name}{_labels(labels)} {value}" for labels, value in samples]
    if not lines:
        return ""
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return "\n".join((f"# HELP {name} {text}", f"# TYPE {name} {kind}", *lines, ""))


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    inner = ",".join(
        f'{name}="{str(value).translate(_ESCAPES)}"' for name, value in labels.items()
    )
    return "{" + inner + "}"


def exposition(
    *,
    info: Labels,
    uptime_s: float,
    events: EventCounters,
    drops: Mapping[str, int],
    traffic: Mapping[str, Counters],
    gauges: Mapping[str, float],
) -> str:
    """Write everything that an agent counts.

    :param traffic: the data plane's counters by `Tunnel.key`.
    :param gauges: further numbers by metric name without the prefix `mip_`.
    """
    packets: list[Sample] = []
    octets: list[Sample] = []
    few = traffic if len(traffic) <= _TUNNELS else {}
    for key, counters in few.items():
        home_address, _, interface = key.partition("%")
        labels: Labels = {"home_address": home_address}
        if interface:
            labels = {**labels, "interface": interface}
        sent = {**labels, "direction": "sent"}
        received = {**labels, "direction": "received"}
        packets += (sent, counters.sent_packets), (received, counters.received_packets)
        octets += (sent, counters.sent_bytes), (received, counters.received_bytes)
    return "".join(
        (
            family("mip_info", "gauge", "The running agent.", [(info, 1)]),
            family("mip_uptime_seconds", "gauge", "Since its start.", [({}, uptime_s)]),
            family(
                "mip_events_total",
                "counter",
                "Events by name and reply code.",
                events.samples(),
            ),
            family(
                "mip_refused_messages_total",
                "counter",
                "Messages dropped, denied or not answered, by rule and reason.",
                events.refusals(),
            ),
            *(
                family(f"mip_{name}", "gauge", "State of the engine.", [({}, value)])
                for name, value in gauges.items()
            ),
            family(
                "mip_dropped_packets_total",
                "counter",
                "Packets that the data plane or a socket threw away, by reason.",
                (({"reason": reason}, count) for reason, count in drops.items()),
            ),
            family(
                "mip_traffic_packets",
                "gauge",
                "Packets through the tunnels that there are now.",
                _sums(traffic, "packets"),
            ),
            family(
                "mip_traffic_bytes",
                "gauge",
                "Bytes of those packets, without outer headers.",
                _sums(traffic, "bytes"),
            ),
            family(
                "mip_tunnel_packets_total",
                "counter",
                "Packets through the tunnel of a home address.",
                packets,
            ),
            family(
                "mip_tunnel_bytes_total",
                "counter",
                "Bytes of those packets, without outer headers.",
                octets,
            ),
        )
    )


def _sums(traffic: Mapping[str, Counters], unit: str) -> Iterable[Sample]:
    for direction in ("sent", "received"):
        name = f"{direction}_{unit}"
        total = sum(getattr(counters, name) for counters in traffic.values())
        yield {"direction": direction}, total
