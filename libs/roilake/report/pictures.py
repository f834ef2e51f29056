"""The page's plots as inline SVG, by title; one is missing where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from roilake.metrics.registry import direction, group_of, in_order, label
from roilake.report import plots
from roilake.report.formatting import number
from roilake.report.leaderboard import best_other, main_metrics, metric_names
from roilake.report.night import NightData
from roilake.report.slices import calibration

PLOTS = 6
Series = dict[str, tuple[list[float], list[float]]]


def metric_pictures(night: NightData) -> dict[str, Markup]:
    """Titles to plots of the models' intervals, of each evaluation set."""
    return {
        f"{label(name)}, {at.on.name}" if night.several else label(name): _intervals(at, name)
        for at in map(night.at, night.evaluated)
        for name in plotted(at)[: PLOTS // len(night.evaluated) or 1]
    }


def plotted(night: NightData) -> list[str]:
    """The main metrics, and others in which models compete while there is room."""
    main = main_metrics(night)
    others = [name for name in metric_names(night) if direction(name) and name not in main]
    return in_order([*main, *others[: PLOTS - len(main)]])


def _intervals(night: NightData, name: str) -> Markup:
    values = {model: found[name] for model, found in night.measures.items() if name in found}
    listed = ", ".join(f"{model} {number(measure['value'])}" for model, measure in values.items())
    alt, less = f"{label(name)} by model: {listed}", direction(name) < 0
    return Markup(plots.intervals(values, night.default_model, alt=alt, less_is_better=less))


def curve_pictures(night: NightData) -> dict[str, Markup]:
    """Titles to plots of the learning curves of the models trained this night."""
    own, found = night.default_model, {}
    if losses := _series(night, "steps", "step", "loss"):
        found["Training loss"] = line_picture(losses, x="step", y="training loss", highlight=own)
    points = (point for curve in night.curves.values() for point in curve.get("validations", ()))
    names = in_order(name for point in points for name in point if group_of(name) == "separation")
    if names and (series := _series(night, "validations", "step", names[0])):
        title = f"validation {label(names[0])}"
        found["Validation by step"] = line_picture(series, x="step", y=title, highlight=own, dots=True)
    return found


def _series(night: NightData, part: str, x: str, y: str) -> Series:
    """(xs, ys) of each model that has points with both in this part of its curve."""
    points = {
        name: [(point[x], point[y]) for point in curve.get(part, ()) if y in point]
        for name, curve in night.curves.items()
    }
    return {name: ([p[0] for p in ps], [p[1] for p in ps]) for name, ps in points.items() if ps}


def line_picture(series: Series, *, x: str, y: str, **style: Any) -> Markup:
    """A line for each name; ``style`` as ``plots.lines`` takes it."""
    ends = ", ".join(f"{name} from {ys[0]:.4g} to {ys[-1]:.4g}" for name, (_, ys) in series.items())
    return Markup(plots.lines(series, x=x, y=y, alt=f"{y} by {x}: {ends}", **style))


def calibration_pictures(night: NightData) -> dict[str, Markup]:
    """Titles to plots of predicted against observed, of each evaluation set that has them."""
    titles = {on: f"Calibration, {on.name}" if night.several else "Calibration" for on in night.evaluated}
    drawn = {title: _calibration(night.at(on)) for on, title in titles.items()}
    return {title: picture for title, picture in drawn.items() if picture is not None}


def _calibration(night: NightData) -> Markup | None:
    """The default model's curve and that of the best other one by the first main metric."""
    curves, own, names = calibration(night), night.default_model, main_metrics(night)
    shown = [own, best_other(night, names[0]) if names else None]
    chosen: Mapping[str, Any] = {name: curves[name] for name in shown if name is not None and name in curves}
    if not chosen:
        return None
    listed = "; ".join(
        f"{name}: " + ", ".join(f"{number(x)} observed {number(m['value'])}" for x, m in points)
        for name, points in chosen.items()
    )
    return Markup(plots.calibration(chosen, own, alt=f"predicted against observed; {listed}"))
