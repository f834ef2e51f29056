"""Let every model of the night say how likely clicks and conversions are, on all impressions that it is judged by."""

from __future__ import annotations

from datetime import date

from roilake.feed import files_of
from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.scoring import parts_of, saved_models, scoring
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, recorded

JUDGED = ("validation", "test", "unbiased")


def run(lake: Lake, config: ConversionConfig, ds: date) -> StepResult:
    """Write table ``cvr_scores``: every model and teacher on the splits validation, test and random."""
    with recorded(lake, config, ds, "score_conversions") as record:
        files = files_of(lake, "impressions", record.pin("impressions"), ds=ds)
        parts = parts_of([file for file in files if file.partition["split"] in JUDGED])
        models = saved_models(record, config.evaluated, "train_cvr")
        record.rows_in = sum(part.rows for part in parts)
        numbers = lake.spark.range(0, len(parts), 1, max(len(parts), 1))
        record.write_from_tasks(["cvr_scores"], numbers, scoring(models, parts, ds))
        record.details["models"] = list(config.evaluated)
    return record.result


if __name__ == "__main__":
    main(run, "conversion")
