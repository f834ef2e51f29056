"""Rows per second of training a conversion model with one and with two Horovod workers: ``python -m
tests.benchmarks.bench_cvr_speed``. Progress on stderr, one JSON line on stdout.

``build_impressions`` writes a generated log (300,000 impressions by default) as a Delta table; petastorm feeds it to
each worker. Both runs train the same model by the same steps, and a step has the same rows, half of them on each of two
workers; every worker has one torch thread. Rates count the rows of the steps after the first tenth, over the time from
one step to the next: input, model, the exchange of gradients and the optimizer. ``wait_fraction`` is the part of all
steps' time that was spent waiting for input. Runs alternate; each figure is the median of its runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch

from jobs import build_impressions
from roilake.config import ConversionsConfig, load_config
from roilake.job import Recorder, make_run
from roilake.lake import Lake, spark_session
from roilake.training import ConversionPlan, launch
from roilake.training.context import Context
from roilake.training.conversion_night import learnt_from, make_plan

CONF = Path(__file__).parents[2] / "conf" / "nights" / "conversions.yaml"
DS = date(1998, 3, 28)
WORKERS = (1, 2)


def main() -> None:
    args = _arguments()
    cores = len(os.sched_getaffinity(0))
    if cores < max(WORKERS):
        sys.exit(f"bench-cvr-speed: {cores} core here: two workers need two")
    config = night(args.impressions, args.steps, args.rows, args.kind)
    spark = spark_session("bench-cvr-speed", overrides={"spark.master": "local[2]"})
    folder = Path(tempfile.mkdtemp(prefix="bench-cvr-speed-"))
    try:
        figures = measure(Lake.open(spark, folder / "lake", create=True), config, args.runs)
    finally:
        spark.stop()
        shutil.rmtree(folder)
    print(json.dumps(figures), flush=True)


def night(impressions: int, steps: int, rows: int, kind: str) -> ConversionsConfig:
    """The generated night with one model, and nothing but steps in its training; a fifth of their rows is clicked."""
    config = load_config(CONF, ConversionsConfig)
    truth = config.impressions.truth
    assert truth is not None
    truth = truth.model_copy(update={"impressions": impressions, "random_pairs": 1000})
    tree = config.model_dump()
    tree["impressions"]["truth"] = truth.model_dump()
    tree["training"] |= {"clicks": rows // 5, "impressions": rows - rows // 5}
    tree["training"] |= {"steps": steps, "validate_every": steps, "checkpoint_every": steps + 1}
    return ConversionsConfig.model_validate(
        {
            **tree,
            "teachers": {},
            "committees": {},
            "models": {kind: {"kind": kind}},
            "default_model": kind,
            "gates": {},
        }
    )


def measure(lake: Lake, config: ConversionsConfig, runs: int) -> dict[str, Any]:
    """The benchmark's JSON object."""
    build_impressions.run(lake, config, DS)
    record = Recorder(lake, make_run(config, DS, "bench_cvr_speed"), 0.0)
    learnt = learnt_from(record)
    plan = make_plan(record, config, config.models, learnt)
    found: dict[int, list[dict[str, Any]]] = {workers: [] for workers in WORKERS}
    for _ in range(runs):
        for workers in WORKERS:
            held = replace(plan, training=config.training.model_copy(update={"workers": workers}))
            figures = launch(_OneThread(held), workers, lake.spark)[config.default_model]
            found[workers].append(figures)
            told = f"{figures['rows_per_second']:,.0f} rows/s, waited {figures['wait_fraction']:.2%}"
            print(f"bench-cvr-speed  workers {workers}: {told}", file=sys.stderr, flush=True)
    rates, waits = (
        {str(workers): median(each[name] for each in those) for workers, those in found.items()}
        for name in ("rows_per_second", "wait_fraction")
    )
    return {
        "rows_per_second": rates,
        "ratio": round(rates["2"] / rates["1"], 3),
        "wait_fraction": waits,
        "model": config.default_model,
        "rows_per_step": config.training.clicks + config.training.impressions,
        "steps": config.training.steps,
        "impressions": sum(file.rows for file in learnt.files),
    }


@dataclass(frozen=True)
class _OneThread:
    """The plan with one torch thread, however many cores a worker could have."""

    plan: ConversionPlan

    def __call__(self, context: Context) -> dict[str, dict[str, Any]]:
        torch.set_num_threads(1)
        return self.plan(context)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--impressions", type=int, default=300_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rows", type=int, default=20_480, help="of a step, over all workers")
    parser.add_argument("--runs", type=int, default=3, help="of each number of workers")
    parser.add_argument("--kind", default="base", help="model that is trained")
    return parser.parse_args()


if __name__ == "__main__":
    main()
