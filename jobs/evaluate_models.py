"""Judge every model of the night on its validation and test windows; write metrics with their intervals."""

from __future__ import annotations

from datetime import date

from roilake.config import NightConfig
from roilake.evaluation.night import measure
from roilake.graph import plan_windows
from roilake.job import JobResult, main, recorded
from roilake.lake import Lake
from roilake.scoring import judge, map_shards, open_night, write_index
from roilake.scoring.outcomes import SCHEMA

JUDGED = ("validation", "test")


def run(lake: Lake, config: NightConfig, ds: date) -> JobResult:
    """Write table ``metrics``. With ``evaluation.max_requests``, about that many requests of a split are
    judged at most, chosen by keyed hash, so that what reaches the driver is bounded."""
    with recorded(lake, config, ds, "evaluate_models") as record:
        windows = {w.as_of: w.split for w in plan_windows(config.windows, ds, None) if w.split in JUDGED}
        night = open_night(record, config, tuple(config.models), windows)
        record.rows_in = sum(shard.rows for shard in night.shards)
        write_index(night)
        record.progress(f"item vectors of {len(night.towers)} models are laid out")
        largest = max((sum(s.rows for s in night.shards if s.split == split) for split in JUDGED), default=0)
        share = min(1.0, (config.evaluation.max_requests or largest) / max(largest, 1))
        work = judge(config.evaluation.negatives, config.seed, share, drop_seen=config.scoring.drop_seen)
        outcomes = map_shards(lake.spark, night, SCHEMA, work).toArrow()
        record.progress(f"judged {outcomes.num_rows // max(len(night.towers), 1):,} requests by each model")
        rows = measure(outcomes, config.evaluation, config.default_model, config.seed, ds, record.run.run_id)
        record.write("metrics", rows)
        record.details |= {"negatives": config.evaluation.negatives, "seed": config.seed, "share": share}
    return record.result


if __name__ == "__main__":
    main(run)
