# SPDX-License-Identifier: GPL-2.0-only
"""`mip demo`, `mip shell` and `mip bench`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from mip_agents.runtime.options import DATAPLANES


class Encapsulation(enum.StrEnum):
    """What the demonstration's tunnels are made of."""

    IPIP = "ipip"
    GRE = "gre"


Dataplane = enum.StrEnum(  # type: ignore[misc]  # the one list is elsewhere
    "Dataplane", [name for name in DATAPLANES if name != "none"]
)
"""What can carry the demonstration's packets."""


def demo(
    encapsulation: Annotated[
        Encapsulation, typer.Option(help="What the tunnels are made of.")
    ] = Encapsulation.IPIP,
    dataplane: Annotated[
        Dataplane, typer.Option(help="What carries the packets.")
    ] = Dataplane("auto"),
    foreign_agent: Annotated[
        bool, typer.Option("--foreign-agent", help="Roam through a foreign agent, too.")
    ] = False,
    scenario: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Play what this file says."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave all running for a look around.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw a picture: png, svg or pdf."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where captures, logs and results go."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Summary as JSON on stdout.")
    ] = False,
) -> None:
    """Roam through a small Internet with real agents, and measure the loss.

    Builds a home network, two visited networks and a correspondent in network
    namespaces (no root needed), moves a mobile node through them while TCP and UDP
    flow, and prints what happened. Exit 0 only if the traffic survived.

    A scenario is a list of steps: links that come and go, delays, losses, agents that
    stop. The files of the demonstration itself, to be copied, are in
    mip_agents/lab/scenarios.

    Example: mip demo --encapsulation gre --plot handovers.png
    """
    from mip_agents.lab.demo import DemoOptions, run_demo

    options = DemoOptions(
        encapsulation=encapsulation.value,
        dataplane=dataplane.value,
        foreign_agent=foreign_agent,
        scenario=scenario,
        keep=keep,
        plot=plot,
        folder=folder,
        json=json,
    )
    raise typer.Exit(run_demo(options))


def shell() -> None:
    """Open Scapy's prompt with every layer and helper of Mobile IP loaded.

    Example: mip shell     then, at the prompt: ls(MIPRRQ)
    """
    from scapy.main import interact

    import scapy_mip.all as everything

    names = {name: getattr(everything, name) for name in everything.__all__}
    interact(
        mydict=names,
        argv=["mip"],  # Scapy would read our own arguments
        mybanner="Mobile IPv4: try ls(MIPRRQ), ls(MIPRRP)",
    )


class Subject(enum.StrEnum):
    """What is measured."""

    LAYERS = "layers"
    DATAPLANE = "dataplane"
    HA = "ha"


def bench(
    subject: Annotated[
        Subject, typer.Argument(help="What to measure.", show_default=True)
    ] = Subject.LAYERS,
    json: Annotated[
        bool, typer.Option("--json", help="Results as JSON on stdout.")
    ] = False,
) -> None:
    """Run the benchmarks: each is a ratio, measured side by side in one run.

    `layers` is about packets and messages. `dataplane` is about what the drivers of the
    data plane carry, against the plain routed path, and takes some minutes. `ha` is
    about registrations at a running home agent, beside servers that do no more than
    needed, and takes a minute. These two need root, or user namespaces.

    Example: mip bench --json     mip bench dataplane     mip bench ha
    """
    if subject is Subject.DATAPLANE:
        from mip_agents.bench.dataplane import main as measure_dataplane

        raise typer.Exit(measure_dataplane(json=json))
    if subject is Subject.HA:
        from mip_agents.bench.registrations import main as measure_registrations

        raise typer.Exit(measure_registrations(json=json))
    from mip_agents.bench import main

    raise typer.Exit(main(json=json))
