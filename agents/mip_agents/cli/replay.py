# SPDX-License-Identifier: GPL-2.0-only
"""`mip replay`: a capture's requests to a live agent again."""

from __future__ import annotations

import json
import logging
import sys
import textwrap
from collections import Counter
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any

import typer
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw
from scapy.utils import PcapWriter

from mip_agents.captures.keys import load_keys
from mip_agents.captures.replay import Datagram, Outcome, Replay, ReplayOptions
from mip_agents.captures.replay_differences import Difference
from mip_agents.protocol.errors import InputError
from scapy_mip.const import LIFETIME_DEREGISTER, MIP_PORT, ReplyCode, describe_code

_RAW_IP = 101
_ROW = "{:>5}  {:15}  {:26}  {:8}  {:8}  {}"


def _address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise typer.BadParameter(f"{text}: give an IPv4 address") from None


def replay(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Capture: pcap, pcapng, - for stdin.")
    ],
    to: Annotated[
        str, typer.Option(parser=_address, metavar="ADDRESS", help="The live agent.")
    ],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")] = MIP_PORT,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", parser=_address, metavar="ADDRESS", help="Our address to use."
        ),
    ] = None,
    captured_to: Annotated[
        str | None,
        typer.Option(
            parser=_address,
            metavar="ADDRESS",
            help="Send only what went to this address.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Stamp and sign the requests anew.")
    ] = False,
    keys: Annotated[
        Path | None, typer.Option(metavar="KEYS.toml", help="Keys to sign with.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.01, max=3600, help="Seconds to wait for a reply.")
    ] = 1.0,
    retries: Annotated[
        int, typer.Option(min=0, max=100, help="Times to send again without a reply.")
    ] = 2,
    pace: Annotated[
        bool, typer.Option("--pace", help="Keep the time between requests.")
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE.pcap", help="Write what was exchanged."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON Lines, one object per request.")
    ] = False,
) -> None:
    """Send the requests of a capture to an agent again, and compare its replies.

    Requests go as they were captured, to be found stale (code 133), or with --fresh
    with a new Identification and new authenticators. Time stamps keep their distance
    from the clock and nonces follow the agent's replies, so that it can do the same as
    then. If it answers 133 where there was none, its time is adopted.

    Each field that is not as captured is shown, but for what no two replies have in
    common. Where requests of the capture went to the agent's address, only those are
    sent; else all. Exit 0 for the same outcome, 1 for differences or where an answer is
    missing, 2 for input that cannot be used.

    Example: mip replay run.pcap --to 10.1.1.20 --fresh --keys keys.toml
    """
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    options = ReplayOptions(
        to=to,
        port=port,
        source=source,
        captured_to=captured_to,
        fresh=fresh,
        keys=load_keys(keys) if keys else None,
        timeout=timeout,
        retries=retries,
        pace=pace,
    )
    work = Replay(file, options)
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        writer = None if write is None else stack.enter_context(_writer(write))
        if not as_json:
            titles = ("frame", "home address", "asked", "captured", "now", "")
            print(_ROW.format(*titles).rstrip())
        for outcome in work.run():
            counts["same" if outcome.is_same else "different"] += 1
            counts["stale"] += not fresh and _is_stale(outcome)
            counts["unanswered"] += outcome.replied is None and not outcome.is_same
            if write is not None:
                _keep(write, writer, outcome)
            shown = [json.dumps(_as_json(outcome))] if as_json else _lines(outcome)
            print("\n".join(shown), flush=True)
    if not as_json:
        print(_totals(work, counts), file=sys.stderr)
    raise typer.Exit(bool(counts["different"]))


def _writer(path: Path) -> Any:
    try:
        return PcapWriter(str(path), linktype=_RAW_IP, sync=True)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _keep(path: Path, writer: Any, outcome: Outcome) -> None:
    try:
        for datagram in outcome.datagrams:
            writer.write(_packet(datagram))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _packet(datagram: Datagram) -> Any:
    (source, sport), (destination, dport) = datagram.source, datagram.destination
    udp = UDP(sport=sport, dport=dport) / Raw(datagram.data)
    packet: Any = IP(src=source, dst=destination) / udp
    packet.time = datagram.time
    return packet


def _is_stale(outcome: Outcome) -> bool:
    mismatch = ReplyCode.HA_IDENTIFICATION_MISMATCH
    return any(
        one.field == "code" and one.replied == mismatch for one in outcome.differences
    )


def _as_json(outcome: Outcome) -> dict[str, Any]:
    asked = outcome.exchange.request
    before = outcome.exchange.reply
    captured = None
    if outcome.captured is not None and before is not None:
        captured = {"frame": before.frame, **_reply(outcome.captured)}
    return {
        "file": asked.file,
        "frame": asked.frame,
        "home_address": asked.packet.home_address,
        "same": outcome.is_same,
        "differences": [one.as_json() for one in outcome.differences],
        "captured": captured,
        "replied": None if outcome.replied is None else _reply(outcome.replied),
        "resynchronised": outcome.resynchronised,
        "error": outcome.error,
    }


def _reply(message: dict[str, Any]) -> dict[str, Any]:
    return {name: message[name] for name in ("fields", "extensions")}


def _lines(outcome: Outcome) -> list[str]:
    request = outcome.exchange.request
    packet = request.packet
    asked = f"{packet.lifetime} s at {packet.care_of_address}"
    if packet.lifetime == LIFETIME_DEREGISTER:
        asked = f"end {packet.care_of_address}"
    verdict = "same" if outcome.is_same else "differs"
    row = (_code(outcome.captured), _code(outcome.replied), verdict)
    lines = [_ROW.format(request.frame, packet.home_address, asked, *row)]
    said = [_said(one) for one in outcome.differences]
    if outcome.resynchronised:
        said.append("code 133 at first: adopted the agent's time")
    if outcome.error is not None:
        said.append(outcome.error[0].lower() + outcome.error[1:])
    for text in said:
        lines += textwrap.wrap(
            text, 80, initial_indent=" " * 7, subsequent_indent=" " * 9
        )
    return lines


def _code(reply: dict[str, Any] | None) -> str:
    return "none" if reply is None else f"code {reply['fields']['code']}"


def _said(one: Difference) -> str:
    text = f"{one.field}: {_value(one.captured)} -> {_value(one.replied)}"
    if one.field in ("code", "reply") and isinstance(one.replied, int):
        text += f" ({describe_code(one.replied)})"
    return text


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items()) or "there"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _totals(work: Replay, counts: Counter[str]) -> str:
    sent = len(work.exchanges)
    text = f"{sent} request{'s' * (sent != 1)}: {counts['same']} with the same outcome"
    if counts["different"]:
        text += f", {counts['different']} with another"
    if counts["unanswered"]:
        text += f", {counts['unanswered']} of these without an answer"
    if counts["stale"]:
        text += "; code 133 is for stale requests, --fresh makes them new"
    if work.left_out:
        text += f"; {work.left_out} to other addresses left out"
    for spi in sorted(work.unknown_spis):
        text += f"\nno key for SPI {spi}: its authenticators went as captured"
    return text
