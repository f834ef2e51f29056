"""Small plots as inline SVG, each as wide as a phone: text stays text, so that they read well when scaled. ``alt`` is
what a screen reader reads in their stead."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import StringIO
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from roilake.report.formatting import plain

INK, MUTED, FAINT, ACCENT = "#1c2430", "#667085", "#d8dde5", "#0f766e"
COLOURS = (
    ACCENT, "#b45309", "#6d28d9", "#64748b", "#be185d", "#1d4ed8", "#65a30d", "#0ea5e9", "#dc2626", "#713f12",
)  # fmt: skip
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
LONGEST = 28
"""Characters of a name in a plot."""
LEGEND: Any = {
    "frameon": False, "loc": "lower center", "bbox_to_anchor": (0.5, 1), "handlelength": 1.8, "columnspacing": 1.2,
}  # fmt: skip
LEGEND_WIDTH, LEGEND_ROW = 48, 0.18
"""Characters that fit beside each other in a legend, and the inches that a row of it takes."""
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "roilake",  # the same picture has the same bytes
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "Segoe UI", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,  # a dollar is a dollar
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
        text = StringIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's fonts draw the text, not these
            paint(axes)
            figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    head, rest = svg[svg.index("<svg") :].split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    described = f' role="img" aria-label="{escape(plain(alt))}"' if alt else ""
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
    axes.set_yticks(range(len(names)), [plain(name, LONGEST) for name in names])
    for name, label in zip(names, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if name == highlight else "normal")
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", color=FAINT, lw=0.7)
    axes.locator_params(axis="x", nbins=4)


def style_of(index: int) -> dict[str, Any]:
    """Colour and dashes of line number ``index``: 40 lines can be told apart."""
    return {"color": COLOURS[index % len(COLOURS)], "ls": DASHES[index // len(COLOURS) % len(DASHES)]}


def name_lines(axes: Axes, named: Mapping[str, Line2D]) -> None:
    """A legend above the axes. The names are given, for matplotlib leaves out labels that begin with ``_``."""
    names = [plain(name, LONGEST) for name in named]
    axes.legend([*named.values()], names, ncols=legend_columns(names), **LEGEND)


def legend_columns(names: Sequence[str]) -> int:
    """As many as the longest name leaves room for, at most three."""
    longest = max((len(plain(name, LONGEST)) for name in names), default=0)
    return max(1, min(3, LEGEND_WIDTH // (6 + longest)))


def height_with_legend(names: Sequence[str]) -> float:
    """Inches for a plot whose legend has these names."""
    return 2.1 + LEGEND_ROW * math.ceil(len(names) / legend_columns(names))


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
        named = {}
        for index, name in enumerate(names):
            xs, ys = series[name]
            width, marker = 2 if name == highlight else 1.3, "o" if dots or len(xs) == 1 else ""
            style: Any = {"lw": width, "marker": marker, "ms": 3.5, "zorder": 4 - index / len(names)}
            (named[name],) = axes.plot(xs, ys, **style_of(index), **style)
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
        name_lines(axes, named)

    return draw(paint, height_with_legend(names), alt=alt)


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
        named = {}
        (named["perfect"],) = axes.plot([0, max(ends)], [0, max(ends)], color=MUTED, lw=1, ls=(0, (3, 3)))
        for name, points in curves.items():
            colour = ACCENT if name == highlight else COLOURS[1]
            xs, ys = [p for p, _ in points], [m["value"] for _, m in points]
            (named[name],) = axes.plot(xs, ys, color=colour, lw=2 if name == highlight else 1.2, marker="o", ms=3.5)
            for x, measure in points if name == highlight else ():
                if measure["low"] is not None:
                    axes.plot([x] * 2, [measure["low"], measure["high"]], color=colour, lw=4, alpha=0.25)
        axes.set_xlabel("predicted")
        axes.set_ylabel("observed")
        axes.grid(color=FAINT, lw=0.7)
        axes.locator_params(nbins=5)
        name_lines(axes, named)

    return draw(paint, 2.4, alt=alt)
