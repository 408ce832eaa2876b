# SPDX-License-Identifier: GPL-2.0-only
"""The roaming story, as it is told inside the sandbox.

A mobile node leaves home with its connections open, visits two networks and returns,
while a TCP stream and a UDP probe run between its home address and a correspondent.
The three moves are the three kinds that happen in life:

1. home -> visited A, *hard, to another interface*: the cable is pulled out of `eth0`,
   and only then, out of the house, `wlan0` associates. One cannot be in both places.
2. visited A -> visited B, *soft*: `eth0` is plugged in while `wlan0` still works, and
   Wi-Fi is switched off two seconds later. Nothing needs to be lost.
3. visited B -> home, *hard, same interface*: the cable is pulled out in B and plugged
   in at home, where the node gets its home address again and deregisters.

Between the cable out and the next link lies `LINK_PAUSE`, about the time that a Wi-Fi
association with DHCP takes at best. It counts as loss like everything else.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from mip_agents.lab import traffic
from mip_agents.lab.agents import HOME_AGENT_TOML, MOBILE_NODE_TOML, Agent
from mip_agents.lab.capture import LINKS, capture
from mip_agents.lab.interrupt import Interrupted, catch_signals
from mip_agents.lab.ledger import ProbeLedger, StreamLedger
from mip_agents.lab.namespaces import LabError
from mip_agents.lab.plot import plot
from mip_agents.lab.processes import Child, Children
from mip_agents.lab.pump import Pump
from mip_agents.lab.report import Entry, Handover, Printer, Results, write_summary
from mip_agents.lab.timeline import describe
from mip_agents.lab.topology import (
    CORRESPONDENT,
    HOME_ADDRESS,
    HOSTS,
    NETWORKS,
    ROUTERS,
    Topology,
)

LINK_PAUSE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What `mip demo` can be told."""

    encapsulation: str = "ipip"
    """`ipip` or `gre`."""
    dataplane: str = "auto"
    """What carries the packets, as in the configuration."""
    keep: bool = False
    """After the story leave all running until Ctrl-C or SIGTERM."""
    plot: Path | None = None
    """PNG file to draw."""
    folder: Path | None = None
    """Where everything is written; None: a new folder in the current directory."""
    json: bool = False
    """Print the summary as JSON on stdout, and the progress on stderr."""
    stay: float = 6.0
    """Seconds in each place. Tests may hurry."""
    lifetime: int = 30
    """Seconds that the mobile node asks for."""


class Story:
    """One run, inside the sandbox."""

    def __init__(
        self,
        options: DemoOptions,
        folder: Path,
        sockets: Path,
        how: str,
        printer: Printer,
    ) -> None:
        self.options = options
        self.printer = printer
        self.results = Results(options.encapsulation, folder, how)
        self.agents = {role: Agent(role, folder, sockets) for role in ("ha", "mn")}
        self.pump = Pump()
        self.children = Children()
        self.ready: set[str] = set()
        self.flows: dict[str, Child] = {}
        # Agents tell the wall clock's time, flows the monotonic clock's.
        self._epoch = time.time() - time.monotonic()
        self._moves: list[tuple[str, str, float]] = []

    def run(self) -> int:
        """Tell the story; return the exit code."""
        catch_signals()
        try:
            with self.children:
                self._begin()
                self._roam()
                self._judge()
                if self.options.keep:
                    self._show()
                    self._look_around()
                    self._end()
                else:
                    self._end()
                    self._show()
        except Interrupted as interruption:
            self.printer.say("mip demo: interrupted, everything is taken down")
            return 128 + interruption.number
        except LabError as error:
            sys.stderr.write(f"mip demo: {error}\n")
            return 1
        finally:
            self.pump.close()
        return self._verdict()

    # Beginning

    def _begin(self) -> None:
        """Build the networks, start captures, agents and traffic."""
        results = self.results
        self.printer.say(f"Sandbox {results.how}.")
        begun = results.start = time.monotonic()
        self.topology = Topology()
        self.topology.plug("eth0", "home")
        took = time.monotonic() - begun
        self.printer.say(
            f"Networks built in {took:.1f} s: home 10.1.1.0/24, visited A 10.1.2.0/24, "
            f"visited B\n10.1.3.0/24, correspondent {CORRESPONDENT}, and the Internet "
            f"between them.\nFolder: {results.folder}"
        )
        self._flow("capture", partial(capture, folder=results.folder), None)
        results.captures = {f"{name}.pcap": None for name in LINKS}
        ha, mn = self.agents["ha"], self.agents["mn"]
        dataplane = self.options.dataplane
        ha.configure(HOME_AGENT_TOML, results.folder, dataplane=dataplane)
        mn.configure(
            MOBILE_NODE_TOML,
            results.folder,
            lifetime=self.options.lifetime,
            encapsulation=self.options.encapsulation,
            dataplane=dataplane,
        )
        for agent in (ha, mn):
            agent.start(self.children)
        for agent in (ha, mn):
            agent.wait_ready(self.pump)
            agent.watch(self.pump, self._heard)
        self.printer.say("Home agent and mobile node are up; the mobile node is home.")
        self._start_traffic()

    def _flow(
        self,
        name: str,
        function: Callable[[IO[bytes]], object],
        namespace: str | None,
        ledger: ProbeLedger | StreamLedger | None = None,
    ) -> None:
        """Start a reporting child and wait until it is ready."""

        def receive(line: bytes) -> None:
            record: dict[str, Any] = json.loads(line)
            if record.get("ready"):
                self.ready.add(name)
            if "broken" in record:
                self._happened("traffic", "the TCP stream broke", record["broken"])
            if "dropped" in record:
                self.results.captures[f"{record['link']}.pcap"] = record["packets"]
                self.results.dropped += record["dropped"]
            if ledger is not None:
                ledger.feed(record)

        child = self.children.fork(name, function, namespace)
        self.flows[name] = child
        if child.output is not None:
            self.pump.add(child.output, receive)
        self.pump.until(lambda: name in self.ready or child.poll() is not None, 10)
        if name not in self.ready:
            raise LabError(f"the {name} process did not start (exit {child.code})")

    def _start_traffic(self) -> None:
        results = self.results
        results.streams = {"correspondent": StreamLedger(), "mn": StreamLedger()}
        home = HOME_ADDRESS
        self._flow(
            "echo", partial(traffic.echo_probe, address=home), "mn", results.probe
        )
        self._flow(
            "server",
            partial(traffic.serve_stream, address=CORRESPONDENT),
            "correspondent",
            results.streams["correspondent"],
        )
        self._flow(
            "stream",
            partial(traffic.open_stream, address=home, target=CORRESPONDENT),
            "mn",
            results.streams["mn"],
        )
        self._flow(
            "probe",
            partial(traffic.send_probe, target=home),
            "correspondent",
            results.probe,
        )
        self._happened("traffic", "begins", "TCP stream, UDP probe every 10 ms")

    # Moves

    def _roam(self) -> None:
        stay = self.options.stay
        self.pump.wait(stay / 2)
        self._move("home", "visited A", self._leave_home)
        self.pump.wait(stay)
        self._move("visited A", "visited B", self._change_over)
        self.pump.wait(stay)
        self._move("visited B", "home", self._return_home)
        self.pump.wait(stay)
        self.results.end = time.monotonic()

    def _move(self, origin: str, target: str, steps: Callable[[], None]) -> None:
        start = time.monotonic()
        self._moves.append((origin, target, start))
        self._happened("mn", "moves", f"{origin} -> {target}")
        steps()

    def _leave_home(self) -> None:
        begun = time.monotonic()
        self._unplug("eth0", "home")
        self.pump.wait(LINK_PAUSE)
        self._plug("wlan0", "visited-a")
        self._traffic_again(begun)

    def _change_over(self) -> None:
        begun = time.monotonic()
        self._plug("eth0", "visited-b")
        self._traffic_again(begun)
        self.pump.wait(min(2.0, self.options.stay / 2))
        begun = time.monotonic()
        self._unplug("wlan0", "visited-a")
        self._traffic_again(begun)

    def _return_home(self) -> None:
        begun = time.monotonic()
        self._unplug("eth0", "visited-b")
        self.pump.wait(LINK_PAUSE)
        self._plug("eth0", "home")
        self._traffic_again(begun)

    def _plug(self, interface: str, network: str) -> None:
        what = "plugged in" if interface == "eth0" else "associated"
        lease = NETWORKS[network].lease
        self._happened("link", f"{interface} {what}", f"{network}, address {lease}")
        self.topology.plug(interface, network)

    def _unplug(self, interface: str, network: str) -> None:
        what = "unplugged" if interface == "eth0" else "switched off"
        self._happened("link", f"{interface} {what}", network)
        self.topology.unplug(interface)

    def _traffic_again(self, begun: float) -> None:
        """Wait until a probe that was sent after the change is back."""
        since, probe = time.monotonic(), self.results.probe

        def back() -> list[float]:
            return [
                probe.returned[number]
                for number in list(probe.returned)[-100:]
                if probe.sent.get(number, 0.0) > since
            ]

        if self.pump.until(back, 5):
            when = min(back())
            detail = f"{(when - begun) * 1000:.0f} ms after the change began"
            self._note(Entry(when, "traffic", "flows", detail))
        else:
            self._happened("traffic", "is interrupted", "nothing for 5 s")

    # What is seen

    def _happened(self, who: str, event: str, detail: str = "") -> None:
        self._note(Entry(time.monotonic(), who, event, detail))

    def _heard(self, role: str, event: dict[str, Any]) -> None:
        """Take an event of an agent."""
        described = describe(event)
        if described is None:
            return
        when = event.get("time")
        stamp = when - self._epoch if isinstance(when, float) else time.monotonic()
        self._note(Entry(stamp, role, *described))

    def _note(self, entry: Entry) -> None:
        self.results.entries.append(entry)
        since = entry.time - self.results.start
        text = f"{since:6.2f} s  {entry.who:8}{entry.event}"
        if entry.detail:
            text += f": {entry.detail}"
        self.printer.say(text if len(text) <= 80 else text[:77] + "...")

    def _judge(self) -> None:
        """Work out what each move cost."""
        results = self.results
        self.pump.wait(0.3)  # reports come ten times a second
        ends = [start for _, _, start in self._moves[1:]] + [results.end]
        for (origin, target, start), end in zip(self._moves, ends, strict=True):
            results.handovers.append(
                Handover(
                    origin=origin,
                    target=target,
                    start=start,
                    loss=results.probe.window(start, end),
                    silence=max(
                        ledger.silence(start, end)
                        for ledger in results.streams.values()
                    ),
                    tcp=results.tcp(),
                )
            )

    # End

    def _end(self) -> None:
        """Stop the traffic, then the agents, then the captures."""
        for name in ("stream", "server", "probe"):
            self.flows[name].send(signal.SIGTERM)
        for name in ("stream", "server", "probe", "echo"):
            self._finish(name)
        for role in ("mn", "ha"):
            child = next(child for child in self.children if child.name == role)
            child.send(signal.SIGTERM)
            self.pump.until(partial(_ended, child), 5)
            self.results.exit_codes[role] = child.stop(0)
        self._finish("capture")
        self.topology.close()

    def _finish(self, name: str) -> None:
        """Stop a flow and take its last words."""
        child = self.flows[name]
        child.send(signal.SIGTERM)
        if child.output is not None:
            self.pump.finish({child.output}, 5)
        child.stop()

    def _show(self) -> None:
        text = write_summary(self.results)
        if self.options.plot is not None:
            plot(self.results, self.options.plot)
        if self.options.json:
            if not self.options.keep:
                sys.stdout.write(text + "\n")
                sys.stdout.flush()
        else:
            self.printer.say("")
            self.printer.tables(self.results)
            if self.options.plot is not None:
                self.printer.say(f"Picture: {self.options.plot}")

    def _look_around(self) -> None:
        """Leave everything running until a signal comes."""
        say, here = self.printer.say, os.getpid()
        say("\nEverything keeps running. From another terminal:")
        for agent in self.agents.values():
            say(f"  mip status --socket {agent.socket}")
        say("A shell in one of the namespaces:")
        user = "-U --preserve-credentials " if "user" in self.results.how else ""
        for name in (*HOSTS, *ROUTERS):
            say(
                f"  nsenter -t {here} {user}-m --net=/proc/{here}/root/run/netns/{name}"
            )
        say("Ctrl-C ends it.")
        with contextlib.suppress(Interrupted):
            while True:
                self.pump.wait(60)
        catch_signals()
        self.results.end = time.monotonic()

    def _verdict(self) -> int:
        failure = self.results.failure()
        text = write_summary(self.results)
        if self.options.json and self.options.keep:
            sys.stdout.write(text + "\n")
        if failure is None:
            self.printer.say("The traffic survived every move.")
            return 0
        sys.stderr.write(f"mip demo: {failure} (logs: {self.results.folder}/*.log)\n")
        return 1


def _ended(child: Child) -> bool:
    return child.poll() is not None
