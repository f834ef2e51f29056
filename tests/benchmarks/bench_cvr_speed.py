"""Rows per second of training a conversion model with one and with two Horovod workers: ``python -m
tests.benchmarks.bench_cvr_speed``. Progress on stderr, one JSON line on stdout.

``build_impressions`` writes a generated log (300,000 impressions by default) as a Delta table; petastorm feeds it to
each worker. Both train the same model by the same steps, and a step has the same rows, half of them on each of two
workers; every worker has one torch thread. A rate is rows over the time of all steps: input, model, the exchange of
gradients, and the optimizer. ``wait_fraction`` is the part of that time that was spent waiting for input. Runs
alternate; each rate is the best of its runs, for whatever else the machine does only slows them, and ``wait_fraction``
the worst.

Two workers pay in large steps only: ranks wait for each other twice a step, about a millisecond each, and two
milliseconds of a step do not depend on its rows. ``small_steps`` has the same for steps of the night's own size.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from jobs.conversion import build_impressions
from roilake.lake import Lake
from roilake.lake.session import spark_session
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.training.inputs import ConversionInputs
from roilake.pipelines.conversion.training.night import learnt_from, plan_models
from roilake.runtime.registry import load_config
from roilake.runtime.run import make_run
from roilake.runtime.step import Recorder
from roilake.training import Plan, launch
from roilake.training.context import Context

CONF = Path(__file__).parents[2] / "conf" / "nights" / "conversion" / "generated.yaml"
DS = date(1998, 3, 28)
WORKERS = (1, 2)


def main() -> None:
    args = _arguments()
    cores = len(os.sched_getaffinity(0))
    if cores < max(WORKERS):
        sys.exit(f"bench-cvr-speed: {cores} core here: two workers need two")
    config = night(args.impressions, args.kind)
    spark = spark_session("bench-cvr-speed", overrides={"spark.master": "local[2]"})
    folder = Path(tempfile.mkdtemp(prefix="bench-cvr-speed-"))
    try:
        lake = Lake.open(spark, folder / "lake", create=True)
        build_impressions.run(lake, config, DS)
        own = config.training.clicks + config.training.impressions
        figures = measure(lake, config, args.rows, args.steps, args.runs)
        figures["small_steps"] = measure(lake, config, own, args.steps, args.runs)
    finally:
        spark.stop()
        shutil.rmtree(folder)
    print(json.dumps(figures), flush=True)


def night(impressions: int, kind: str) -> ConversionConfig:
    """The generated night with one model."""
    tree = load_config(CONF).model_dump()
    tree["impressions"]["truth"] |= {"impressions": impressions, "random_pairs": 1000}
    models: dict[str, Any] = {"models": {kind: {"kind": kind}}, "default_model": kind}
    return ConversionConfig.model_validate({**tree, **models, "teachers": {}, "ensembles": {}, "gates": {}})


def measure(lake: Lake, config: ConversionConfig, rows: int, steps: int, runs: int) -> dict[str, Any]:
    """Rates and their ratio, of steps of so many rows (a fifth of them clicked) and nothing else."""
    sizes = {"clicks": rows // 5, "impressions": rows - rows // 5, "steps": steps}
    training = config.training.model_copy(update={**sizes, "validate_every": steps, "checkpoint_every": steps + 1})
    found: dict[int, list[dict[str, Any]]] = {workers: [] for workers in WORKERS}
    for run in range(runs):
        for workers in WORKERS:
            held = config.model_copy(update={"training": training.model_copy(update={"workers": workers})})
            figures = launch(_plan(lake, held, f"{rows}-{workers}-{run}"), workers, lake.spark)
            found[workers].append(figures[config.default_model])
            rate, waited = (found[workers][-1][name] for name in ("rows_per_second", "wait_fraction"))
            told = f"workers {workers}, {rows} rows a step: {rate:,.0f} rows/s, waited {waited:.2%}"
            print(f"bench-cvr-speed  {told}", file=sys.stderr, flush=True)
    rates = {str(w): max(each["rows_per_second"] for each in those) for w, those in found.items()}
    return {
        "rows_per_second": rates,
        "ratio": round(rates["2"] / rates["1"], 3),
        "wait_fraction": {str(w): max(each["wait_fraction"] for each in those) for w, those in found.items()},
        "model": config.default_model,
        "rows_per_step": rows,
        "steps": steps,
    }


def _plan(lake: Lake, config: ConversionConfig, name: str) -> _OneThread:
    record = Recorder(lake, config, make_run(config, DS, f"bench_cvr_speed/{name}"), 0.0)
    return _OneThread(plan_models(record, config, config.models, learnt_from(record)))


@dataclass(frozen=True)
class _OneThread:
    """The plan with one torch thread, however many cores a worker could have."""

    plan: Plan[ConversionInputs]

    def __call__(self, context: Context) -> dict[str, dict[str, Any]]:
        torch.set_num_threads(1)
        return self.plan(context)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--impressions", type=int, default=300_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rows", type=int, default=20_480, help="of a step, over all workers")
    parser.add_argument("--runs", type=int, default=3, help="of each number of workers")
    parser.add_argument("--kind", default="base", help="model that is trained")
    return parser.parse_args()


if __name__ == "__main__":
    main()
