# SPDX-License-Identifier: GPL-2.0-only
"""The demonstration as a picture: round trips, losses and what the agents did."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from mip_agents.lab.namespaces import LabError
from mip_agents.lab.report import Entry, Results

FORMATS = (".png", ".svg", ".pdf")

_EVENTS = {
    "link changes": ("s", "0.45"),
    "request sent": (">", "tab:blue"),
    "accepted": ("o", "tab:green"),
    "others of an agent": ("|", "0.45"),
}
"""Marker and colour of each kind of event."""


def require_picture(path: Path) -> None:
    """Check before the story begins that there will be a picture.

    :raises LabError: its name or folder will not do, or matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise LabError(f"--plot {path}: give a name that ends in {_listed()}")
    if not path.absolute().parent.is_dir():
        raise LabError(f"--plot: no folder {path.absolute().parent}")
    if importlib.util.find_spec("matplotlib") is None:
        raise LabError(
            "--plot needs matplotlib: pip install 'scapy-mip[agents,plot]'",
        )


def _listed() -> str:
    return f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"


def plot(results: Results, path: Path) -> None:
    """Draw the probe's round trips and losses, handovers and events into a file.

    :raises LabError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes, strip, lanes = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [5, 0.7, 2]}
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
    _draw_events(lanes, results)
    for handover in results.handovers:
        at = handover.start - results.start
        for part in (axes, strip, lanes):
            part.axvline(at, color="0.3", linewidth=1, linestyle="--")
        missing = handover.loss.lost_out + handover.loss.lost_back
        axes.annotate(
            f"{handover.origin} → {handover.target}\n"
            f"{missing} lost, gap {handover.loss.gap * 1000:.0f} ms",
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, -6),
            textcoords="offset points",
            verticalalignment="top",
            fontsize=9,
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
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
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise LabError(f"--plot {path}: {error.strerror}") from None


def _draw_events(lanes: Any, results: Results) -> None:
    """Draw a line for the links and for each agent, with a mark for each event."""
    entries = [one for one in results.entries if one.who == "link" or _is_agent(one)]
    names = sorted(
        {one.who for one in entries}, key=lambda name: (name != "link", name)
    )
    for kind, (marker, colour) in _EVENTS.items():
        shown = [one for one in entries if _kind(one) == kind]
        lanes.plot(
            [one.time - results.start for one in shown],
            [names.index(one.who) for one in shown],
            linestyle="none",
            marker=marker,
            color=colour,
            label=kind,
        )
    lanes.set_yticks(range(len(names)), names)
    lanes.set_ylim(len(names) - 0.5, -0.5)
    lanes.grid(visible=True, axis="y", alpha=0.3)
    lanes.set_xlabel("time since the beginning (s)")
    lanes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.32),
        ncols=len(_EVENTS),
        frameon=False,
        fontsize=9,
    )


def _is_agent(entry: Entry) -> bool:
    return entry.who in ("ha", "mn") or entry.who.startswith("fa-")


def _kind(entry: Entry) -> str:
    if entry.who == "link":
        return "link changes"
    if entry.event == "request sent":
        return entry.event
    return "accepted" if entry.event.endswith("accepted") else "others of an agent"
