"""The page's plots as inline SVG, by name; a name is missing where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from roilake.report import plots
from roilake.report.contents import Contents
from roilake.report.night import Night
from roilake.report.slices import calibration
from roilake.report.standing import best_other, main_metrics, metric_names
from roilake.report.words import direction, in_order, label, number

PLOTS = 6
Series = dict[str, tuple[list[float], list[float]]]


def pictures(contents: Contents) -> dict[str, Any]:
    """``metrics`` maps metric names to plots; ``loss``, ``epochs``, ``fanout`` and ``calibration`` are plots."""
    return {
        "metrics": {name: _intervals(contents.night, name) for name in plotted(contents.night)},
        **_curves(contents.night),
        **_calibration(contents.night),
        **_fanout(contents),
    }


def plotted(night: Night) -> list[str]:
    """The main metrics, and others in which models compete while there is room."""
    main = main_metrics(night)
    others = [name for name in metric_names(night) if direction(name) and name not in main]
    return in_order([*main, *others[: PLOTS - len(main)]])


def _intervals(night: Night, name: str) -> Markup:
    values = {model: found[name] for model, found in night.test.items() if name in found}
    told = ", ".join(f"{model} {number(measure['value'])}" for model, measure in values.items())
    return Markup(plots.intervals(values, night.default_model, alt=f"{label(name)} by model: {told}"))


def _curves(night: Night) -> dict[str, Markup]:
    own, found = night.default_model, {}
    if losses := _series(night, "steps", "step", "loss"):
        found["loss"] = _lines(losses, x="step", y="training loss", highlight=own)
    if epochs := _series(night, "epochs", "epoch", "auc"):
        found["epochs"] = _lines(epochs, x="epoch", y="validation AUC", highlight=own, dots=True)
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


def _calibration(night: Night) -> dict[str, Markup]:
    """The default model's curve and that of the best other one by the first main metric."""
    curves, own, names = calibration(night), night.default_model, main_metrics(night)
    shown = [own, best_other(night, names[0]) if names else None]
    chosen: Mapping[str, Any] = {name: curves[name] for name in shown if name is not None and name in curves}
    if not chosen:
        return {}
    told = "; ".join(
        f"{name}: " + ", ".join(f"{number(x)} observed {number(m['value'])}" for x, m in points)
        for name, points in chosen.items()
    )
    return {"calibration": Markup(plots.calibration(chosen, own, alt=f"predicted against observed; {told}"))}


def _fanout(contents: Contents) -> dict[str, Markup]:
    series: Series = {}
    for point in sorted(contents.fanout, key=lambda p: (p["model"], p["fanout"])):
        xs, ys = series.setdefault(point["model"], ([], []))
        xs.append(point["seconds"])
        ys.append(point["auc"])
    own = contents.night.default_model
    looks = {"highlight": own, "log_x": True, "dots": True}
    return {"fanout": _lines(series, x="training time, s", y="test AUC", **looks)} if series else {}
