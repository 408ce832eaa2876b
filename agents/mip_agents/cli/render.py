# SPDX-License-Identifier: GPL-2.0-only
"""Tables and lines for people; readable at 80 columns."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_STYLES = {"warning": "yellow", "error": "bold red", "debug": "dim"}
_TITLES = (
    "home address",
    "care-of address",
    "left",
    "flags",
    "tunnel",
    "to node",
    "from node",
)
_VISITOR_TITLES = (
    "home address",
    "link",
    "link address",
    "home agent",
    "left",
    "tunnel",
)
_RIGHT = {"left", "to node", "from node"}
_LATER = ("advertisement", "agents", "counters", "drops", "traffic", "dataplane")
"""Parts of a status that get a table or a line of their own."""


def _console() -> Console:
    # In a file or a pipe, a terminal's width would cut lines for no reason.
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def status(answer: Mapping[str, Any]) -> None:
    """Show what `/v1/status` says."""
    console = _console()
    table = _plain_table()
    for name, value in answer.items():
        if name not in _LATER:
            table.add_row(_words(name), escape(_value(name, value)))
    if "advertisement" in answer:
        table.add_row("advertisement", escape(_advertisement(answer["advertisement"])))
    dataplane = answer.get("dataplane", {})
    table.add_row("data plane", escape(str(dataplane.get("name"))))
    by_reason: dict[str, list[str]] = {}
    for name, reason in dataplane.get("passed_over", {}).items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        table.add_row(f"  passed over {', '.join(names)}", escape(reason))
    console.print(table)
    if answer.get("agents"):
        console.print("\nagents that are heard")
        table = _plain_table()
        for agent in answer["agents"]:
            table.add_row(*map(escape, _agent(agent)))
        console.print(table)
    for home_address, counters in answer.get("traffic", {}).items():
        console.print(f"\ntunnel of {home_address}: {_traffic(counters)}")
    for title in ("drops", "counters"):
        entries: Mapping[str, int] = answer.get(title, {})
        if entries:
            console.print(f"\n{title}")
            table = _plain_table()
            for name, count in entries.items():
                table.add_row(f"  {_words(name)}", str(count))
            console.print(table)


def bindings(answer: Sequence[Mapping[str, Any]]) -> None:
    """Show what `/v1/bindings` says."""
    console = _console()
    if not answer:
        console.print("no bindings")
        return
    rows = [
        (
            str(binding.get("home_address")),
            str(binding.get("care_of_address")),
            _duration(binding.get("remaining")),
            str(binding.get("flags")),
            str(binding.get("encapsulation")),
            _size(binding.get("sent_bytes", 0)),
            _size(binding.get("received_bytes", 0)),
        )
        for binding in answer
    ]
    _print_rows(_TITLES, rows)


def _print_rows(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table by hand: for a hundred thousand lines rich takes minutes."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    line = "  ".join(
        f"{{:{'>' if title in _RIGHT else '<'}{width}}}"
        for title, width in zip(titles, widths, strict=True)
    )
    _console().print(line.format(*titles).rstrip(), style="bold", soft_wrap=True)
    for row in rows:
        print(line.format(*row).rstrip())


def visitors(answer: Sequence[Mapping[str, Any]]) -> None:
    """Show what `/v1/visitors` says."""
    if not answer:
        _console().print("no visitors")
        return
    rows = [
        (
            str(visitor.get("home_address")),
            str(visitor.get("interface")),
            str(visitor.get("link_address")),
            str(visitor.get("home_agent")),
            _duration(visitor.get("remaining")),
            _visitors_tunnel(visitor),
        )
        for visitor in answer
    ]
    _print_rows(_VISITOR_TITLES, rows)


def _visitors_tunnel(visitor: Mapping[str, Any]) -> str:
    if visitor.get("state") == "pending":
        return "pending"
    return str(visitor.get("encapsulation") or "its own")


def event(entry: Mapping[str, Any]) -> None:
    """Show one event as a line."""
    moment = datetime.datetime.fromtimestamp(entry.get("time", 0)).astimezone()
    severity = str(entry.get("severity"))
    fields = " ".join(
        f"{name}={value}"
        for name, value in entry.items()
        if name not in {"time", "event", "severity"} and value is not None
    )
    style = _STYLES.get(severity)
    name = str(entry.get("event"))
    text = f"[{style}]{escape(name)}[/]" if style else escape(name)
    _console().print(
        f"{moment.isoformat(timespec='milliseconds')[11:23]} {text} {escape(fields)}",
        soft_wrap=True,
    )


def _plain_table() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _words(name: str) -> str:
    return name.replace("_", " ").replace("care of", "care-of")


def _value(name: str, value: Any) -> str:
    if name in {"uptime", "remaining", "next_expiry"} and value is not None:
        return _duration(int(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "interfaces":
        return "; ".join(map(_visited_link, value))
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def _visited_link(link: Mapping[str, Any]) -> str:
    """Say how a foreign agent's link is, and how often it heard of the agent."""
    state = "up" if link["up"] else "down"
    addresses = ", ".join(link["addresses"]) or "no address"
    return f"{link['name']} {state}, {addresses}, {link['advertisements']} sent"


def _advertisement(found: Mapping[str, Any] | None) -> str:
    """Say where an agent advertises, and what."""
    if found is None:
        return "-"
    place = found["interface"]
    if place is None:
        return "nowhere: no interface that is up has the address"
    often = f"every {found['interval']:g} s" if found["interval"] else "when solicited"
    return f"on {place} {often}, {found['flags']}, {found['sent']} sent"


def _agent(found: Mapping[str, Any]) -> tuple[str, str]:
    """Say which agent is heard where, and what it offers for how long."""
    addresses = ", ".join(found["care_of_addresses"]) or "no care-of address"
    place = f"on {found['interface']}, {found['flags']}, {addresses}"
    return f"  {found['address']}", f"{place}, {_duration(found['remaining'])} left"


def _traffic(counters: Mapping[str, int]) -> str:
    return (
        f"sent {counters['sent_packets']} packets, {_size(counters['sent_bytes'])}; "
        f"received {counters['received_packets']} packets, "
        f"{_size(counters['received_bytes'])}"
    )


def _duration(seconds: int | None) -> str:
    """Write seconds as a clock would; None is an infinite lifetime."""
    if seconds is None:
        return "infinite"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m{seconds:02}s"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


def _size(count: int) -> str:
    """Write a number of bytes with a unit."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
