"""Events of the night's windows -> ``requests``."""

from __future__ import annotations

from datetime import date

from pyspark.sql import functions as F

from roilake.feed import files_of
from roilake.lake import Lake
from roilake.lake.session import cached
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.graph import indexed, night_windows
from roilake.pipelines.retrieval.graph.requests import labelled_requests, serve_requests, with_first_times
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, recorded

_BROADCAST = 2_000_000
"""Nodes whose keys are sent to every executor (some 100 bytes each); more are joined by shuffling."""


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """Past windows get one row per event, the serve split one per (user, query) of the last
    ``scoring.lookback_days`` days."""
    with recorded(lake, config, ds, "build_requests") as record:
        windows = night_windows(lake, config, ds)
        earliest = min(window.as_of for window in windows)
        every = record.read("events").where(F.col("ds") <= F.lit(ds))
        events = every.where(F.col("time") >= F.lit(str(earliest)).cast("timestamp"))
        nodes = record.read("nodes").where(F.col("ds") == F.lit(ds)).select("node_type", "key", "id")
        nodes = with_first_times(nodes, every)
        small = sum(file.rows for file in files_of(lake, "nodes", record.pin("nodes"), ds=ds)) <= _BROADCAST
        with cached(indexed(events, F.broadcast(nodes) if small else nodes)) as by_id:
            record.rows_in = by_id.count()
            past = labelled_requests(by_id, windows, config.seed)
            serve = serve_requests(by_id, ds, config.scoring.lookback_days, config.seed)
            record.write("requests", past.unionByName(serve).withColumn("ds", F.lit(ds)).coalesce(1))
    return record.result


if __name__ == "__main__":
    main(run, "retrieval")
