# SPDX-License-Identifier: GPL-2.0-only
"""Scenario files: what happens in `mip demo`, as a list of steps in TOML.

    title = "Pulled out at home, plugged in abroad"
    start = { eth0 = "home" }
    steps = [
        { wait = 3 },
        { move = "home -> visited A" },
        { unplug = "eth0" },
        { plug = "eth0", into = "visited-a" },
        { traffic = "again" },
    ]

`mip_agents/lab/scenarios/` has those of the demonstration itself, to be copied.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mip_agents.lab.namespaces import LabError
from mip_agents.lab.topology import METRICS, NETWORKS, ROUTERS

SCENARIOS: Final = Path(__file__).parent / "scenarios"
"""Where those of the demonstration itself are, `NAME.toml` each."""

DEFAULT_GAP: Final = 1.0
_MOST: Final = 1_000_000
FOREIGN_AGENT: Final = "foreign_agent"
_TABLES: Final = ("home_agent", "mobile_node", FOREIGN_AGENT)
_VISITED: Final = tuple(name for name in NETWORKS if name != "home")


@dataclass(frozen=True, slots=True)
class Wait:
    """Let time go by."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Move:
    """Begin a row in the table of handovers: `origin -> target`."""

    origin: str
    target: str


@dataclass(frozen=True, slots=True)
class Plug:
    """Plug an interface of the mobile node in."""

    interface: str
    network: str


@dataclass(frozen=True, slots=True)
class Unplug:
    """Pull it out."""

    interface: str


@dataclass(frozen=True, slots=True)
class Uplink:
    """Change a network's way to the Internet; what is None stays as it is."""

    network: str
    delay_ms: float | None = None
    loss_percent: float | None = None
    cut: bool | None = None


@dataclass(frozen=True, slots=True)
class AgentStep:
    """Start an agent, stop it (SIGTERM), or kill it (SIGKILL)."""

    action: str
    agent: str


@dataclass(frozen=True, slots=True)
class Reach:
    """Ask the mobile node for an echo, from a box that knows nothing of Mobile IP."""

    box: str


@dataclass(frozen=True, slots=True)
class AwaitTraffic:
    """Wait until a probe that was sent after the change is back, at most 5 seconds."""


Step = Wait | Move | Plug | Unplug | Uplink | AgentStep | Reach | AwaitTraffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a visited network offers."""

    foreign_agent: bool = False
    dhcp: bool = True
    """Whether a mobile node gets an address of its own there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One lesson."""

    name: str
    title: str
    start: Mapping[str, str]
    """Network by interface, before the agents start."""
    steps: tuple[Step, ...]
    sites: Mapping[str, Site] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Keys of the agents' configurations, by their table."""
    probe_interval: float = 0.010
    """Seconds between the datagrams of the probe."""
    longest_gap: float = DEFAULT_GAP
    """Seconds without traffic that a move may cost at most."""

    def agents(self) -> list[str]:
        """Return the names of the agents."""
        visited = [name for name in _VISITED if self.site(name).foreign_agent]
        return ["ha", *(foreign_agent_at(name) for name in visited), "mn"]

    def site(self, network: str) -> Site:
        """Return what a network offers."""
        return self.sites.get(network, Site())

    def wired(self) -> set[str]:
        """Return the networks whose way to the Internet is changed by a step."""
        return {step.network for step in self.steps if isinstance(step, Uplink)}


def foreign_agent_at(network: str) -> str:
    """Return the name of the foreign agent of a network."""
    return f"fa-{network}"


def built_in(name: str) -> Scenario:
    """Return a scenario of the demonstration itself."""
    return load_scenario(SCENARIOS / f"{name}.toml")


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file.

    :raises LabError: in one line with the place, and what is allowed there.
    """
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise LabError(f"{path}: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise LabError(f"{path}: {str(error) or 'nested too deeply'}") from error
    try:
        return _Reader(document).scenario(path.stem)
    except _WrongError as wrong:
        raise LabError(f"{path}: {wrong}") from None


class _WrongError(Exception):
    """Something in the file cannot be; with its place."""


class _Reader:
    """Turns a document into a scenario, or says what is wrong with it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def scenario(self, name: str) -> Scenario:
        document = self._document
        _known(
            document,
            "",
            (
                "title",
                "start",
                "steps",
                "network",
                "traffic",
                *_TABLES,
            ),
        )
        sites = {
            network: _site(network, table)
            for network, table in _table(document, "network", "").items()
        }
        start = _table(document, "start", "")
        for interface, network in start.items():
            _choice(interface, "start", METRICS)
            _choice(network, f"start.{interface}", NETWORKS)
        traffic = _table(document, "traffic", "")
        _known(traffic, "traffic", ("probe_interval_ms", "longest_gap"))
        scenario = Scenario(
            name=name,
            title=_text(document, "title", name),
            start=start,
            steps=(),
            sites=sites,
            settings={table: _settings(document, table) for table in _TABLES},
            probe_interval=_number(traffic, "probe_interval_ms", "traffic", 10) / 1000,
            longest_gap=_number(traffic, "longest_gap", "traffic", DEFAULT_GAP),
        )
        if scenario.probe_interval < 0.001:
            raise _WrongError("traffic.probe_interval_ms: allowed: 1 or more")
        return _with_steps(scenario, document.get("steps"))


def _with_steps(scenario: Scenario, listed: Any) -> Scenario:
    if not isinstance(listed, list) or not listed:
        raise _WrongError("steps: wanted: a list of tables such as { wait = 3 }")
    steps = []
    for number, entry in enumerate(listed):
        place = f"steps[{number}]"
        if not isinstance(entry, dict) or not entry:
            raise _WrongError(f"{place}: wanted: a table such as {{ wait = 3 }}")
        verb = next(iter(entry))
        _choice(verb, place, _VERBS)
        make, others = _VERBS[verb]
        _known(entry, place, (verb, *others))
        steps.append(make(entry, place, scenario))
    return replace(scenario, steps=tuple(steps))


def _wait(entry: dict[str, Any], place: str, _: Scenario) -> Step:
    return Wait(_number(entry, "wait", place))


def _move(entry: dict[str, Any], place: str, _: Scenario) -> Step:
    origin, arrow, target = _text(entry, "move").partition(" -> ")
    if not arrow or not origin or not target:
        raise _WrongError(
            f'{place}.move: allowed: two names, as in "home -> visited A"'
        )
    return Move(origin, target)


def _plug(entry: dict[str, Any], place: str, _: Scenario) -> Step:
    interface = _choice(entry["plug"], f"{place}.plug", METRICS)
    return Plug(interface, _choice(entry.get("into"), f"{place}.into", NETWORKS))


def _unplug(entry: dict[str, Any], place: str, _: Scenario) -> Step:
    return Unplug(_choice(entry["unplug"], f"{place}.unplug", METRICS))


def _delay(entry: dict[str, Any], place: str, _: Scenario) -> Step:
    network = _choice(entry["delay"], f"{place}.delay", NETWORKS)
    return Uplink(network, delay_ms=_number(entry, "ms", place))


def _loss(entry: dict[str, Any], place: str, _: Scenario) -> Step:
    network = _choice(entry["loss"], f"{place}.loss", NETWORKS)
    percent = _number(entry, "percent", place)
    if percent > 100:
        raise _WrongError(f"{place}.percent: allowed: 0 to 100")
    return Uplink(network, loss_percent=percent)


def _cut(entry: dict[str, Any], place: str, _: Scenario) -> Step:
    return Uplink(_choice(entry["cut"], f"{place}.cut", NETWORKS), cut=True)


def _mend(entry: dict[str, Any], place: str, _: Scenario) -> Step:
    return Uplink(_choice(entry["mend"], f"{place}.mend", NETWORKS), cut=False)


def _agent_step(entry: dict[str, Any], place: str, scenario: Scenario) -> Step:
    (action,) = entry
    agent = _choice(entry[action], f"{place}.{action}", scenario.agents())
    return AgentStep(action, agent)


def _reach(entry: dict[str, Any], place: str, _: Scenario) -> Step:
    return Reach(_choice(entry["reach"], f"{place}.reach", (*ROUTERS, "correspondent")))


def _traffic(entry: dict[str, Any], place: str, _: Scenario) -> Step:
    _choice(entry["traffic"], f"{place}.traffic", ("again",))
    return AwaitTraffic()


_Maker = Callable[[dict[str, Any], str, Scenario], Step]
_VERBS: Final[dict[str, tuple[_Maker, tuple[str, ...]]]] = {
    "wait": (_wait, ()),
    "move": (_move, ()),
    "plug": (_plug, ("into",)),
    "unplug": (_unplug, ()),
    "delay": (_delay, ("ms",)),
    "loss": (_loss, ("percent",)),
    "cut": (_cut, ()),
    "mend": (_mend, ()),
    "start": (_agent_step, ()),
    "stop": (_agent_step, ()),
    "kill": (_agent_step, ()),
    "reach": (_reach, ()),
    "traffic": (_traffic, ()),
}
"""The first key of a step, what makes a step of it, and what else belongs to it."""


def _site(network: str, table: Any) -> Site:
    place = f"network.{network}"
    _choice(network, "network", _VISITED)
    if not isinstance(table, dict):
        raise _WrongError(f"{place}: wanted: a table")
    _known(table, place, ("foreign_agent", "dhcp"))
    for key, value in table.items():
        if not isinstance(value, bool):
            raise _WrongError(f"{place}.{key}: allowed: true, false")
    return Site(**table)


def _settings(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return keys for an agent's configuration, which the agent itself judges."""
    table = _table(document, name, "")
    for key, value in table.items():
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str | int | float) for entry in entries):
            raise _WrongError(
                f"{name}.{key}: allowed: a text, a number, a list of these"
            )
    return table


def _table(document: dict[str, Any], key: str, place: str) -> dict[str, Any]:
    table = document.get(key, {})
    if not isinstance(table, dict):
        raise _WrongError(f"{_at(place, key)}: wanted: a table")
    return table


def _known(table: dict[str, Any], place: str, names: Iterable[str]) -> None:
    names = tuple(names)
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
            raise _WrongError(f"{_at(place, key)}: no such key; {hint}")


def _choice(value: Any, place: str, names: Iterable[str]) -> str:
    names = tuple(names)
    if not isinstance(value, str) or value not in names:
        raise _WrongError(f"{place}: allowed: {', '.join(names)}")
    return value


def _text(table: dict[str, Any], key: str, default: str = "") -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise _WrongError(f"{key}: wanted: a text")
    return value


def _number(
    table: dict[str, Any], key: str, place: str, default: float | None = None
) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        value = -1
    if not 0 <= value <= _MOST:
        raise _WrongError(f"{_at(place, key)}: wanted: a number from 0 to {_MOST}")
    return float(value)


def _at(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
