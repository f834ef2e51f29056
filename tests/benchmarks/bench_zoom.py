"""Quality against time on three real data sets: ZOOMER on regions of interest beside GraphSAGE and GAT on uniformly
sampled neighbours. Run by ``make bench-zoom``; progress on stderr, all curves into ``bench/zoom.json``, the last stdout
line one JSON object. ``bench/fanout.json``, copied into a lake's ``reports`` folder, is drawn by the next report.

All models see the same requests, candidates, towers, loss, learning rate, epochs and steps; a baseline has as many
neighbours of each edge type of the graph as its fan-out says, drawn from all of a request's history and from all of a
node's list; ZOOMER has the edge types of its night, and its best fan-out is looked for too. A time is that of training
steps (input waits included, judging left out) and of cutting the regions of the train windows on one core. Values are
of the test windows' requests (see ``zoom_curves.Judge``), means over seeds; a run stands where its mean curve is best.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from roilake.lake.session import spark_session
from roilake.metrics.intervals import Draws
from roilake.metrics.observed import observe_mean
from roilake.pipelines.retrieval.config import GraphModelConfig, RetrievalConfig
from roilake.runtime.registry import load_config
from tests.benchmarks.zoom_curves import IN_QUERY, METRICS, NDCG, Curve, Judge, learn, mean_curve
from tests.benchmarks.zoom_data import Cut, Night, prepare

DATA = ("movielens", "foursquare", "lastfm_tags")
FANOUTS, ROI_FANOUTS = (2, 5, 10, 20, 50, 100), (2, 5, 10)


@dataclass(frozen=True)
class Variant:
    """One line of the comparison: a model on regions cut in one way. ``role``: zoomer, baseline or ablation."""

    name: str
    role: str
    cut: Cut
    model: GraphModelConfig


def compared(config: RetrievalConfig, fanouts: Sequence[int], roi_fanouts: Sequence[int]) -> list[Variant]:
    """Every variant that is measured on a data set: ZOOMER as its night has it."""
    best, found = config.models["zoomer"], []
    for fanout in roi_fanouts:
        found.append(_variant("zoomer", "zoomer", best, Cut("roi", fanout, "own")))
    for fanout in fanouts:
        for kind in ("graphsage", "gat"):
            found.append(_variant("baseline", kind, GraphModelConfig(kind=kind), Cut("uniform", fanout, "graph")))
    middle = roi_fanouts[0]
    found.append(_variant("ablation", "graphsage", GraphModelConfig(kind="graphsage"), Cut("roi", middle, "own")))
    found.append(_variant("ablation", "zoomer", best, Cut("uniform", middle, "own")))
    for level in ("feature", "edge", "semantic"):
        flag, given = f"{level}_attention", dict(best.options)
        given[flag] = not given.get(flag, True)
        name = f"zoomer {level} {'on' if given[flag] else 'off'}"
        found.append(
            _variant("ablation", name, GraphModelConfig(kind="zoomer", options=given), Cut("roi", middle, "own"))
        )
    return found


def _variant(role: str, name: str, model: GraphModelConfig, cut: Cut) -> Variant:
    return Variant(f"{name} {cut}", role, cut, model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument("--fanouts", type=int, nargs="+", default=list(FANOUTS))
    parser.add_argument("--roi-fanouts", type=int, nargs="+", default=list(ROI_FANOUTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--points", type=int, default=21, help="times that a run is judged")
    parser.add_argument("--requests", type=int, default=3000, help="judged requests")
    parser.add_argument("--only", nargs="+", default=[""], help="measure variants whose name holds one of these")
    parser.add_argument("--out", type=Path, default=Path("bench/zoom.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)  # as a rank of a night has
    report: dict[str, Any] = {}
    args.out.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-zoom-") as folder:
        spark = spark_session("bench-zoom")
        for name in args.data:
            config = load_config(f"conf/nights/retrieval/{name}.yaml")
            night = prepare(spark, Path(folder) / name, config, args.requests)
            variants = compared(config, args.fanouts, args.roi_fanouts)
            wanted = [v for v in variants if any(part in v.name for part in args.only)]
            curves, spent = measure(night, wanted, args)
            report[name] = summary(wanted, curves, spent, night.judge())
            args.out.write_text(json.dumps(report))
            say(f"{name}  {json.dumps({k: v for k, v in report[name].items() if k != 'variants'})}")
        spark.stop()
    args.out.with_name("fanout.json").write_text(json.dumps(fanout_curve(next(iter(report.values()))["variants"])))
    print(json.dumps(report), flush=True)


@dataclass(frozen=True)
class Cost:
    """What a way of cutting regions costs: seconds for the train windows, and neighbours of a request."""

    seconds: float
    neighbours: int


def measure(night: Night, variants: Iterable[Variant], args: argparse.Namespace) -> tuple[list[Curve], dict[Cut, Cost]]:
    """All curves, and what each cut costs."""
    curves: list[Curve] = []
    spent: dict[Cut, Cost] = {}
    by_cut: dict[Cut, list[Variant]] = {}
    for variant in variants:
        by_cut.setdefault(variant.cut, []).append(variant)
    for number, (cut, mine) in enumerate(by_cut.items()):
        config = night.config_of(cut)
        data, seconds = night.cut(cut)
        spent[cut] = Cost(seconds, data.layouts.request.size)
        judge = night.judge()
        if not number:  # what a process pays once is not the first variant's
            learn("warm-up", data, config, mine[0].model, judge, 1, 1)
        for variant in mine:
            for seed in range(args.seeds):
                began = time.perf_counter()
                run = replace(data, seed=seed)
                curves.append(learn(variant.name, run, config, variant.model, judge, args.epochs, args.points))
                last = curves[-1].points[-1]
                shown = "  ".join(f"{name} {value:.4f}" for name, value in last.means().items())
                took = f"{last.seconds:.1f} s of training, {time.perf_counter() - began:.0f} s in all"
                say(f"{night.name}  {variant.name}  seed {seed}  {shown}  {took}")
    return curves, spent


def summary(
    variants: Sequence[Variant], curves: Sequence[Curve], spent: Mapping[Cut, Cost], judge: Judge
) -> dict[str, Any]:
    """The figures of one data set, and a row for each variant."""
    mine = {v.name: [curve for curve in curves if curve.variant == v.name] for v in variants}
    rows = {v.name: row(v, mine[v.name], spent[v.cut]) for v in variants}
    found: dict[str, Any] = {}
    for metric in METRICS:
        zoomers, baselines = ([r for r in rows.values() if r["role"] == role] for role in ("zoomer", "baseline"))
        if zoomers and baselines:
            found |= compare(metric, zoomers, baselines, mine, judge)
    return {**found, "variants": rows}


def row(variant: Variant, curves: list[Curve], cost: Cost) -> dict[str, Any]:
    """Means over seeds; ``best`` is by metric the point of the mean curve that is best."""
    points = list(mean_curve(curves))
    return {
        "name": variant.name,
        "role": variant.role,
        "kind": variant.model.kind,
        "fanout": variant.cut.fanout,
        "neighbours": cost.neighbours,
        "seeds": len(curves),
        "cutting_seconds": round(cost.seconds, 2),
        "wait_fraction": round(float(np.mean([curve.wait_fraction for curve in curves])), 4),
        "best": {metric: max(points, key=lambda point: point[metric]) for metric in METRICS},
        "curve": points,
    }


def compare(
    metric: str, zoomers: list[dict], baselines: list[dict], curves: Mapping[str, list[Curve]], judge: Judge
) -> dict[str, Any]:
    """``gain``: the best ZOOMER's value less that of the best baseline, with the interval of the paired difference by
    user. ``speedup``: the seconds of that baseline to its value, over the least that a ZOOMER takes to reach it."""
    rival, champion = (max(found, key=lambda r: r["best"][metric][metric]) for found in (baselines, zoomers))
    target = rival["best"][metric]
    theirs = rival["cutting_seconds"] + target["seconds"]
    reached = [
        (r["cutting_seconds"] + point["seconds"], r)
        for r in zoomers
        for point in [next((p for p in r["curve"] if p[metric] >= target[metric]), None)]
        if point
    ]
    ours, fastest = min(reached, key=lambda found: found[0], default=(None, None))
    ours_R, theirs_R = (_at_best(metric, r, curves[r["name"]]) for r in (champion, rival))
    users, user_R = np.unique(judge.user_R, return_inverse=True)
    both = [observe_mean(values, user_R, len(users)) for values in (ours_R, theirs_R)]
    gain = both[0].minus(both[1]).estimate(Draws(users, 1000, 0))
    return {
        f"{metric}_gain": round(gain.value, 4),
        f"{metric}_gain_interval": [round(gain.low, 4), round(gain.high, 4)],
        f"speedup_at_equal_{metric}": round(theirs / ours, 2) if ours else None,
        f"{metric}_best_baseline": {
            "name": rival["name"],
            "value": round(target[metric], 4),
            "seconds": round(theirs, 2),
        },
        f"{metric}_best_zoomer": {"name": champion["name"], "value": round(champion["best"][metric][metric], 4)},
        f"{metric}_fastest_zoomer": {"name": fastest["name"], "seconds": round(ours, 2)} if fastest else None,
        **(
            {"neighbours_ratio": round(rival["neighbours"] / fastest["neighbours"], 1)}
            if metric == NDCG and fastest
            else {}
        ),
    }


def _at_best(metric: str, row: dict[str, Any], curves: Sequence[Curve]) -> np.ndarray:
    """Values of the judged requests [R] where the mean curve is best, means over seeds."""
    step = row["best"][metric]["step"]
    return np.mean([point.test[metric] for curve in curves for point in curve.points if point.step == step], axis=0)


def fanout_curve(rows: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """AUC in the query and seconds to it by fan-out, in the form that the report draws."""
    return [
        {
            "model": r["kind"],
            "fanout": r["fanout"],
            "seconds": r["cutting_seconds"] + r["best"][IN_QUERY]["seconds"],
            "auc": r["best"][IN_QUERY][IN_QUERY],
        }
        for r in rows.values()
        if r["role"] in ("zoomer", "baseline")
    ]


def say(text: str) -> None:
    print(f"bench-zoom  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
