"""The page's plots as inline SVG, by name; a name is missing where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from roilake.report import plots
from roilake.report.data import ReportData
from roilake.report.formatting import direction, in_order, label, number
from roilake.report.leaderboard import best_other, main_metrics, metric_names
from roilake.report.night import Night
from roilake.report.slices import calibration

PLOTS = 6
Series = dict[str, tuple[list[float], list[float]]]


def pictures(contents: ReportData) -> dict[str, Any]:
    """``metrics`` maps titles to plots, ``drawn`` those of training and calibration."""
    night = contents.night
    drawn = {**_curves(night), **_calibrations(night), **_fanout(contents)}
    return {
        "metrics": _metrics(night),
        "drawn": drawn,
        "calibrated": any(title.startswith("Calibration") for title in drawn),
    }


def _metrics(night: Night) -> dict[str, Markup]:
    several = len(night.places) > 1
    return {
        f"{label(name)}, {at.place.name}" if several else label(name): _intervals(at, name)
        for at in map(night.at, night.places)
        for name in plotted(at)[: PLOTS // len(night.places)]
    }


def plotted(night: Night) -> list[str]:
    """The main metrics, and others in which models compete while there is room."""
    main = main_metrics(night)
    others = [name for name in metric_names(night) if direction(name) and name not in main]
    return in_order([*main, *others[: PLOTS - len(main)]])


def _intervals(night: Night, name: str) -> Markup:
    values = {model: found[name] for model, found in night.measures.items() if name in found}
    told = ", ".join(f"{model} {number(measure['value'])}" for model, measure in values.items())
    alt, less = f"{label(name)} by model: {told}", direction(name) < 0
    return Markup(plots.intervals(values, night.default_model, alt=alt, less_is_better=less))


def _curves(night: Night) -> dict[str, Markup]:
    own, found = night.default_model, {}
    if losses := _series(night, "steps", "step", "loss"):
        found["Training loss"] = _lines(losses, x="step", y="training loss", highlight=own)
    for part, x in (("epochs", "epoch"), ("validations", "step")):
        if series := _series(night, part, x, "auc"):
            found[f"Validation by {x}"] = _lines(series, x=x, y="validation AUC", highlight=own, dots=True)
    return found


def _series(night: Night, part: str, x: str, y: str) -> Series:
    """(xs, ys) of each model that has points with both in this part of its curve."""
    points = {
        name: [(point[x], point[y]) for point in curve.get(part, ()) if y in point]
        for name, curve in night.curves.items()
    }
    return {name: ([p[0] for p in ps], [p[1] for p in ps]) for name, ps in points.items() if ps}


def _lines(series: Series, *, x: str, y: str, **looks: Any) -> Markup:
    ends = ", ".join(f"{name} from {ys[0]:.4g} to {ys[-1]:.4g}" for name, (_, ys) in series.items())
    return Markup(plots.lines(series, x=x, y=y, alt=f"{y} by {x}: {ends}", **looks))


def _calibrations(night: Night) -> dict[str, Markup]:
    several = len(night.places) > 1
    titles = {place: f"Calibration, {place.name}" if several else "Calibration" for place in night.places}
    drawn = {title: _calibration(night.at(place)) for place, title in titles.items()}
    return {title: picture for title, picture in drawn.items() if picture is not None}


def _calibration(night: Night) -> Markup | None:
    """The default model's curve and that of the best other one by the first main metric."""
    curves, own, names = calibration(night), night.default_model, main_metrics(night)
    shown = [own, best_other(night, names[0]) if names else None]
    chosen: Mapping[str, Any] = {name: curves[name] for name in shown if name is not None and name in curves}
    if not chosen:
        return None
    told = "; ".join(
        f"{name}: " + ", ".join(f"{number(x)} observed {number(m['value'])}" for x, m in points)
        for name, points in chosen.items()
    )
    return Markup(plots.calibration(chosen, own, alt=f"predicted against observed; {told}"))


def _fanout(contents: ReportData) -> dict[str, Markup]:
    series: Series = {}
    for point in sorted(contents.fanout, key=lambda p: (p["model"], p["fanout"])):
        xs, ys = series.setdefault(point["model"], ([], []))
        xs.append(point["seconds"])
        ys.append(point["auc"])
    own = contents.night.default_model
    looks = {"highlight": own, "log_x": True, "dots": True}
    return (
        {"Fan-out: quality against time": _lines(series, x="training time, s", y="test AUC", **looks)}
        if series
        else {}
    )
