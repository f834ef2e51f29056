"""Score by every model of the night how likely clicks and conversions are, on all impressions that it is evaluated
by."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
from pyspark.sql import functions as F

from roilake.feed import files_of
from roilake.lake import TABLES, Lake
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.pairs import count_pairs, pairs_of, scoring_pairs
from roilake.pipelines.conversion.scoring import SavedModel, parts_of, saved_models, scoring
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded

EVALUATED = ("validation", "test", "unbiased")


def run(lake: Lake, config: ConversionConfig, ds: date) -> StepResult:
    """Write table ``cvr_scores``: every model and teacher on the splits validation, test and unbiased; and
    ``pair_scores``: the default model on all pairs of a user and an item of the log, unless these are more than
    ``scoring.max_pairs``."""
    with recorded(lake, config, ds, "score_conversions") as record:
        files = files_of(lake, "impressions", record.pin("impressions"), ds=ds)
        parts = parts_of([file for file in files if file.partition["split"] in EVALUATED])
        models = saved_models(record, config.evaluated, "train_cvr")
        record.rows_in = sum(part.rows for part in parts)
        numbers = lake.spark.range(0, len(parts), 1, max(len(parts), 1))
        record.write_from_tasks(["cvr_scores"], numbers, scoring(models, parts, ds))
        record.details["models"] = list(config.evaluated)
        with record.stage("pairs"):
            _score_pairs(record, config, next(model for model in models if model.name == config.default_model))
    return record.result


def _score_pairs(record: Recorder, config: ConversionConfig, model: SavedModel) -> None:
    """Write ``pair_scores``: all pairs of the night's users and items by the default model, or no row where they are
    too many."""
    lake, most = record.lake, config.scoring.max_pairs
    impressions = record.read("impressions").where(F.col("ds") == F.lit(record.run.ds))
    count = count_pairs(impressions) if most else 0
    if count > most or not count:
        record.progress(f"no pair_scores: about {count:,} pairs, scoring.max_pairs {most:,}")
        record.write("pair_scores", pa.Table.from_pylist([], schema=TABLES["pair_scores"].arrow_schema))
        return
    pairs = pairs_of(impressions, [side for side, _ in config.impressions.categories])
    buckets = lake.spark.range(0, len(pairs.buckets), 1, len(pairs.buckets))
    record.write_from_tasks(["pair_scores"], buckets, scoring_pairs(model, pairs, record.run.ds))


if __name__ == "__main__":
    main(run, "conversion")
