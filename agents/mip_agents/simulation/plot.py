# SPDX-License-Identifier: GPL-2.0-only
"""A simulated life as a picture: outages, and registrations over time."""

from __future__ import annotations

from pathlib import Path

from mip_agents.simulation.life import LifeResults


def plot(results: LifeResults, path: Path) -> None:
    """Draw the results into a file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    options = results.options
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    ranked = sorted(results.outages)
    shares = [(number + 1) / len(ranked) * 100 for number in range(len(ranked))]
    left.plot(ranked, shares, color="tab:blue")
    left.set_xscale("log")
    left.xaxis.set_major_formatter("{x:g}")
    left.set_xlabel("seconds without a registration, after a link has ended")
    left.set_ylabel("% of handovers that take no longer")
    left.grid(visible=True, which="both", alpha=0.3)
    hours = range(1, len(results.per_hour) + 1)
    right.bar(hours, results.per_hour, color="tab:green")
    right.set_xlabel("hour")
    right.set_ylabel("registrations accepted")
    right.grid(visible=True, axis="y", alpha=0.3)
    figure.suptitle(
        f"{options.nodes} nodes, {options.hours:g} h, {options.loss:.0%} of loss on "
        f"each link, {options.handovers_per_hour:g} handovers an hour"
    )
    figure.savefig(path, dpi=120)
