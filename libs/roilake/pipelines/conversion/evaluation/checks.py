"""What is audited of a night before it is published, beside what every pipeline's is. Leaks: no model learns from what
evaluates it, nothing is known before it happened, and nobody but the evaluation has seen the truth. And whether every
impression has its scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.lake import Lake
from roilake.metrics.gates import GateResult, Measured, result_of
from roilake.metrics.leakage import check_leak, check_shuffled
from roilake.metrics.night_tables import (
    NightTables,
    counted_faults,
    late_models,
    late_rows,
    overlapping_splits,
    shared_rows,
)
from roilake.metrics.slices import ALL
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.metrics import IMPRESSION

SCORED = ("validation", "test", "unbiased")
FEW = 10
"""An AUC of fewer positives may be perfect by chance: it is not taken for a leak."""


def filled(config: ConversionConfig) -> list[str]:
    """Tables that the night must have rows of."""
    optional = {"conversion_truth": config.impressions.truth, "pseudo_labels": config.labelling_teachers}
    wanted = [table for table, reason in optional.items() if reason]
    return ["impressions", *wanted, "models", "cvr_scores", "metrics"]


def checks(
    lake: Lake, config: ConversionConfig, ds: date, versions: Mapping[str, int], now: Measured
) -> Iterator[GateResult]:
    """All checks of night ``ds`` at these table versions; ``now`` are its metrics."""
    night = NightTables(lake, config.pipeline, ds, versions)
    yield from check_metrics(now)
    yield from check_leaks(night, config)
    yield result_of("scores_complete", missing_scores(night, config.evaluated), 3)
    yield result_of("scores_are_probabilities", odd_scores(night.read("cvr_scores")), 3)
    if config.labelling_teachers:
        yield result_of("pseudo_labels_complete", missing_labels(night, config.labelling_teachers), 3)


def check_metrics(now: Measured) -> Iterator[GateResult]:
    """Shuffled labels are worth nothing, and nobody knows clicks or conversions beforehand."""
    yield from check_shuffled(now, "evaluate_conversions")
    for metric, name in {"auc": "clicked", **dict.fromkeys(IMPRESSION, ALL)}.items():
        yield from check_leak(now, {metric: name}, FEW)


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


def missing_scores(night: NightTables, models: tuple[str, ...]) -> Iterator[str]:
    """Models and splits with more or fewer rows than impressions."""
    shown, scored = night.count("impressions", "split"), night.count("cvr_scores", "model", "split")
    for model in models:
        for split in SCORED:
            wanted, found = shown.get((split,), 0), scored.get((model, split), 0)
            if wanted != found:
                yield f"cvr_scores: {found} rows of {model} on split {split}, must be {wanted}"


def missing_labels(night: NightTables, teachers: tuple[str, ...]) -> Iterator[str]:
    """Teachers with more or fewer pseudo-labels than unclicked impressions to learn from."""
    wanted = night.count("impressions", "split", "labelled").get(("train", "0"), 0)
    labels = night.count("pseudo_labels", "teacher")
    for teacher in teachers:
        found = labels.get((teacher,), 0)
        if wanted != found:
            yield f"pseudo_labels: {found} rows of {teacher}, must be {wanted}"


def odd_scores(scores: DataFrame) -> Iterator[str]:
    """Scores that are no probabilities, or do not multiply."""
    ctr, cvr, both = (F.isnan(name) | ~F.col(name).between(0, 1) for name in ("pctr", "pcvr", "pctcvr"))
    product = F.abs(F.col("pctr") * F.col("pcvr") - F.col("pctcvr")) > 1e-6
    alone = F.col("pctr").isNull() != F.col("pctcvr").isNull()
    faults = {
        "probabilities outside 0 to 1": ctr | cvr | both,
        "rows whose pctcvr is not pctr times pcvr": product | alone,
    }
    return counted_faults("cvr_scores", scores, faults)
