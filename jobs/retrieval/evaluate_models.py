"""Evaluate every model of the night on its validation and test windows; choose the one that serves, and write metrics
with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from roilake.feed import files_of
from roilake.lake import Lake
from roilake.metrics.champion import Champion, champion_of
from roilake.metrics.lists import Catalogue
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.evaluation.champion import choose_champion
from roilake.pipelines.retrieval.evaluation.measures import measure
from roilake.pipelines.retrieval.evaluation.slice_attributes import field_values, fields_of, links
from roilake.pipelines.retrieval.evaluation.slices import SliceAttributes
from roilake.pipelines.retrieval.feed import FeatureStore
from roilake.pipelines.retrieval.graph import plan_windows
from roilake.pipelines.retrieval.scoring import evaluate, map_shards, open_night, with_days, write_index
from roilake.pipelines.retrieval.scoring.outcomes import SCHEMA
from roilake.pipelines.retrieval.scoring.pinned import Night
from roilake.pipelines.retrieval.scoring.towers import Worker
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded

SPLITS = ("validation", "test")


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """Write tables ``champions`` and ``metrics``. With ``evaluation.max_requests``, about that many requests of a split
    are evaluated at most, chosen by keyed hash, so that what reaches the driver is bounded. Where seen items are left
    out (``evaluation.seen``), details ``seen_positives`` and ``requests_left_out`` count the positives that are, and
    the requests that have no other."""
    with recorded(lake, config, ds, "evaluate_models") as record:
        windows = {w.as_of: w.split for w in plan_windows(config.windows, ds, None) if w.split in SPLITS}
        night = open_night(record, config, tuple(config.models), windows)
        night = replace(night, adjacency=files_of(lake, "adjacency", record.pin("adjacency"), ds=ds))
        record.rows_in = sum(shard.rows for shard in night.shards)
        write_index(night, record.progress)
        outcomes, share = _outcomes(record, config, night)
        requests = outcomes.num_rows // max(len(night.towers), 1)
        record.progress(f"evaluated each model on {requests:,} requests")
        store = Worker(night).store()
        catalogues = {as_of: _catalogue(store, as_of) for as_of in windows}
        activity = {as_of: store.degrees("user", as_of) for as_of in windows}
        champion = _champion(record, config, outcomes)
        attributes = _slice_attributes(record, config, outcomes, activity, champion.model)
        settings = (config.evaluation, champion.model, config.seed, ds, record.run.run_id)
        record.progress(f"measures {len(config.models)} models on all requests and on slices")
        record.write("metrics", measure(outcomes, catalogues, attributes, *settings))
        record.details |= {"negatives": config.evaluation.negatives, "seed": config.seed, "share": share}
    return record.result


def _champion(record: Recorder, config: RetrievalConfig, outcomes: pa.Table) -> Champion:
    """Who serves the night, written."""
    lake, ds = record.lake, record.run.ds
    last = lake.publication(config.pipeline, before=ds)
    champion = choose_champion(outcomes, config, champion_of(lake, last) if last else None, ds)
    record.write("champions", champion.to_table(ds))
    return champion


def _catalogue(store: FeatureStore, as_of: date) -> Catalogue:
    """The night's items as of a window."""
    events_I, known_I = store.degrees("item", as_of), store.known("item")
    total, count = float((events_I[known_I] + 1).sum()), int(known_I.sum())
    return Catalogue(events_I, store.features(as_of)["item"].interest_ND.numpy(), total, count)


def _outcomes(record: Recorder, config: RetrievalConfig, night: Night) -> tuple[pa.Table, float]:
    """What every model did with every evaluated request, and the share of the requests that is evaluated."""
    largest = max((sum(s.rows for s in night.shards if s.split == split) for split in SPLITS), default=0)
    share = min(1.0, (config.evaluation.max_requests or largest) / max(largest, 1))
    negatives, depth = config.evaluation.negatives, config.evaluation.list_length
    work = evaluate(negatives, config.seed, share, depth=depth)
    outcomes = _judged(record, map_shards(record.lake.spark, night, SCHEMA, work).toArrow())
    evaluated = pc.field("request_id").isin(pc.unique(outcomes["request"]))
    requests = record.rows("requests", split=SPLITS, columns=("request_id", "item", "time"))
    return with_days(outcomes, requests.filter(evaluated)), share


def _judged(record: Recorder, outcomes: pa.Table) -> pa.Table:
    """Outcomes of requests that have a positive. What is left out is counted in the details, once for all models."""
    left = pc.greater(pc.list_value_length(outcomes["items"]), 0)
    requests = (
        outcomes.append_column("left", left)
        .group_by(["split", "request"])
        .aggregate([("seen", "min"), ("left", "min")])
    )
    record.details["seen_positives"] = pc.sum(requests["seen_min"]).as_py() or 0
    record.details["requests_left_out"] = pc.sum(pc.invert(requests["left_min"])).as_py() or 0
    return outcomes.filter(left)


def _slice_attributes(
    record: Recorder, config: RetrievalConfig, outcomes: pa.Table, activity: Mapping[date, object], model: str
) -> SliceAttributes:
    """What the slices of the config ask for; every model has the same positives."""
    slices = tuple(config.evaluation.slices.values())
    nodes = {
        kind: record.rows("nodes", node_type=kind, columns=("id", "fields"))
        for kind in sorted({kind for kind, _ in fields_of(slices)})
    }
    fields = {(kind, name): field_values(nodes[kind], name) for kind, name in fields_of(slices)}
    linked = None
    if any(cut.by == "edge_type" for cut in slices):
        mine = outcomes.filter(pc.field("model") == model)
        positives = _positives(mine)
        edges = record.read("edges").where(F.col("ds") == F.lit(record.run.ds))
        starts = pc.unique(positives["as_of"]).to_pylist()
        linked = links(edges.where(F.col("as_of").isin(starts)), positives)
    return SliceAttributes(fields, activity, linked)  # type: ignore[arg-type]


def _positives(outcomes: pa.Table) -> pa.Table:
    """One row per positive: as_of, request, user, query, item."""
    row_P = pc.list_parent_indices(outcomes["items"].combine_chunks())
    spread = outcomes.select(["as_of", "request", "user", "query"]).take(row_P)
    return spread.append_column("item", pc.list_flatten(outcomes["items"]))


if __name__ == "__main__":
    main(run, "retrieval")
