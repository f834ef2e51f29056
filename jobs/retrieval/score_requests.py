"""Rank all items for every (user, query) of the night by the model that serves; write the best ones."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow.compute as pc
from pyspark.sql import functions as F

from roilake.errors import LakeError
from roilake.feed import files_of
from roilake.lake import DataFile, Lake, count_nulls
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.scoring import map_shards, open_night, recommend, with_keys, write_index
from roilake.pipelines.retrieval.scoring.approximate import RECALL_SCHEMA, compare, write_cells
from roilake.pipelines.retrieval.scoring.pinned import Night, cells_path, item_vectors
from roilake.pipelines.retrieval.scoring.recommend import SCHEMA
from roilake.pipelines.retrieval.scoring.towers import Worker
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded

RECALL_REQUESTS = 1000


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """Write table ``recommendations``: for each serve request the ``scoring.top_k`` best items (all when
    there are fewer), seen ones left out if ``evaluation.seen`` says so, in the order of ``scoring.rank_by``. With
    ``scoring.index: ivf`` the details hold ``recall_at_k`` of a keyed sample of the requests."""
    with recorded(lake, config, ds, "score_requests") as record:
        model = _served(record, config)
        night = open_night(record, config, (model,), {ds + timedelta(days=1): "serve"})
        record.rows_in = sum(shard.rows for shard in night.shards)
        write_index(night, record.progress)
        if config.scoring.index == "ivf":
            _lay_out_cells(record, night)
        work = recommend(config.scoring, _pair_scores(record, config))
        best = map_shards(lake.spark, night, SCHEMA, work)
        nodes = record.read("nodes").where(F.col("ds") == F.lit(ds))
        record.write("recommendations", with_keys(best, nodes, model, ds))
        record.details |= {"model": model, "top_k": config.scoring.top_k}
        if config.scoring.index == "ivf":
            record.details["recall_at_k"] = _recall(record, night, config)
    return record.result


def _served(record: Recorder, config: RetrievalConfig) -> str:
    """The model that the evaluation has chosen. Raises LakeError where it has not, or not from this config."""
    found: list[str] = record.rows("champions", columns=("model",))["model"].to_pylist()
    if not set(found) & set(config.models):
        problem = f"{found[0]!r} serves, and is no model of this config" if found else "no model is chosen"
        raise LakeError(f"champions: {problem} for {record.run.ds}; run evaluate_models for this night first")
    return found[0]


def _pair_scores(record: Recorder, config: RetrievalConfig) -> tuple[DataFile, ...]:
    """Files of the conversion pipeline's probabilities of pairs, if a night of it is published. Raises LakeError
    where items are to be ranked by them and there are none."""
    found = record.upstream("conversion", "pair_scores")
    files: tuple[DataFile, ...] = ()
    clicks = 0  # pairs whose probability of a click is known
    if found:
        version, where = found.versions["pair_scores"], {"ds": found.ds}
        files = files_of(record.lake, "pair_scores", version, **where)
        rows = sum(file.rows for file in files)
        clicks = rows - count_nulls(record.lake, "pair_scores", version, filters=where)["pctr"]
    if config.scoring.rank_by == "pctcvr" and not clicks:
        raise LakeError(
            f"scoring.rank_by: pctcvr: the last conversion night up to {record.run.ds} has no probabilities of clicks "
            "and conversions of pairs; raise its scoring.max_pairs, or name a default_model that predicts clicks"
        )
    return files


def _lay_out_cells(record: Recorder, night: Night) -> None:
    (tower,), absent = night.towers, Worker(night).absent_items()
    for as_of in sorted({shard.as_of for shard in night.shards}):
        write_cells(item_vectors(night, tower, as_of), cells_path(night, tower, as_of), night.seed, absent)
        record.progress(f"{tower.name} has cells as of {as_of}")


def _recall(record: Recorder, night: Night, config: RetrievalConfig) -> float | None:
    """Part of the exact lists of some ``RECALL_REQUESTS`` requests that the approximate ones hold."""
    share = RECALL_REQUESTS / max(record.rows_in, 1)
    work = compare(config.scoring.top_k, share, config.seed)
    counts = map_shards(record.lake.spark, night, RECALL_SCHEMA, work).toArrow()
    found, asked = (pc.sum(counts[name]).as_py() for name in RECALL_SCHEMA.names)
    return round(found / asked, 5) if asked else None


if __name__ == "__main__":
    main(run, "retrieval")
