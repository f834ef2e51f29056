"""The report's plots and numbers in notebooks, from the tables that ``roilake.read`` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes

from roilake.report import plots
from roilake.report.night import Measure
from roilake.report.slices import BINS
from roilake.report.words import direction, in_order, kind_of, label, signed

if TYPE_CHECKING:
    from IPython.display import HTML
    from pandas.io.formats.style import Styler

_PLAIN = [
    {"selector": "th, td", "props": "text-align: left; padding: 0.25em 1.2em 0.25em 0; border: 0"},
    {"selector": "th", "props": f"color: {plots.MUTED}; font-weight: normal"},
    {"selector": "tbody tr", "props": f"background: none; border-top: 1px solid {plots.FAINT}"},
]


def beside(figures: Mapping[str, str], *, width: str = "22em") -> HTML:
    """SVGs side by side under their titles, each at most ``width`` wide; a narrow page stacks them."""
    from IPython.display import HTML

    cells = [
        f'<figure style="flex: 1 1 15em; max-width: {width}; margin: 0"><figcaption><b>{escape(title)}</b></figcaption>'
        f"{figure}</figure>"
        for title, figure in figures.items()
    ]
    return HTML(
        f'<div style="display: flex; flex-wrap: wrap; gap: 2em; background: white">{"".join(cells)}</div>'
    )


def table(rows: pd.DataFrame, **formats: str) -> Styler:
    """Rows in the report's plain style; ``formats`` are those of the columns, e.g. ``seconds="{:.1f}"``."""
    styled = rows.style.hide(axis="index").set_table_styles(_PLAIN)
    return styled.format(formats, na_rep="–")


def main_metrics(metrics: pd.DataFrame, count: int = 3) -> list[str]:
    """The first metric of each kind in which more is better."""
    first: dict[str, str] = {}
    for name in in_order(metrics["metric"]):
        if direction(name) > 0:
            first.setdefault(kind_of(name), name)
    wanted = [kind for kind in ("auc", "hit_rate", "ndcg", "recall") if kind in first]
    return [first[kind] for kind in dict.fromkeys([*wanted, *first])][:count]


def intervals(metrics: pd.DataFrame, metric: str, highlight: str, part: str = "all") -> str:
    """A metric of each model with its 95 % interval, over the requests of slice ``part``."""
    rows = metrics[(metrics["metric"] == metric) & (metrics["slice"] == part)]
    return plots.intervals(_measures(rows), highlight, alt=f"{label(metric)} by model")


def differences(metrics: pd.DataFrame, metric: str, default: str) -> str:
    """What each other model has more than ``default``, paired by request, with its 95 % interval. Grey: the interval
    holds 0, so the models cannot be told apart."""
    rows = metrics[(metrics["metric"] == metric) & (metrics["slice"] == f"minus {default}")]
    found = {model: m for model, m in _measures(rows).items() if m["value"] is not None}
    order = sorted(found, key=lambda model: (found[model]["value"], model))

    def paint(axes: Axes) -> None:
        axes.axvline(0, color=plots.MUTED, lw=1)
        for row, measure in enumerate(found[model] for model in order):
            low, high, value = (measure[name] for name in ("low", "high", "value"))
            told = low is not None and not low <= 0 <= high
            colour = (plots.ACCENT if value > 0 else plots.COLOURS[1]) if told else plots.MUTED
            if low is not None:
                axes.plot([low, high], [row, row], color=colour, lw=5, alpha=0.28, solid_capstyle="round")
            axes.plot(value, row, "o", color=colour, ms=5.5)
            axes.annotate(
                signed(value),
                (1, row),
                xycoords=("axes fraction", "data"),
                ha="left",
                va="center",
                color=colour,
            )
        axes.set_yticks(range(len(order)), order)
        axes.set_ylim(-0.6, len(order) - 0.4)
        axes.grid(axis="x", color=plots.FAINT, lw=0.7)
        axes.locator_params(axis="x", nbins=4)

    told = ", ".join(f"{model} {signed(found[model]['value'])}" for model in order)
    return plots.draw(paint, 0.5 + 0.25 * max(len(order), 1), alt=f"{label(metric)} minus {default}: {told}")


def over_nights(metrics: pd.DataFrame, metric: str, highlight: str) -> str:
    """A metric of all test requests night by night: a line per model, a bar for each 95 % interval."""
    rows = metrics[(metrics["metric"] == metric) & (metrics["slice"] == "all")].sort_values("ds")
    nights = sorted(rows["ds"].unique())
    models = sorted(rows["model"].unique(), key=lambda name: (name != highlight, name))
    spread = 0.4 / max(len(models), 1)

    def paint(axes: Axes) -> None:
        for place, model in enumerate(models):
            own, colour = rows[rows["model"] == model], plots.COLOURS[place % len(plots.COLOURS)]
            xs = [nights.index(ds) + spread * (place - (len(models) - 1) / 2) for ds in own["ds"]]
            axes.plot(
                xs,
                own["value"],
                color=colour,
                lw=2 if model == highlight else 1.2,
                marker="o",
                ms=3.5,
                label=model,
            )
            axes.vlines(xs, own["low"], own["high"], color=colour, lw=3, alpha=0.25)
        axes.set_xticks(range(len(nights)), [f"{ds:%d %b}" for ds in nights])
        axes.grid(axis="y", color=plots.FAINT, lw=0.7)
        axes.locator_params(axis="y", nbins=5)
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, handlelength=1.2)

    return plots.draw(paint, 2.6, alt=f"{label(metric)} of {', '.join(models)} over {len(nights)} nights")


def calibration(metrics: pd.DataFrame, models: Sequence[str], highlight: str) -> str:
    """Observed share against mean predicted probability, from the rows of slices ``calibration bin NN``; empty when
    there are none."""
    bins = metrics[metrics["slice"].str.startswith(BINS) & metrics["model"].isin(models)]
    curves: dict[str, list[tuple[float, Measure]]] = {}
    for (model, _), rows in bins.sort_values("slice").groupby(["model", "slice"], sort=False):
        found = _measures(rows, by="metric")
        if {"predicted", "observed"} <= found.keys() and found["observed"]["value"] is not None:
            curves.setdefault(str(model), []).append((found["predicted"]["value"], found["observed"]))
    return plots.calibration(curves, highlight, alt="predicted against observed") if curves else ""


def _measures(rows: pd.DataFrame, by: str = "model") -> dict[str, Measure]:
    """value, low, high and n by model (or metric); None where undefined."""
    known: dict[str, Any] = rows.set_index(by)[["value", "low", "high", "n"]].astype(object).to_dict("index")
    return {name: {k: None if pd.isna(v) else v for k, v in found.items()} for name, found in known.items()}
