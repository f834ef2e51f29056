"""Small plots as inline SVG, each as wide as a phone: text stays text, so that they read well when scaled. ``alt`` is
what a screen reader reads in their stead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import StringIO
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

INK, MUTED, FAINT, ACCENT = "#1c2430", "#667085", "#d8dde5", "#0f766e"
COLOURS = (ACCENT, "#b45309", "#6d28d9", "#64748b", "#be185d", "#1d4ed8")
LEGEND: Any = {
    "frameon": False, "loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 3, "handlelength": 1.2,
    "columnspacing": 1.2,
}  # fmt: skip
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "roilake",  # the same picture has the same bytes
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "Segoe UI", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "text.color": INK,
}


def draw(paint: Callable[[Axes], None], height: float, width: float = 3.5, *, alt: str = "") -> str:
    """An SVG of what ``paint`` puts on a pair of axes; sizes in inches."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        paint(axes)
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    head, rest = svg[svg.index("<svg") :].split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    described = f' role="img" aria-label="{escape(alt)}"' if alt else ""
    return f"{head}{described}>{rest}"


def intervals(
    values: Mapping[str, Mapping[str, Any]], highlight: str, *, alt: str, less_is_better: bool = False
) -> str:
    """A dot and its 95 % interval for each model, the best on top."""
    known = {name: m for name, m in values.items() if m["value"] is not None}
    side = -1 if less_is_better else 1
    order = sorted(known, key=lambda name: (side * known[name]["value"], name))

    def paint(axes: Axes) -> None:
        for row, name in enumerate(order):
            own, measure = name == highlight, known[name]
            interval_row(axes, row, measure, ACCENT if own else MUTED, f"{measure['value']:.3f}", bold=own)
        name_rows(axes, order, highlight)
        axes.margins(x=0.08)

    return draw(paint, 0.5 + 0.25 * max(len(order), 1), alt=alt)


def interval_row(
    axes: Axes, row: int, measure: Mapping[str, Any], colour: str, text: str, *, bold: bool = False
) -> None:
    """A dot at the measure's value, its interval as a bar, and ``text`` at the right end."""
    if measure["low"] is not None:
        ends = [measure["low"], measure["high"]]
        axes.plot(ends, [row, row], color=colour, lw=5, alpha=0.28, solid_capstyle="round")
    axes.plot(measure["value"], row, "o", color=colour, ms=5.5)
    style: Any = {"ha": "left", "va": "center", "fontweight": "bold" if bold else "normal"}
    axes.annotate(text, (1, row), xycoords=("axes fraction", "data"), color=colour, **style)


def name_rows(axes: Axes, names: Sequence[str], highlight: str = "") -> None:
    """Names of the rows of ``interval_row`` from below, ``highlight`` in bold."""
    axes.set_yticks(range(len(names)), names)
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == highlight else "normal")
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", color=FAINT, lw=0.7)
    axes.locator_params(axis="x", nbins=4)


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x: str,
    y: str,
    highlight: str,
    alt: str,
    log_x: bool = False,
    dots: bool = False,
) -> str:
    """One line per name, named at its end, the default model in front."""
    names = sorted(series, key=lambda name: (name != highlight, name))

    def paint(axes: Axes) -> None:
        """The lines, the axes and the legend."""
        for index, name in enumerate(names):
            colour = COLOURS[index % len(COLOURS)]
            xs, ys = series[name]
            width, marker = 2 if name == highlight else 1.3, "o" if dots or len(xs) == 1 else ""
            axes.plot(xs, ys, color=colour, lw=width, marker=marker, ms=3.5, label=name, zorder=9 - index)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(axis="y", color=FAINT, lw=0.7)
        if log_x:
            _set_log_x(axes)
        axes.locator_params(axis="y", nbins=5)
        if all(len(xs) == 1 for xs, _ in series.values()):
            axes.set_xticks(sorted({xs[0] for xs, _ in series.values()}))
        elif dots and not log_x:
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.legend(**LEGEND)

    return draw(paint, 2.4, alt=alt)


def _set_log_x(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def calibration(curves: Mapping[str, Sequence[tuple[float, Any]]], highlight: str, *, alt: str) -> str:
    """Observed share against mean predicted probability of each bin, with its interval, beside the diagonal."""

    def paint(axes: Axes) -> None:
        """The diagonal, each curve, and the intervals of the one that stands out."""
        ends = [x for points in curves.values() for p, m in points for x in (p, m["high"] or m["value"])]
        axes.plot([0, max(ends)], [0, max(ends)], color=MUTED, lw=1, ls=(0, (3, 3)), label="perfect")
        for name, points in curves.items():
            colour = ACCENT if name == highlight else COLOURS[1]
            xs, ys = [p for p, _ in points], [m["value"] for _, m in points]
            axes.plot(xs, ys, color=colour, lw=2 if name == highlight else 1.2, marker="o", ms=3.5, label=name)
            for x, measure in points if name == highlight else ():
                if measure["low"] is not None:
                    axes.plot([x] * 2, [measure["low"], measure["high"]], color=colour, lw=4, alpha=0.25)
        axes.set_xlabel("predicted")
        axes.set_ylabel("observed")
        axes.grid(color=FAINT, lw=0.7)
        axes.locator_params(nbins=5)
        axes.legend(**LEGEND)

    return draw(paint, 2.4, alt=alt)
