"""Leakage checks of a night of conversion models: nothing is learnt that is judged, nothing is known before it happened, and
nobody but the evaluator has seen the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.lake import Lake, extremes
from roilake.metrics.bounds import Measured
from roilake.metrics.gate_result import GateResult, result_of
from roilake.metrics.leakage import check_leak, check_shuffled
from roilake.metrics.names import IMPRESSION
from roilake.pipelines.conversion.config import ConversionConfig

SCORED = ("validation", "test", "unbiased")
FEW = 10
"""An AUC of fewer positives may be perfect by chance: it is not taken for a leak."""


def filled(config: ConversionConfig) -> list[str]:
    """Tables that the night must have rows of."""
    tables = {
        "impressions": True,
        "conversion_truth": config.impressions.truth is not None,
        "pseudo_labels": bool(config.heard),
        "models": True,
        "cvr_scores": True,
        "metrics": True,
    }
    return [table for table, wanted in tables.items() if wanted]


def check_metrics(now: Measured) -> Iterator[GateResult]:
    """Shuffled labels are worth nothing, and nobody knows clicks or conversions beforehand."""
    yield from check_shuffled(now, "evaluate_conversions")
    yield from check_leak(now, {"auc": "clicked", **dict.fromkeys(IMPRESSION, "all")}, FEW)


@dataclass(frozen=True)
class _Night:
    lake: Lake
    ds: date
    versions: Mapping[str, int]

    @property
    def end(self) -> datetime:
        return datetime.combine(self.ds + timedelta(days=1), time(), UTC)

    def read(self, table: str) -> DataFrame:
        """The night's own rows."""
        return self.lake.read(table, version=self.versions[table]).where(F.col("ds") == F.lit(self.ds))

    def count(self, table: str, *keys: str) -> dict[tuple[str, ...], int]:
        """The night's rows by partition values."""
        found: dict[tuple[str, ...], int] = {}
        for file in self.lake.active_files(table, self.versions[table]):
            if file.partition["ds"] == str(self.ds):
                place = tuple(file.partition[key] for key in keys)
                found[place] = found.get(place, 0) + file.rows
        return found


def check_tables(
    lake: Lake, config: ConversionConfig, ds: date, versions: Mapping[str, int]
) -> Iterator[GateResult]:
    """All checks of impressions, models and truth of night ``ds`` at these versions."""
    night = _Night(lake, ds, versions)
    impressions = night.read("impressions")
    yield result_of("no_shared_impressions", shared_impressions(impressions), 3)
    yield result_of("labels_known_by_the_end", impossible_labels(impressions, night.end), 3)
    yield result_of("impressions_before_end", late_impressions(night), 3)
    if config.impressions.split.by == "time":
        yield result_of("splits_in_time", overlapping_splits(night), 3)
        yield result_of("models_before_validation", late_models(night), 3)
    runs = lake.to_arrow("runs", versions["runs"], filters={"ds": ds}, columns=("job", "inputs")).to_pylist()
    yield result_of("truth_unseen", readers_of_truth({row["job"]: json.loads(row["inputs"]) for row in runs}))


def shared_impressions(impressions: DataFrame) -> Iterator[str]:
    """Impressions that are in two splits, or twice in one."""
    counts = (F.count("*").alias("rows"), F.min("split").alias("first"), F.max("split").alias("last"))
    doubled = impressions.groupBy("impression_id").agg(*counts).where("rows > 1")
    for row in sorted(doubled.groupBy("first", "last").count().collect()):
        where = (
            f"twice in {row['first']}"
            if row["first"] == row["last"]
            else f"both in {row['first']} and in {row['last']}"
        )
        yield f"impressions: {row['count']} {where}, must be 0"


def impossible_labels(impressions: DataFrame, end: datetime) -> Iterator[str]:
    """Conversions without a click, clicks without a known conversion, and conversions that the night cannot know of."""
    click, conversion, delay = F.col("click"), F.col("conversion"), F.coalesce("delay_seconds", F.lit(0.0))
    ended = F.unix_micros("time") / 1e6 + delay
    logged = F.col("split") != "unbiased"
    faults = {
        "conversions without a click": logged & (conversion == 1) & (click == 0),
        "clicks whose conversion is not told": logged & (click == 1) & conversion.isNull(),
        "labels that are neither 0 nor 1": ~click.isin(0, 1) | ~conversion.isin(0, 1),
        f"conversions from {end:%Y-%m-%d} on": (conversion == 1) & (ended >= end.timestamp()),
    }
    sums = [F.sum(F.coalesce(fault, F.lit(False)).cast("long")).alias(name) for name, fault in faults.items()]
    found = impressions.agg(*sums).first()
    for name, count in (found.asDict() if found else {}).items():
        if count:
            yield f"impressions: {count} {name}, must be 0"


def late_impressions(night: _Night) -> Iterator[str]:
    """Splits that hold an impression from after the night."""
    for split, (_, last) in sorted(_times(night).items()):
        if last >= night.end:
            yield f"impressions: {split} holds one of {last:%Y-%m-%d %H:%M:%S}, must be before {night.end:%Y-%m-%d}"


def overlapping_splits(night: _Night) -> Iterator[str]:
    """Neighbouring splits whose times overlap."""
    times = _times(night)
    for early, late in pairwise(split for split in ("train", "validation", "test") if split in times):
        last, first = times[early][1], times[late][0]
        if last >= first:
            yield f"impressions: {early} reaches {last:%Y-%m-%d %H:%M:%S}, must end before {late} starts ({first})"


def late_models(night: _Night) -> Iterator[str]:
    """Models that have learnt from days they are chosen or judged by."""
    times = _times(night)
    first = min(
        (times[split][0] for split in ("validation", "test") if split in times), default=night.end
    ).date()
    models = night.lake.to_arrow("models", night.versions["models"], filters={"ds": night.ds})
    for row in models.select(["name", "train_end"]).to_pylist():
        if row["train_end"] > first:
            yield f"models: {row['name']} was trained until {row['train_end']}, must be at most {first}"


def _times(night: _Night) -> dict[str, tuple[datetime, datetime]]:
    """First and last time by split."""
    where = {"ds": night.ds}
    found = extremes(
        night.lake, "impressions", night.versions["impressions"], "time", ("split",), filters=where
    )
    return {split: span for (split,), span in found.items()}


def readers_of_truth(inputs: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Jobs, by name, that have read what only the evaluator may."""
    for job, tables in sorted(inputs.items()):
        if "conversion_truth" in tables and job not in ("evaluate_conversions", "publish_night"):
            yield f"{job}: read conversion_truth, which only evaluate_conversions may"


def check_scores(
    lake: Lake, config: ConversionConfig, ds: date, versions: Mapping[str, int]
) -> Iterator[GateResult]:
    """Every model has said of every impression that is judged, and every teacher of every unclicked one."""
    night = _Night(lake, ds, versions)
    yield result_of("scores_complete", missing_scores(night, config.judged), 3)
    yield result_of("scores_are_probabilities", odd_scores(night.read("cvr_scores")), 3)
    if config.heard:
        yield result_of("pseudo_labels_complete", missing_labels(night, config.heard), 3)


def missing_scores(night: _Night, models: tuple[str, ...]) -> Iterator[str]:
    """Models and splits with more or fewer rows than impressions."""
    shown, scored = night.count("impressions", "split"), night.count("cvr_scores", "model", "split")
    for model in models:
        for split in SCORED:
            wanted, found = shown.get((split,), 0), scored.get((model, split), 0)
            if wanted != found:
                yield f"cvr_scores: {found} rows of {model} on split {split}, must be {wanted}"


def missing_labels(night: _Night, teachers: tuple[str, ...]) -> Iterator[str]:
    """Teachers with more or fewer pseudo-labels than unclicked impressions to learn from."""
    wanted = night.count("impressions", "split", "labelled").get(("train", "0"), 0)
    labels = night.count("pseudo_labels", "teacher")
    for teacher in teachers:
        found = labels.get((teacher,), 0)
        if wanted != found:
            yield f"pseudo_labels: {found} rows of {teacher}, must be {wanted}"


def odd_scores(scores: DataFrame) -> Iterator[str]:
    """Scores that are no probabilities, or do not multiply."""
    odd = [
        F.coalesce(F.isnan(name) | ~F.col(name).between(0, 1), F.lit(False))
        for name in ("pctr", "pcvr", "pctcvr")
    ]
    product = F.abs(F.col("pctr") * F.col("pcvr") - F.col("pctcvr")) > 1e-6
    alone = F.col("pctr").isNull() != F.col("pctcvr").isNull()
    faults = {
        "probabilities outside 0 to 1": odd[0] | odd[1] | odd[2],
        "rows whose pctcvr is not pctr times pcvr": F.coalesce(product, F.lit(False)) | alone,
    }
    found = scores.agg(*(F.sum(fault.cast("long")).alias(name) for name, fault in faults.items())).first()
    for name, count in (found.asDict() if found else {}).items():
        if count:
            yield f"cvr_scores: {count} {name}, must be 0"
