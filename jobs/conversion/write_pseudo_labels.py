"""Predict by every teacher of the night how likely each unclicked impression would have converted."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
from pyspark.sql import functions as F

from roilake.feed import files_of
from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.models.ensemble import weights
from roilake.pipelines.conversion.scoring import Teacher, labelling, parts_of, saved_models
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded


def run(lake: Lake, config: ConversionConfig, ds: date) -> StepResult:
    """Write table ``pseudo_labels``: each teacher that a model learns from, on the unclicked impressions of the train
    split."""
    with recorded(lake, config, ds, "write_pseudo_labels") as record:
        version = record.pin("impressions")
        parts = parts_of(files_of(lake, "impressions", version, ds=ds, split="train", labelled=0))
        teachers = _teachers(record, config)
        record.rows_in = sum(part.rows for part in parts) if teachers else 0
        numbers = lake.spark.range(0, len(parts) if teachers else 0, 1, max(len(parts), 1))
        record.write_from_tasks(["pseudo_labels"], numbers, labelling(teachers, parts, ds))
        record.details["teachers"] = _figures(record)
        record.details["ensembles"] = {
            each.name: {m.name: round(w, 4) for m, w in zip(each.members, each.weights, strict=True)}
            for each in teachers
            if each.name in config.ensembles
        }
    return record.result


def _teachers(record: Recorder, config: ConversionConfig) -> tuple[Teacher, ...]:
    """All that models learn from. Members of an ensemble weigh by how well they rank the validation clicks."""
    needed = [(name, config.ensembles.get(name, (name,))) for name in config.labelling_teachers]
    wanted = sorted({member for _, members in needed for member in members})
    saved = {model.name: model for model in saved_models(record, wanted, "train_cvr_teacher")} if wanted else {}
    conversions, others = _validation_clicks(record) if config.ensembles else (0, 0)
    found = []
    for name, members in needed:
        models = tuple(saved[member] for member in members)
        if name not in config.ensembles:
            found.append(Teacher.alone(models[0]))
            continue
        auc_M = np.array([math.nan if model.auc is None else model.auc for model in models])
        weight_M = weights(auc_M, conversions, others)
        found.append(Teacher(name, models, tuple(weight_M), f"{name}@{record.run.ds}/{record.run.run_id}"))
        shares = (f"{model.name} {weight:.2f}" for model, weight in zip(models, weight_M, strict=True))
        record.progress(f"{name}: {', '.join(shares)}")
    return tuple(found)


def _validation_clicks(record: Recorder) -> tuple[int, int]:
    """Clicks of the validation split that converted, and those that did not."""
    clicks = (F.col("ds") == F.lit(record.run.ds)) & (F.col("split") == "validation") & (F.col("click") == 1)
    found = record.read("impressions").where(clicks).agg(F.count("*"), F.sum("conversion")).first()
    count, converted = (found[0], found[1] or 0) if found else (0, 0)
    return converted, count - converted


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
    main(run, "conversion")
