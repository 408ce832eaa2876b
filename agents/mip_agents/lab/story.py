# SPDX-License-Identifier: GPL-2.0-only
"""A scenario, as it is played inside the sandbox.

A mobile node moves while a TCP stream and a UDP probe run between its home address and
a correspondent. What happens, and what each move cost, goes into the results.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from mip_agents.lab.chronicle import Chronicle
from mip_agents.lab.interrupt import Interrupted, catch_signals
from mip_agents.lab.namespaces import LabError
from mip_agents.lab.plot import plot
from mip_agents.lab.processes import Children
from mip_agents.lab.pump import Pump
from mip_agents.lab.reach import reach
from mip_agents.lab.report import Entry, Printer, Results, write_summary
from mip_agents.lab.scenario import (
    AgentStep,
    AwaitTraffic,
    Move,
    Plug,
    Reach,
    Scenario,
    Step,
    Unplug,
    Uplink,
    Wait,
)
from mip_agents.lab.stage import Stage
from mip_agents.lab.topology import (
    CORRESPONDENT,
    HOME_ADDRESS,
    HOSTS,
    NETWORKS,
    ROUTERS,
)

_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What `mip demo` can be told."""

    encapsulation: str = "ipip"
    """`ipip` or `gre`."""
    dataplane: str = "auto"
    """What carries the packets, as in the configuration."""
    foreign_agent: bool = False
    """Play the built-in scenario with a foreign agent."""
    scenario: Path | None = None
    """A scenario file to play."""
    keep: bool = False
    """After the story leave all running until Ctrl-C or SIGTERM."""
    plot: Path | None = None
    """PNG, SVG or PDF file to draw."""
    folder: Path | None = None
    """Where everything is written; None: a new folder in the current directory."""
    json: bool = False
    """Print the summary as JSON on stdout, and the progress on stderr."""


class Story:
    """One run, inside the sandbox."""

    def __init__(
        self,
        scenario: Scenario,
        options: DemoOptions,
        folder: Path,
        sockets: Path,
        how: str,
        printer: Printer,
    ) -> None:
        self.scenario = scenario
        self.options = options
        self.printer = printer
        self.results = Results(
            options.encapsulation,
            folder,
            how,
            scenario=scenario.title,
            longest_gap=scenario.longest_gap,
            probe_interval=scenario.probe_interval,
        )
        self._sockets = sockets
        self.pump = Pump()
        self._children = Children()
        self._chronicle = Chronicle(self.results, printer)
        self._stage = Stage(scenario, self._chronicle, self.pump, self._children)
        self._changed: float | None = None
        """When the change began after which traffic is waited for."""

    def run(self) -> int:
        """Play the scenario; return the exit code."""
        catch_signals()
        try:
            with self._children:
                self._begin()
                self._play()
                self.pump.wait(0.3)  # reports come ten times a second
                self._chronicle.judge()
                if self.options.keep:
                    self._show()
                    self._look_around()
                    self._stage.end()
                else:
                    self._stage.end()
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

    def _begin(self) -> None:
        """Set the stage."""
        results, options = self.results, self.options
        self.printer.say(f"{self.scenario.title}.\nSandbox {results.how}.")
        begun = results.start = time.monotonic()
        self._stage.build()
        took = time.monotonic() - begun
        self.printer.say(
            f"Networks built in {took:.1f} s: home 10.1.1.0/24, visited A 10.1.2.0/24, "
            f"visited B\n10.1.3.0/24, correspondent {CORRESPONDENT}, and the Internet "
            f"between them.\nFolder: {results.folder}"
        )
        self._stage.start(self._sockets, options.dataplane, options.encapsulation)
        self.printer.say(f"Agents are up: {', '.join(self._stage.agents)}.")
        self._stage.start_traffic()

    # Steps

    def _play(self) -> None:
        for step in self.scenario.steps:
            self._take(step)
        self.results.end = time.monotonic()

    def _take(self, step: Step) -> None:
        """Carry out one step."""
        match step:
            case Wait(seconds):
                self.pump.wait(seconds)
            case Move(origin, target):
                self._changed = None
                self._chronicle.move(origin, target)
            case Reach(box):
                self._reach(box)
            case AwaitTraffic():
                self._traffic_again()
            case Plug(interface, network):
                self._change()
                self._plug(interface, network)
            case Unplug(interface):
                self._change()
                self._unplug(interface)
            case Uplink():
                self._change()
                self._stage.spoil(step)
            case AgentStep(action, name):
                self._change()
                self._stage.command(action, name)
            case _:
                assert_never(step)

    def _change(self) -> None:
        if self._changed is None:
            self._changed = time.monotonic()

    def _reach(self, box: str) -> None:
        """Ask the node for an echo, and note after how long it came."""
        took = reach(box, HOME_ADDRESS, _PATIENCE_S)
        if took is None:
            self.results.unreached.append(box)
            self._chronicle.happened(box, "does not reach the node", "5 s")
        else:
            self._chronicle.happened(box, "reaches the node", f"{took * 1000:.0f} ms")
        self.pump.drain()

    def _plug(self, interface: str, network: str) -> None:
        what = "plugged in" if interface == "eth0" else "associated"
        given = f"address {NETWORKS[network].lease}"
        if not self.scenario.site(network).dhcp:
            given = "no address"
        self._chronicle.happened("link", f"{interface} {what}", f"{network}, {given}")
        self._stage.topology.plug(interface, network)

    def _unplug(self, interface: str) -> None:
        what = "unplugged" if interface == "eth0" else "switched off"
        network = self._stage.topology.place(interface) or "nowhere"
        self._chronicle.happened("link", f"{interface} {what}", network)
        self._stage.topology.unplug(interface)

    def _traffic_again(self) -> None:
        """Wait until a probe that was sent after the change is back."""
        since, probe = time.monotonic(), self.results.probe
        begun, self._changed = self._changed or since, None

        def back() -> list[float]:
            return [
                probe.returned[number]
                for number in list(probe.returned)[-1000:]
                if probe.sent.get(number, 0.0) > since
            ]

        if self.pump.until(back, 5):
            when = min(back())
            detail = f"{(when - begun) * 1000:.0f} ms after the change began"
            self._chronicle.note(Entry(when, "traffic", "flows", detail))
        else:
            self._chronicle.happened("traffic", "is interrupted", "nothing for 5 s")

    # End

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
        for agent in self._stage.agents.values():
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
