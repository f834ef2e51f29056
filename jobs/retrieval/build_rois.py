"""Requests, the graph and interest vectors -> ``rois``: the region of interest of every request and every item."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date

import pyarrow as pa
from pyspark.sql import functions as F

from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RELEVANCE, RelevanceWeights, RetrievalConfig
from roilake.pipelines.retrieval.graph import last_model
from roilake.pipelines.retrieval.roi import Choice, Plan, Tables, item_events, planned, request_events
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """Trees of every request and, per window, of every item, cut from the graph as of the window's start; the user's
    side of a request from his own events before its time."""
    with recorded(lake, config, ds, "build_rois") as record:
        versions = Tables(*(record.pin(table) for table in Tables._fields))
        requests = record.read("requests").where(F.col("ds") == F.lit(ds))
        as_ofs = sorted(row["as_of"] for row in requests.select("as_of").distinct().collect())
        nodes = record.read("nodes").where(F.col("ds") == F.lit(ds))
        events, items = request_events(requests, config.roi.shards), item_events(nodes, as_ofs)
        record.rows_in = events.count() + items.count()
        weights = relevance_weights(lake, config, ds)
        record.details["weights"] = weights.model_dump()
        with planned(lake, config, ds, events, items, record.rows_in, as_ofs, versions, weights) as (plan, choice):
            _write(record, plan, choice)
    return record.result


def relevance_weights(lake: Lake, config: RetrievalConfig, ds: date) -> RelevanceWeights:
    """Those of the config, or with ``roi.relevance: learned`` those that the last published model has learnt, if
    any."""
    last = last_model(lake, config, ds) if config.roi.relevance == "learned" else None
    learnt = last.folder / RELEVANCE if last else None
    if learnt is None or not learnt.exists():
        return config.roi.weights
    return RelevanceWeights.model_validate_json(learnt.read_text())


def _write(record: Recorder, plan: Plan, choice: Choice) -> None:
    """Write, and set what it took beside the estimate."""
    ds, finish = record.run.ds, plan.finish

    def make(part: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        for rows in finish(part):
            yield "rois", rows.append_column("ds", pa.repeat(pa.scalar(ds), len(rows)))

    record.progress(choice.why)
    began = time.monotonic()
    record.write_from_tasks(("rois",), plan.parts, make)
    seconds, rows = time.monotonic() - began, max(1, record.rows_out)
    record.details |= {
        **asdict(choice),
        "rois_per_second": round(rows / seconds, 1),
        "bytes_per_roi": round(record.bytes / rows, 1),
        "seconds_per_million": round(1e6 * seconds / rows, 1),
    }


if __name__ == "__main__":
    main(run, "retrieval")
