"""Every job of a night at size: what the estimate said that it would cost, and what it costs. The last stdout line is
one JSON object.

``python -m tests.benchmarks.bench_night --edges 1e6``: a night of MovieLens-100K expanded to so many events, with
ZOOMER and no_graph, planned from the shipped defaults; and the next night, of a thousandth as many more, planned from
what the first one took. The session has run a night of the real events before.
"""

from __future__ import annotations

import json
import shutil
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml
from pyspark.sql import SparkSession

from roilake.lake import Lake, Publication
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.report import table_versions
from roilake.runtime.pipeline import PUBLISH, load
from roilake.runtime.registry import find
from roilake.runtime.run import make_run
from tests.benchmarks import expand_events
from tests.benchmarks.bench_scale import NIGHT, ROOT, arguments, say, session
from tests.benchmarks.measuring import Cost, measured

DS = date(1998, 4, 10)
REAL = 100_000


def main() -> None:
    parser = arguments(__doc__)
    args = parser.parse_args()
    edges = expand_events.parse_edges(args.edges)
    with session(args.cores, args.memory) as (spark, local):
        figures = measure(spark, edges, Path(args.folder) / "night", local)
    print(json.dumps({**figures, "cores": args.cores}), flush=True)


def measure(spark: SparkSession, edges: int, folder: Path, local: Path, warm_up: int = REAL) -> dict[str, Any]:
    """Steps by night, first and next. ``local`` is where Spark spills."""
    config = night_config()
    _night(spark, config, DS, warm_up, folder / "warm-up", local)
    nights = {"first": (DS, edges), "next": (DS + timedelta(days=1), max(edges // NIGHT, 1000))}
    found = {name: _night(spark, config, ds, events, folder / "lake", local) for name, (ds, events) in nights.items()}
    shutil.rmtree(folder)
    return found


def night_config() -> RetrievalConfig:
    """MovieLens with two models, four windows and no table ``edges``; expanded items have no titles to be alike in."""
    tree = yaml.safe_load((ROOT / "conf" / "nights" / "retrieval" / "movielens.yaml").read_text())
    models = {name: tree["models"][name] for name in ("zoomer", "no_graph")}
    tree |= {"models": models, "graph": {"edges": False, "similarity": None}, "gates": {}}
    tree["windows"]["train"] = 2
    tree["evaluation"]["slices"] = {"activity": {"by": "activity"}}
    return RetrievalConfig.model_validate(tree)


def _night(
    spark: SparkSession, config: RetrievalConfig, ds: date, events: int, folder: Path, local: Path
) -> dict[str, Any]:
    lake = Lake.open(spark, folder, create=True)
    expand_events.run(lake, config, ds, events, force=True)
    steps, pipeline = {}, find(config.pipeline)
    for name in pipeline.step_names[1:-1]:  # between ingest_events, in place of which it is, and publish_night
        began = time.time()
        with measured(lake.folder, local) as cost:
            result = load(f"{pipeline.module(name)}:run")(lake, config, ds)
        steps[name] = _figures(result.seconds, result.details, cost) | {"rows": result.rows_in}
        say(f"{began:.1f} {time.time():.1f} {name}: {json.dumps(steps[name])}")
    # As publish_night would: it takes no night whose events were expanded.
    versions, run = table_versions(lake, config.pipeline), make_run(config, ds, PUBLISH)
    night = Publication(run.pipeline, ds, run.run_id, versions, config.model_dump_json(), run.code_revision)
    lake.publish(night, run)
    return steps


def _figures(seconds: float, details: dict[str, Any], cost: Cost) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 1),
        "planned_seconds": details.get("planned_seconds"),
        "planned_over_spent": round(details.get("planned_seconds", 0.0) / seconds, 2),
        "cpu_seconds": round(cost.cpu_seconds, 1),
        "peak_memory_gib": round(cost.memory / 2**30, 2),
        "planned_memory_gib": round(details.get("planned_memory", 0) / 2**30, 2),
        "disk_gb": round(cost.disk / 1e9, 3),
    }


if __name__ == "__main__":
    main()
