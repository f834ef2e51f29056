"""Leakage checks of a night of conversion models: no model learns from what evaluates it, nothing is known before it
happened, and nobody but the evaluation has seen the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.metrics.gates import GateResult, result_of
from roilake.metrics.night_tables import (
    NightTables,
    counted_faults,
    late_models,
    late_rows,
    overlapping_splits,
    shared_rows,
)
from roilake.pipelines.conversion.config import ConversionConfig


def check_leaks(night: NightTables, config: ConversionConfig) -> Iterator[GateResult]:
    """All checks of impressions, models and truth."""
    impressions = night.read("impressions")
    spans = night.spans("impressions", "time", "split")
    late = late_rows("impressions", spans, "split", "time", lambda split: night.end)
    yield result_of("no_shared_impressions", shared_impressions(impressions), 3)
    yield result_of("labels_known_by_the_end", impossible_labels(impressions, night.end), 3)
    yield result_of("impressions_before_end", late, 3)
    if config.impressions.split.by == "time":
        firsts = [spans[split][0] for split in ("validation", "test") if split in spans]
        yield result_of("splits_in_time", overlapping_splits("impressions", spans), 3)
        yield result_of("models_before_validation", late_models(night, min(firsts, default=night.end).date()), 3)
    inputs = {row["step"]: json.loads(row["inputs"]) for row in night.rows("runs", "step", "inputs")}
    yield result_of("truth_unseen", readers_of_truth(inputs))


def shared_impressions(impressions: DataFrame) -> Iterator[str]:
    """Impressions that are in two splits, or twice in one."""
    return shared_rows("impressions", impressions, ("impression_id",), "impression ids", once=True)


def impossible_labels(impressions: DataFrame, end: datetime) -> Iterator[str]:
    """Conversions without a click, clicks without a known conversion, and conversions that the night cannot know of."""
    click, conversion, delay = F.col("click"), F.col("conversion"), F.coalesce("delay_seconds", F.lit(0.0))
    ended = F.unix_micros("time") / 1e6 + delay
    logged = F.col("split") != "unbiased"
    faults = {
        "conversions without a click": logged & (conversion == 1) & (click == 0),
        "clicks whose conversion is unknown": logged & (click == 1) & conversion.isNull(),
        "labels that are neither 0 nor 1": ~click.isin(0, 1) | ~conversion.isin(0, 1),
        f"conversions from {end:%Y-%m-%d} on": (conversion == 1) & (ended >= end.timestamp()),
    }
    return counted_faults("impressions", impressions, faults)


def readers_of_truth(inputs: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Steps, by name, that have read what only the evaluator may."""
    for step, tables in sorted(inputs.items()):
        if "conversion_truth" in tables and step not in ("evaluate_conversions", "publish_night"):
            yield f"{step}: read conversion_truth, which only evaluate_conversions may"
