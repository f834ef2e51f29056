"""Rank all items for every (user, query) of the night by the default model; write the best ones."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow.compute as pc

from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.scoring import map_shards, open_night, recommend, with_keys, write_index
from roilake.pipelines.retrieval.scoring.approximate import RECALL_SCHEMA, compare, write_cells
from roilake.pipelines.retrieval.scoring.recommend import SCHEMA
from roilake.pipelines.retrieval.scoring.towers import Night, cells_path, item_vectors
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, Recorder, recorded

RECALL_REQUESTS = 1000


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """Write table ``recommendations``: for each serve request the ``scoring.top_k`` best items (all when
    there are fewer), already-seen ones left out if ``scoring.drop_seen``. With ``scoring.index: ivf`` the details hold
    ``recall_at_k`` of a keyed sample of the requests."""
    with recorded(lake, config, ds, "score_requests") as record:
        night = open_night(record, config, (config.default_model,), {ds + timedelta(days=1): "serve"})
        record.rows_in = sum(shard.rows for shard in night.shards)
        write_index(night, record.progress)
        if config.scoring.index == "ivf":
            _lay_out_cells(record, night)
        work = recommend(config.scoring.top_k, drop_seen=config.scoring.drop_seen, index=config.scoring.index)
        best = map_shards(lake.spark, night, SCHEMA, work)
        record.write("recommendations", with_keys(best, record.read("node_ids"), config.default_model, ds))
        record.details |= {"model": config.default_model, "top_k": config.scoring.top_k}
        if config.scoring.index == "ivf":
            record.details["recall_at_k"] = _recall(record, night, config)
    return record.result


def _lay_out_cells(record: Recorder, night: Night) -> None:
    (tower,) = night.towers
    for as_of in sorted({shard.as_of for shard in night.shards}):
        write_cells(item_vectors(night, tower, as_of), cells_path(night, tower, as_of), night.seed)
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
