# SPDX-License-Identifier: GPL-2.0-only
"""The stage of a scenario: networks, captures, agents and traffic, set up and down."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from mip_agents.lab import agents, traffic
from mip_agents.lab.agents import Agent
from mip_agents.lab.capture import LINKS, capture
from mip_agents.lab.chronicle import Chronicle
from mip_agents.lab.ledger import ProbeLedger, StreamLedger
from mip_agents.lab.namespaces import LabError
from mip_agents.lab.processes import Child, Children
from mip_agents.lab.pump import Pump
from mip_agents.lab.scenario import FOREIGN_AGENT, Scenario, Uplink, foreign_agent_at
from mip_agents.lab.topology import CORRESPONDENT, HOME_ADDRESS, NETWORKS, Topology
from mip_agents.lab.wires import carry


class Stage:
    """Everything that a scenario needs, in the sandbox that this process is."""

    def __init__(
        self, scenario: Scenario, chronicle: Chronicle, pump: Pump, children: Children
    ) -> None:
        self.scenario = scenario
        self.agents: dict[str, Agent] = {}
        self.pump = pump
        self._children = children
        self._chronicle = chronicle
        self._results = chronicle.results
        self._ready: set[str] = set()
        self._flows: dict[str, Child] = {}
        self._orders: socket.socket | None = None

    def build(self) -> None:
        """Build the networks, and plug the mobile node in where it starts."""
        scenario = self.scenario
        without_dhcp = {name for name in NETWORKS if not scenario.site(name).dhcp}
        self.topology = Topology(scenario.wired(), without_dhcp)
        if self.topology.wires:
            self._lay_wires()
        for interface, network in scenario.start.items():
            self.topology.plug(interface, network)

    def start(self, sockets: Path, dataplane: str, encapsulation: str) -> None:
        """Start captures, then the agents."""
        results = self._results
        self._flow("capture", partial(capture, folder=results.folder), None)
        results.captures = {f"{name}.pcap": None for name in LINKS}
        self._configure(sockets, dataplane, encapsulation)
        for agent in self.agents.values():
            agent.start(self._children)
        for agent in self.agents.values():
            self._greet(agent)

    def _configure(self, sockets: Path, dataplane: str, encapsulation: str) -> None:
        scenario = self.scenario
        settings = {
            table: {"dataplane": dataplane, **keys}
            for table, keys in scenario.settings.items()
        }
        node = {"encapsulation": encapsulation, **settings["mobile_node"]}
        where = self._results.folder, sockets
        self.agents["ha"] = agents.home_agent(*where, settings["home_agent"])
        for network in NETWORKS:
            if scenario.site(network).foreign_agent:
                name = foreign_agent_at(network)
                self.agents[name] = agents.foreign_agent(
                    name, network, *where, settings[FOREIGN_AGENT]
                )
        self.agents["mn"] = agents.mobile_node(*where, node)

    def _greet(self, agent: Agent) -> None:
        """Wait until an agent is up, and listen to it from then on."""
        agent.wait_ready(self.pump)
        agent.watch(self.pump, self._chronicle.heard)

    def _lay_wires(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._orders.settimeout(5)
        self._flow(
            "wires", partial(carry, orders=theirs, wires=self.topology.wires), None
        )

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
                self._ready.add(name)
            if "broken" in record:
                self._chronicle.happened(
                    "traffic", "the TCP stream broke", record["broken"]
                )
            if "dropped" in record:
                self._results.captures[f"{record['link']}.pcap"] = record["packets"]
                self._results.dropped += record["dropped"]
            if ledger is not None:
                ledger.feed(record)

        child = self._children.fork(name, function, namespace)
        self._flows[name] = child
        if child.output is not None:
            self.pump.add(child.output, receive)
        self.pump.until(lambda: name in self._ready or child.poll() is not None, 10)
        if name not in self._ready:
            raise LabError(f"the {name} process did not start (exit {child.code})")

    def start_traffic(self) -> None:
        """Start the stream and the probe."""
        results = self._results
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
            partial(
                traffic.send_probe,
                target=home,
                interval=self.scenario.probe_interval,
            ),
            "correspondent",
            results.probe,
        )
        every = f"{self.scenario.probe_interval * 1000:g} ms"
        self._chronicle.happened(
            "traffic", "begins", f"TCP stream, UDP probe every {every}"
        )

    def spoil(self, step: Uplink) -> None:
        """Change what a long wire does to frames."""
        orders: dict[str, object] = {}
        words = []
        if step.delay_ms is not None:
            orders["delay"] = step.delay_ms / 1000
            words.append(f"{step.delay_ms:g} ms of delay each way")
        if step.loss_percent is not None:
            orders["loss"] = step.loss_percent / 100
            words.append(f"{step.loss_percent:g} % of loss")
        if step.cut is not None:
            orders["cut"] = step.cut
            words.append("cut" if step.cut else "mended")
        self._chronicle.happened("link", f"uplink of {step.network}", ", ".join(words))
        if self._orders is not None:
            self._orders.send(json.dumps({"wire": step.network, **orders}).encode())
            self._orders.recv(1)

    def command(self, action: str, name: str) -> None:
        """Start or end an agent. What was ended on purpose is not judged."""
        agent = self.agents[name]
        words = {"start": "is started", "stop": "is stopped", "kill": "is killed"}
        self._chronicle.happened(name, words[action])
        if action == "start":
            agent.start(self._children)
            self._greet(agent)
        elif agent.child is not None:
            agent.child.send(signal.SIGTERM if action == "stop" else signal.SIGKILL)
            self.pump.until(partial(_ended, agent.child), 5)

    def end(self) -> None:
        """Stop the traffic, then the agents, then the captures."""
        for name in ("stream", "server", "probe"):
            self._flows[name].send(signal.SIGTERM)
        for name in ("stream", "server", "probe", "echo"):
            self._finish(name)
        for agent in reversed(self.agents.values()):
            child = agent.child
            if child is not None and child.poll() is None:
                child.send(signal.SIGTERM)
                self.pump.until(partial(_ended, child), 5)
                self._results.exit_codes[agent.name] = child.stop(0)
        self._finish("capture")
        self.topology.close()

    def _finish(self, name: str) -> None:
        """Stop a flow and take its last words."""
        child = self._flows[name]
        child.send(signal.SIGTERM)
        if child.output is not None:
            self.pump.finish({child.output}, 5)
        child.stop()


def _ended(child: Child) -> bool:
    return child.poll() is not None
