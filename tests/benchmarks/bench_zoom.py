"""Quality against training time on the Last.fm tags: ZOOMER with ROIs beside GraphSAGE and GAT with uniform sampling.

Run by ``make bench-zoom``; progress on stderr, curves into ``bench/zoom.json``, the last stdout line one JSON object.
``bench/fanout.json``, copied into a lake's ``reports`` folder, is drawn by the next report.
The ROIs of each sampler and fan-out are cut by the job ``build_rois``; all models see the same requests, candidates,
towers and steps. Times are training steps (input waits included), judging excluded.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from jobs.retrieval import build_graph, build_requests, build_rois, embed_interests, ingest_events
from roilake.lake import Lake, check_folder
from roilake.lake.session import spark_session
from roilake.pipelines.retrieval.config import GraphModelConfig, RetrievalConfig, RoiConfig
from roilake.runtime.registry import load_config
from tests.benchmarks.zoom_curves import Curve, Judge, Point, learn, open_night

DS = date(2010, 12, 31)
FANOUTS = (2, 5, 10, 20, 40)
FIRST_HOP = {"request": ("user_query", "user_item", "query_item", "query_user"), "item": ("item_user", "item_query")}
SECOND_HOP = {"request": ("item_query", "item_user", "query_item", "user_item"), "item": ("user_item", "query_item")}
METRICS = ("auc", "auc_popularity_negatives", "hit_rate@50")


@dataclass(frozen=True)
class Variant:
    """One line of the comparison. ``role`` says what it is compared as."""

    name: str
    role: str  # "zoomer", "baseline", "ablation" or "reference"
    sampler: str
    fanout: int
    model: GraphModelConfig
    hops: int = 1

    @property
    def cut(self) -> tuple[str, int, int]:
        return self.sampler, self.fanout, self.hops


def model(kind: str, loss: str = "softmax", learning_rate: float | None = None, **options: Any) -> GraphModelConfig:
    return GraphModelConfig.model_validate(
        {"kind": kind, "options": options, "loss": loss, "learning_rate": learning_rate}
    )


@dataclass
class Table:
    """All variants of a run."""

    variants: list[Variant] = field(default_factory=list)

    def add(
        self, role: str, sampler: str, fanout: int, config: GraphModelConfig, label: str = "", hops: int = 1
    ) -> None:
        name = f"{config.kind}{label} {sampler} {fanout}" + (" x 2 hops" if hops == 2 else "")
        self.variants.append(Variant(name, role, sampler, fanout, config, hops))


def compared(fanouts: Sequence[int]) -> list[Variant]:
    """Every variant that is measured."""
    table = Table()
    best = load_config("conf/nights/retrieval/lastfm_tags.yaml").models["zoomer"]
    for fanout in fanouts:
        table.add("zoomer", "roi", fanout, best)
        for kind in ("graphsage", "gat"):
            table.add("baseline", "uniform", fanout, model(kind))
    for kind in ("graphsage", "gat"):
        table.add("baseline", "uniform", 5, model(kind), hops=2)
    middle, most = (10 if 10 in fanouts else fanouts[0]), max(fanouts)
    given = dict(best.options)
    for sampler in ("uniform", "weighted"):
        table.add("ablation", sampler, middle, best)
    for level in ("feature", "edge", "semantic"):
        flag = f"{level}_attention"
        switched = model("zoomer", **{**given, flag: not given.get(flag, True)})
        table.add("ablation", "roi", middle, switched, f" {level} {'on' if switched.options[flag] else 'off'}")
    for neighbours in ("detached", "frozen"):
        table.add("ablation", "roi", middle, model("zoomer", **{**given, "neighbours": neighbours}), f" {neighbours}")
    table.add("ablation", "uniform", most, model("graphsage", neighbours="detached"), " detached")
    paper = model("zoomer", loss="focal", towers="paper")
    table.add("ablation", "roi", 5, paper, " paper's form", hops=2)
    for kind in ("no_graph", "interest_dot", "popularity"):
        table.add("reference", "roi", middle, model(kind))
    return table.variants


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fanouts", type=int, nargs="+", default=list(FANOUTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ablation-seeds", type=int, default=3, help="seeds of what is neither ZOOMER nor baseline")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--points", type=int, default=8, help="times that a run is judged")
    parser.add_argument("--requests", type=int, default=2500, help="judged requests of each split")
    parser.add_argument("--only", default="", help="measure variants whose name holds this")
    parser.add_argument("--out", type=Path, default=Path("bench/zoom.json"))
    args = parser.parse_args()
    wanted = [variant for variant in compared(args.fanouts) if args.only in variant.name]
    base = load_config("conf/nights/retrieval/lastfm_tags.yaml")
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory(prefix="bench-zoom-") as folder:
        lake = prepare(Path(folder), base)
        curves, built = [], {}
        for cut in dict.fromkeys(variant.cut for variant in wanted):
            config = base.model_copy(update={"roi": roi_config(base, *cut)})
            result = build_rois.run(lake, config, DS)
            built[" ".join(map(str, cut))] = result.seconds
            versions = {table: lake.version(table) for table in ("rois", "nodes", "interest_vectors")}
            curves += measure(lake, config, versions, [v for v in wanted if v.cut == cut], args)
        lake.spark.stop()
    report = summary(wanted, curves, built)
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps({**report, "curves": [asdict(curve) for curve in curves]}))
    args.out.with_name("fanout.json").write_text(json.dumps(fanout_curve(wanted, report["variants"])))
    print(json.dumps(report), flush=True)


def prepare(folder: Path, config: RetrievalConfig) -> Lake:
    """The night up to its interest vectors."""
    lake = Lake.open(spark_session("bench-zoom"), check_folder(folder / "lake", create=True), create=True)
    for job in (ingest_events, build_graph, build_requests, embed_interests):
        job.run(lake, config, DS)
    return lake


def roi_config(base: RetrievalConfig, sampler: str, fanout: int, hops: int) -> RoiConfig:
    """ROIs of ``fanout`` per edge type at every hop."""
    sides = {}
    for side in ("request", "item"):
        trees = [dict.fromkeys(FIRST_HOP[side], fanout)]
        if hops == 2:
            trees.append(dict.fromkeys(SECOND_HOP[side], fanout))
        sides[f"{side}_hops"] = trees
    return RoiConfig.model_validate({**base.roi.model_dump(), **sides, "sampler": sampler})


def measure(
    lake: Lake, config: RetrievalConfig, versions: dict[str, int], variants: Iterable[Variant], args: argparse.Namespace
) -> list[Curve]:
    data = open_night(lake, config, DS, versions)
    windows = {"validation": data.validation[0], "test": max(test_windows(data))}
    judges = {split: Judge(data, config, as_of, args.requests) for split, as_of in windows.items()}
    curves = []
    for variant in variants:
        for seed in range(args.seeds if variant.role in ("zoomer", "baseline") else args.ablation_seeds):
            started = time.perf_counter()
            curves.append(learn(variant.name, replace(data, seed=seed), config, variant.model, judges, args))
            last = curves[-1].best
            shown = "  ".join(f"{name} {last.test[name]:.4f}" for name in METRICS)
            spent = f"{last.seconds:.1f} s of training, {time.perf_counter() - started:.0f} s in all"
            print(f"bench-zoom  {variant.name}  seed {seed}  test {shown}  {spent}", file=sys.stderr, flush=True)
            if not curves[-1].trained:
                break
    return curves


def test_windows(data: Any) -> list[date]:
    """The windows after validation that hold requests with an answer: those of the test split."""
    starts = {date.fromisoformat(file.partition["as_of"]) for file in data.requests}
    return [start for start in starts if max(data.validation) < start <= DS]


def summary(variants: Sequence[Variant], curves: Sequence[Curve], built: dict[str, float]) -> dict[str, Any]:
    """The figures of the issue, and a row for each variant (means over seeds)."""
    rows = {variant.name: row(variant, [c for c in curves if c.variant == variant.name]) for variant in variants}
    baselines = [r for r in rows.values() if r["role"] == "baseline"]
    zoomers = [r for r in rows.values() if r["role"] == "zoomer"]
    return {**compare(zoomers, baselines), "variants": rows, "roi_build_seconds": built}


def fanout_curve(variants: Sequence[Variant], rows: dict[str, Any]) -> list[dict[str, Any]]:
    """AUC and seconds to it by fan-out, in the form that the report draws."""
    return [
        {
            "model": variant.model.kind,
            "fanout": variant.fanout,
            "seconds": rows[variant.name]["best"]["seconds"],
            "auc": rows[variant.name]["best"]["test"]["auc"],
        }
        for variant in variants
        if variant.role in ("zoomer", "baseline") and variant.hops == 1
    ]


def compare(zoomers: list[dict], baselines: list[dict]) -> dict[str, Any]:
    """``speedup_at_equal_auc``: seconds that the baseline with the best test AUC takes to it, over the least seconds
    that a ZOOMER takes to reach that AUC (null if none does). ``auc_gain``: best ZOOMER minus that best."""
    if not zoomers or not baselines:
        return {}
    rival = max(baselines, key=lambda r: r["best"]["test"]["auc"])
    target = rival["best"]["test"]["auc"]
    reached = [(seconds_to(r["mean_curve"], target), r["name"]) for r in zoomers]
    fastest = min((found for found in reached if found[0] is not None), default=(None, None))
    champion = max(zoomers, key=lambda r: r["best"]["test"]["auc"])
    return {
        "speedup_at_equal_auc": rival["best"]["seconds"] / fastest[0] if fastest[0] else None,
        "auc_gain": champion["best"]["test"]["auc"] - target,
        "best_baseline": rival["name"],
        "best_baseline_auc": target,
        "best_baseline_seconds": rival["best"]["seconds"],
        "fastest_zoomer": fastest[1],
        "fastest_zoomer_seconds": fastest[0],
        "best_zoomer": champion["name"],
    }


def seconds_to(curve: list[dict], target: float) -> float | None:
    """Training seconds of the first point of a mean curve that is at least as good."""
    return next((point["seconds"] for point in curve if point["test"]["auc"] >= target), None)


def row(variant: Variant, curves: list[Curve]) -> dict[str, Any]:
    """Means over seeds; ``best`` is the point of the mean curve with the best test AUC."""
    points = [mean_point([curve.points[place] for curve in curves]) for place in range(len(curves[0].points))]
    best = max(points, key=lambda point: point["test"]["auc"])
    spread = [max(p.test["auc"] for p in curve.points) for curve in curves]
    return {
        "name": variant.name,
        "role": variant.role,
        "seeds": len(curves),
        "best": best,
        "auc_spread": max(spread) - min(spread),
        "wait_fraction": mean(curve.wait_fraction for curve in curves),
        "mean_curve": points,
    }


def mean_point(points: Sequence[Point]) -> dict[str, Any]:
    averaged = {
        split: {name: mean(getattr(point, split)[name] for point in points) for name in METRICS}
        for split in ("validation", "test")
    }
    return {"step": points[0].step, "seconds": mean(point.seconds for point in points), **averaged}


if __name__ == "__main__":
    main()
