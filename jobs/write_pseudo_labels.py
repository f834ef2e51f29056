"""Let every teacher of the night say how likely each unclicked impression would have converted."""

from __future__ import annotations

from datetime import date

from pyspark.sql import functions as F

from roilake.config import ConversionsConfig
from roilake.feed import files_of
from roilake.job import JobResult, Recorder, main, recorded
from roilake.lake import Lake
from roilake.scoring.conversions import labelling, parts_of, saved_models


def run(lake: Lake, config: ConversionsConfig, ds: date) -> JobResult:
    """Write table ``pseudo_labels``: each teacher on the unclicked impressions of the train split."""
    with recorded(lake, config, ds, "write_pseudo_labels") as record:
        version = record.pin("impressions")
        parts = parts_of(files_of(lake, "impressions", version, ds=ds, split="train", labelled=0))
        teachers = saved_models(record, config.teachers, "train_cvr_teacher") if config.teachers else ()
        record.rows_in = sum(part.rows for part in parts) if teachers else 0
        numbers = lake.spark.range(0, len(parts) if teachers else 0, 1, max(len(parts), 1))
        record.write_from_tasks(["pseudo_labels"], numbers, labelling(teachers, parts, ds))
        record.details["teachers"] = _figures(record)
    return record.result


def _figures(record: Recorder) -> dict[str, dict[str, float]]:
    """By teacher: rows, mean probability, and how far its two heads disagree."""
    rows = record.lake.read("pseudo_labels", version=record.outputs["pseudo_labels"])
    apart = F.col("disagreement")
    figures = (
        F.count("*").alias("rows"),
        F.avg("probability").alias("mean_probability"),
        F.avg(apart).alias("mean_disagreement"),
        F.percentile_approx(apart, 0.5).alias("median_disagreement"),
        F.percentile_approx(apart, 0.9).alias("disagreement_90"),
    )
    found = rows.where(F.col("ds") == F.lit(record.run.ds)).groupBy("teacher").agg(*figures).collect()
    return {row["teacher"]: {name: row[name] for name in row.asDict() if name != "teacher"} for row in found}


if __name__ == "__main__":
    main(run)
