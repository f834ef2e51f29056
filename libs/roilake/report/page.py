"""Renders a night's report: one HTML page that holds its own style and pictures and asks no network for
anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from roilake.evaluation.gates import JOBS
from roilake.report import plots
from roilake.report.contents import Contents, Measure

UNITS = ("B", "kB", "MB", "GB", "TB")
SLICES = {
    "cold_users": "users without history",
    "warm_users": "users with history",
    "head_items": "most popular fifth of items",
    "tail_items": "other items",
}


def write_page(contents: Contents, path: Path) -> None:
    """Write the page aside and rename it, so that a reader never sees half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    aside.write_text(render(contents))
    os.replace(aside, path)


def render(contents: Contents) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=PackageLoader("roilake.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "label": label, "size": size, "duration": duration}
    return environment.get_template("page.html.j2").render(
        c=contents,
        slices=SLICES,
        test=contents.metrics.get(("test", "all"), {}),
        names=metric_names(contents),
        models=model_order(contents),
        best={name: best_value(contents, name) for name in metric_names(contents)},
        tiles=tiles(contents),
        verdict=verdict(contents),
        pictures=pictures(contents),
        runs=sorted(contents.runs, key=lambda run: _job_place(run["job"])),
        roi=next((run for run in contents.runs if run["job"] == "build_rois"), None),
        slowest=max((run["seconds"] for run in contents.runs), default=1) or 1,
        seconds=sum(run["seconds"] for run in contents.runs),
    )


def _job_place(job: str) -> int:
    return JOBS.index(job) if job in JOBS else len(JOBS)


def metric_names(contents: Contents) -> list[str]:
    """Names of the night's metrics, AUCs first, then hit rates and NDCGs by K."""
    names = {name for models in contents.metrics.values() for found in models.values() for name in found}
    kinds = ("auc", "auc_popular", "hit_rate", "ndcg")

    def place(name: str) -> tuple[int, int]:
        kind, _, k = name.partition("@")
        return (kinds.index(kind) if kind in kinds else len(kinds)), int(k or 0)

    return sorted(names, key=place)


def model_order(contents: Contents) -> list[str]:
    """The default model first, then the others by test AUC, the best first."""
    test = contents.metrics.get(("test", "all"), {})

    def place(name: str) -> tuple[bool, float, str]:
        return name != contents.default_model, -(_value(test, name, "auc") or 0.0), name

    return sorted(test, key=place)


def tiles(contents: Contents) -> list[dict[str, Any]]:
    """One tile for each kind of metric: the default model's value, the best other model's, and the change
    since the night published last."""
    test = contents.metrics.get(("test", "all"), {})
    chosen: dict[str, str] = {}
    for name in metric_names(contents):
        chosen.setdefault(name.partition("@")[0], name)
    return [_tile(contents, test, name) for name in chosen.values()]


def _tile(contents: Contents, test: Mapping[str, Mapping[str, Measure]], name: str) -> dict[str, Any]:
    own = test.get(contents.default_model, {}).get(name)
    best = best_other(contents, name)
    earlier = _value(contents.before, contents.default_model, name)
    change = own["value"] - earlier if own and own["value"] is not None and earlier is not None else None
    return {
        "name": name,
        "measure": own,
        "best": best,
        "best_value": _value(test, best, name) if best else None,
        "lead": lead(contents, name),
        "change": change,
    }


def best_other(contents: Contents, name: str) -> str | None:
    """The model, the default one apart, with the highest test value."""
    test = contents.metrics.get(("test", "all"), {})
    values = {model: _value(test, model, name) for model in test if model != contents.default_model}
    known = {model: value for model, value in values.items() if value is not None}
    return max(known, key=lambda model: (known[model], model), default=None)


def lead(contents: Contents, name: str) -> str:
    """Where the default model stands against the best other one, by the paired interval of their difference:
    ``ahead``, ``behind``, or ``level`` when the interval holds 0; empty when there is nothing to compare."""
    differences = contents.metrics.get(("test", f"minus {contents.default_model}"), {})
    found = differences.get(best_other(contents, name) or "", {}).get(name)
    if not found or found["low"] is None:
        return ""
    return "ahead" if found["high"] < 0 else "behind" if found["low"] > 0 else "level"


def verdict(contents: Contents) -> str:
    """One sentence: where the default model stands among the others, on the test windows."""
    test = contents.metrics.get(("test", "all"), {})
    names, own = metric_names(contents), contents.default_model
    if own not in test or not names:
        return "No model was judged."
    won = sum(_leads(test, own, name) for name in names)
    text = f"{own} has the highest value of {len(test)} models in {won} of {len(names)} test metrics."
    stands = [lead(contents, name) for name in names]
    if not any(stands):
        return text
    counts = {word: stands.count(word) for word in ("ahead", "level", "behind")}
    return (
        f"{text} Against the best other model it is clearly ahead in {counts['ahead']}, level within the "
        f"interval in {counts['level']} and clearly behind in {counts['behind']}."
    )


def best_value(contents: Contents, name: str) -> float | None:
    """The highest test value that any model reached."""
    test = contents.metrics.get(("test", "all"), {})
    return max((value for model in test if (value := _value(test, model, name)) is not None), default=None)


def _leads(test: Mapping[str, Mapping[str, Measure]], model: str, name: str) -> bool:
    known = [value for other in test if (value := _value(test, other, name)) is not None]
    return bool(known) and _value(test, model, name) == max(known)


def _value(test: Mapping[str, Mapping[str, Measure]], model: str, name: str) -> float | None:
    value: float | None = test.get(model, {}).get(name, {}).get("value")
    return value


def pictures(contents: Contents) -> dict[str, Any]:
    """The plots as inline SVG; a key is missing where there is nothing to draw."""
    test, own = contents.metrics.get(("test", "all"), {}), contents.default_model
    metrics = {
        name: Markup(
            plots.intervals({model: found[name] for model, found in test.items() if name in found}, own)
        )
        for name in metric_names(contents)
    }
    return {"metrics": metrics, **_curve_pictures(contents), **_fanout_picture(contents)}


def _curve_pictures(contents: Contents) -> dict[str, Markup]:
    own, found = contents.default_model, {}
    if losses := _series(contents, "steps", "step", "loss"):
        found["loss"] = Markup(plots.lines(losses, x="step", y="training loss", highlight=own))
    if epochs := _series(contents, "epochs", "epoch", "auc"):
        found["epochs"] = Markup(plots.lines(epochs, x="epoch", y="validation AUC", highlight=own, dots=True))
    return found


def _series(contents: Contents, part: str, x: str, y: str) -> dict[str, tuple[list[float], list[float]]]:
    """(xs, ys) of each model that has points with both in this part of its curve."""
    points = {
        name: [(point[x], point[y]) for point in curve.get(part, ()) if y in point]
        for name, curve in contents.curves.items()
    }
    return {name: ([p[0] for p in ps], [p[1] for p in ps]) for name, ps in points.items() if ps}


def _fanout_picture(contents: Contents) -> dict[str, Markup]:
    series: dict[str, tuple[list[float], list[float]]] = {}
    for point in sorted(contents.fanout, key=lambda p: (p["model"], p["fanout"])):
        xs, ys = series.setdefault(point["model"], ([], []))
        xs.append(point["seconds"])
        ys.append(point["auc"])
    if not series:
        return {}
    svg = plots.lines(
        series, x="training time, s", y="test AUC", highlight=contents.default_model, log_x=True, dots=True
    )
    return {"fanout": Markup(svg)}


def number(value: float | None, digits: int = 3) -> str:
    """A count with thin spaces between thousands, or a fraction with ``digits`` digits; a dash for what is
    undefined."""
    if value is None:
        return "–"
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:.{digits}f}"


def label(name: str) -> str:
    """A metric's name for people."""
    kind, _, k = name.partition("@")
    words = {"auc": "AUC", "auc_popular": "AUC (popular)", "hit_rate": "Hit rate", "ndcg": "NDCG"}
    return f"{words.get(kind, kind)} @{k}" if k else words.get(kind, kind)


def size(count: float) -> str:
    """Bytes in the unit that fits."""
    power = 0
    while count >= 1000 and power < len(UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.0f} {UNITS[power]}" if power == 0 or count >= 100 else f"{count:.1f} {UNITS[power]}"


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds from two minutes on."""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
