# SPDX-License-Identifier: GPL-2.0-only
"""The demonstration as a picture: round trips and losses over time."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mip_agents.lab.namespaces import LabError
from mip_agents.lab.report import Results


def require_matplotlib() -> None:
    """Check before the story begins that there will be a picture.

    :raises LabError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise LabError(
            "--plot needs matplotlib: pip install 'scapy-mip[agents,plot]'",
        )


def plot(results: Results, path: Path) -> None:
    """Draw the probe's round trips, its losses and the handovers into a file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes, strip = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [5, 1]}
    )
    trips = [
        (time - results.start, trip)
        for time, trip in results.probe.round_trips()
        if time <= results.end
    ]
    axes.plot(
        [time for time, trip in trips if trip is not None],
        [trip * 1000 for _, trip in trips if trip is not None],
        linestyle="none",
        marker=".",
        markersize=3,
        color="tab:blue",
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("round trip (ms)")
    axes.grid(visible=True, which="major", alpha=0.3)
    lost = [time for time, trip in trips if trip is None]
    strip.eventplot([lost], lineoffsets=[0.5], linelengths=[0.9], colors=["tab:red"])
    strip.set_yticks([0.5], ["lost"])
    strip.set_ylim(0, 1)
    strip.set_xlabel("seconds")
    for handover in results.handovers:
        at = handover.start - results.start
        for part in (axes, strip):
            part.axvline(at, color="0.3", linewidth=1, linestyle="--")
        missing = handover.loss.lost_out + handover.loss.lost_back
        axes.annotate(
            f"{handover.origin} → {handover.target}\n"
            f"{missing} lost, gap {handover.loss.gap * 1000:.0f} ms",
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, -4),
            textcoords="offset points",
            verticalalignment="top",
            fontsize=9,
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none"},
        )
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 4)  # room for the notes above the points
    axes.set_xlim(
        min((time for time, _ in trips), default=0), results.end - results.start
    )
    axes.set_title(
        f"{results.scenario or 'A roaming mobile node'}: UDP probe every "
        f"{results.probe_interval * 1000:g} ms, {results.encapsulation}"
    )
    figure.savefig(path, dpi=120)
