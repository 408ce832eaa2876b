# SPDX-License-Identifier: GPL-2.0-only
"""`mip simulate`: many nodes for a long time, on a virtual clock."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mip_agents.protocol.errors import InputError
from mip_agents.simulation.life import Life, LifeOptions, LifeResults
from scapy_mip.const import describe_code


def _share(given: str | float) -> float:
    """Read a share: 2% or 0.02."""
    text = str(given)  # a default comes as it is
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        raise typer.BadParameter(f"{text}: give a share such as 2% or 0.02") from None
    share = number / 100 if text.endswith("%") else number
    if not 0 <= share < 1:
        raise typer.BadParameter(f"{text}: give a share from 0% to less than 100%")
    return share


def simulate(
    nodes: Annotated[int, typer.Option(min=1, max=32512, help="Mobile nodes.")] = 100,
    hours: Annotated[
        float, typer.Option(min=0.01, max=100_000, help="Of virtual time.")
    ] = 1.0,
    loss: Annotated[
        float,
        typer.Option(parser=_share, metavar="SHARE", help="Lost on each link: 2%."),
    ] = 0.0,
    handovers_per_hour: Annotated[
        float, typer.Option(min=0, max=3600, help="Of each node, on average.")
    ] = 6.0,
    sites: Annotated[int, typer.Option(min=1, max=200, help="Visited networks.")] = 8,
    foreign_agents: Annotated[
        int, typer.Option(min=0, help="How many of them have a foreign agent.")
    ] = 0,
    lifetime: Annotated[
        int, typer.Option(min=10, max=3600, help="Seconds that nodes ask for.")
    ] = 1800,
    seed: Annotated[int, typer.Option(help="The same seed, the same history.")] = 1,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw a picture.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Summary as JSON on stdout.")
    ] = False,
) -> None:
    """Simulate mobile nodes: the real agents on a virtual clock.

    Nodes move among home and visited networks; links lose what they are told to. The
    summary says what was registered, how much signalling it took, and how long nodes
    were without a registration.

    Example: mip simulate --nodes 1000 --hours 24 --loss 2% --seed 1
    """
    if foreign_agents > sites:
        raise InputError(f"--foreign-agents {foreign_agents}: there are {sites} sites")
    if plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "--plot needs matplotlib: pip install 'scapy-mip[agents,plot]'"
        )
    if plot is not None and plot.suffix.lower() != ".png":
        raise InputError(f"--plot {plot}: give a name that ends in .png")
    if plot is not None and not plot.absolute().parent.is_dir():
        raise InputError(f"--plot: no folder {plot.absolute().parent}")
    options = LifeOptions(
        nodes=nodes,
        hours=hours,
        loss=loss,
        handovers_per_hour=handovers_per_hour,
        seed=seed,
        sites=sites,
        foreign_agents=foreign_agents,
        lifetime=lifetime,
    )
    with _progress(shown=sys.stderr.isatty()) as tell:
        results = Life(options).run(tell)
    if plot is not None:
        from mip_agents.simulation.plot import plot as draw

        try:
            draw(results, plot)
        except OSError as error:
            raise InputError(f"{plot}: {error.strerror}") from None
    if as_json:
        print(json.dumps(results.as_json(), indent=2))
    else:
        _show(results)


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[float], None]]:
    """Show how far it is, where somebody looks."""
    if not shown:
        yield lambda _share: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("simulating", total=1.0)
        yield lambda share: progress.update(task, completed=share)


def _show(results: LifeResults) -> None:
    options = results.options
    codes = ", ".join(
        f"{count} x {code}" for code, count in sorted(results.codes.items())
    )
    longest = max(results.outages, default=0.0)
    rows = [
        ("nodes", f"{options.nodes}, {options.hours:g} hours, seed {options.seed}"),
        ("handovers", str(results.handovers)),
        ("registrations", f"{results.registrations} accepted, refreshes included"),
        ("deregistrations", f"{results.deregistrations} accepted"),
        ("replies by code", codes),
        (
            "signalling",
            f"{results.messages} messages, {results.signalling_bytes} bytes",
        ),
        (
            "outage",
            f"median {results.outage(0.5):.2f} s, longest {longest:.2f} s",
        ),
        ("unfinished", f"{results.unfinished} nodes without a registration"),
        ("events", f"{results.events}, in {results.seconds:.1f} s of processor time"),
    ]
    for name, text in rows:
        print(f"{name:16} {text}")
    for code in sorted(results.codes):
        if code > 1:
            print(f"{'':16} code {code}: {describe_code(code)}")
