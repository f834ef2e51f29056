"""What is audited of a night before it is published, beside what every pipeline's is: leaks, and whether every
impression has its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.lake import Lake
from roilake.metrics.gates import GateResult, Measured, result_of
from roilake.metrics.leakage import check_leak, check_shuffled
from roilake.metrics.night_tables import NightTables, counted_faults
from roilake.metrics.slices import ALL
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.evaluation.leaks import check_leaks
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
    yield from check_leak(now, {"auc": "clicked", **dict.fromkeys(IMPRESSION, ALL)}, FEW)


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
