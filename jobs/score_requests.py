"""Rank all items for every (user, query) of the night by the default model; write the best ones."""

from __future__ import annotations

from datetime import date, timedelta

from roilake.config import NightConfig
from roilake.job import JobResult, main, recorded
from roilake.lake import Lake
from roilake.scoring import map_shards, open_night, recommend, with_keys, write_index
from roilake.scoring.recommend import SCHEMA


def run(lake: Lake, config: NightConfig, ds: date) -> JobResult:
    """Write table ``recommendations``: for each serve request the ``scoring.top_k`` best items (all when
    there are fewer), already-seen ones left out if ``scoring.drop_seen``."""
    with recorded(lake, config, ds, "score_requests") as record:
        night = open_night(record, config, (config.default_model,), {ds + timedelta(days=1): "serve"})
        record.rows_in = sum(shard.rows for shard in night.shards)
        write_index(night, record.progress)
        work = recommend(config.scoring.top_k, drop_seen=config.scoring.drop_seen)
        best = map_shards(lake.spark, night, SCHEMA, work)
        record.write("recommendations", with_keys(best, record.read("node_ids"), config.default_model, ds))
        record.details |= {"model": config.default_model, "top_k": config.scoring.top_k}
    return record.result


if __name__ == "__main__":
    main(run)
