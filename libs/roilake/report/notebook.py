"""The report's plots and numbers in notebooks, from the tables that ``roilake.read`` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes

from roilake.lake import Lake, Publication, check_folder
from roilake.metrics.champion import Champion, champion_of
from roilake.metrics.registry import direction, label
from roilake.metrics.slices import BINS, delta_vs_default
from roilake.report import plots
from roilake.report.changes import changes
from roilake.report.formatting import signed
from roilake.report.night import Measure, Measures

if TYPE_CHECKING:
    from IPython.display import HTML
    from pandas.io.formats.style import Styler

_PLAIN = [
    {"selector": "th, td", "props": "text-align: left; padding: 0.25em 1.2em 0.25em 0; border: 0"},
    {"selector": "th", "props": f"color: {plots.MUTED}; font-weight: normal"},
    {"selector": "tbody tr", "props": f"background: none; border-top: 1px solid {plots.FAINT}"},
]
_FORMATS = {"f": "{:.3f}", "i": "{:,}"}
_NO_MATH = "tex2jax_ignore mathjax_ignore"
"""Classes that keep Jupyter from reading formulas between dollars."""


def beside(figures: Mapping[str, str], *, width: str = "24em") -> HTML:
    """SVGs under their titles, each at most ``width`` wide, two in a row; a narrow page stacks them."""
    from IPython.display import HTML

    row = f"display: flex; flex-wrap: wrap; gap: 1em 2em; max-width: calc(2 * {width} + 2em); background: white"
    cell = f"flex: 1 1 20em; max-width: {width}; margin: 0"
    cells = [
        f'<figure style="{cell}"><figcaption><b>{escape(title)}</b></figcaption>{figure}</figure>'
        for title, figure in figures.items()
    ]
    return HTML(f'<div class="{_NO_MATH}" style="{row}">{"".join(cells)}</div>')


def table(rows: pd.DataFrame, **formats: str) -> Styler:
    """Rows in the report's plain style; texts are shown as they are. Fractions have three digits, counts a comma at
    each thousand; ``formats`` says what differs, e.g. ``seconds="{:.1f}"``."""
    kinds = rows.dtypes.map(lambda dtype: dtype.kind).items()
    chosen = {**{name: _FORMATS[kind] for name, kind in kinds if kind in _FORMATS}, **formats}
    styled = rows.style.hide(axis="index").set_table_styles(_PLAIN).set_table_attributes(f'class="{_NO_MATH}"')
    return styled.format(chosen, na_rep="–", escape="html").format_index(axis="columns", escape="html")


def intervals(metrics: pd.DataFrame, metric: str, highlight: str) -> str:
    """A metric of each model on slice ``all`` with its 95 % interval, the best model on top."""
    rows = metrics[(metrics["metric"] == metric) & (metrics["slice"] == "all")]
    less = direction(metric) < 0
    return plots.intervals(_measures(rows), highlight, alt=f"{label(metric)} by model", less_is_better=less)


def champion(lake: str | Path, night: pd.Series) -> Champion:
    """Who serves a published night, a row of table ``publications``."""
    return champion_of(Lake(None, check_folder(lake, create=False)), Publication.of(night.to_dict()))


def differences(metrics: pd.DataFrame, metric: str, default: str) -> str:
    """What each other model has more than ``default``, which serves, paired by request, with its 95 % interval. Grey:
    the interval holds 0, so the models cannot be told apart."""
    rows = metrics[(metrics["metric"] == metric) & (metrics["slice"] == delta_vs_default())]
    found = {model: m for model, m in _measures(rows).items() if m["value"] is not None}
    order = sorted(found, key=lambda model: (found[model]["value"], model))

    def paint(axes: Axes) -> None:
        axes.axvline(0, color=plots.MUTED, lw=1)
        for row, measure in enumerate(found[model] for model in order):
            low, high, value = (measure[name] for name in ("low", "high", "value"))
            beyond = low is not None and not low <= 0 <= high
            colour = (plots.ACCENT if value > 0 else plots.COLOURS[1]) if beyond else plots.MUTED
            plots.interval_row(axes, row, measure, colour, signed(value))
        plots.name_rows(axes, order)

    listed = ", ".join(f"{model} {signed(found[model]['value'])}" for model in order)
    return plots.draw(paint, 0.5 + 0.25 * max(len(order), 1), alt=f"{label(metric)} minus {default}: {listed}")


def over_nights(metrics: pd.DataFrame, metric: str, highlight: str) -> str:
    """A metric of all test requests night by night: a line per model, a bar for each 95 % interval."""
    rows = metrics[(metrics["metric"] == metric) & (metrics["slice"] == "all")].sort_values("ds")
    nights = sorted(rows["ds"].unique())
    models = sorted(rows["model"].unique(), key=lambda name: (name != highlight, name))
    spread = 0.4 / max(len(models), 1)

    def paint(axes: Axes) -> None:
        named = {}
        for index, model in enumerate(models):
            own, style = rows[rows["model"] == model], plots.style_of(index)
            xs = [nights.index(ds) + spread * (index - (len(models) - 1) / 2) for ds in own["ds"]]
            width = 2 if model == highlight else 1.2
            (named[model],) = axes.plot(xs, own["value"], **style, lw=width, marker="o", ms=3.5)
            axes.vlines(xs, own["low"], own["high"], color=style["color"], lw=3, alpha=0.25)
        axes.set_xticks(range(len(nights)), [f"{ds:%d %b}" for ds in nights])
        axes.grid(axis="y", color=plots.FAINT, lw=0.7)
        axes.locator_params(axis="y", nbins=5)
        plots.name_lines(axes, named)

    return plots.draw(
        paint, plots.height_with_legend(models), alt=f"{label(metric)} of {', '.join(models)} over {len(nights)} nights"
    )


def since(metrics: pd.DataFrame, before: date, after: date, names: Sequence[str]) -> pd.DataFrame:
    """What changed between two nights in the metrics ``names`` of all test requests: metric, model, a column per night,
    change, low, high, verdict. Their test days differ, so the interval takes them as independent; see ``changes``."""
    found = changes(_by_model(metrics, before), _by_model(metrics, after))
    rows = [
        (label(c.metric), c.model, c.before["value"], c.after["value"], c.value, c.low, c.high, c.verdict)
        for c in found
        if c.metric in names
    ]
    columns = ["metric", "model", str(before), str(after), "change", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _by_model(metrics: pd.DataFrame, ds: date) -> Measures:
    rows = metrics[(metrics["ds"] == ds) & (metrics["slice"] == "all")]
    return {str(model): _measures(own, by="metric") for model, own in rows.groupby("model")}


def calibration(metrics: pd.DataFrame, model: str) -> str:
    """Observed share against mean predicted probability, from the rows of slices ``calibration bin NN``; empty when
    there are none."""
    bins = metrics[metrics["slice"].str.startswith(BINS) & (metrics["model"] == model)].sort_values("slice")
    predicted, observed = (_measures(bins[bins["metric"] == name], by="slice") for name in ("predicted", "observed"))
    known = [name for name in observed if name in predicted and observed[name]["value"] is not None]
    points = [(predicted[name]["value"], observed[name]) for name in known]
    alt = f"{model}: observed share by predicted probability"
    return plots.calibration({model: points}, model, alt=alt) if points else ""


def _measures(rows: pd.DataFrame, by: str = "model") -> dict[str, Measure]:
    """value, low, high and n by model (or metric, or slice); None where undefined."""
    known: dict[str, Any] = rows.set_index(by)[["value", "low", "high", "n"]].astype(object).to_dict("index")
    return {name: {k: None if pd.isna(v) else v for k, v in found.items()} for name, found in known.items()}
