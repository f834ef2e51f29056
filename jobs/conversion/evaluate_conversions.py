"""Evaluate every conversion model on clicks, impressions and pairs drawn at random; write metrics with intervals."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.evaluation.measures import UNBIASED, measure
from roilake.pipelines.conversion.evaluation.predictions import EvaluatedImpressions, Predictions
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded

KNOWN = ("impression_id", "user", "click", "conversion", "sampling_rate")
PREDICTED = ("impression_id", "pctr", "pcvr", "pctcvr")
SPLITS = ("validation", "test", UNBIASED)
HASHES = 1 << 20


def run(lake: Lake, config: ConversionConfig, ds: date) -> StepResult:
    """Write table ``metrics``. With ``evaluation.max_impressions``, about that many impressions of a split are
    evaluated at most, chosen by a hash of their id, so that what reaches the driver is bounded."""
    with recorded(lake, config, ds, "evaluate_conversions") as record:
        impressions: dict[str, EvaluatedImpressions] = {}
        predictions: dict[str, dict[str, Predictions]] = {}
        shares: dict[str, float] = {}
        for split in SPLITS:
            files = lake.active_files("impressions", record.pin("impressions"), ds=ds, split=split)
            count = sum(file.rows for file in files)
            if not count:
                continue
            shares[split] = min(1.0, (config.evaluation.max_impressions or count) / count)
            known = impressions[split] = _impressions(record, config, split, shares[split])
            record.rows_in += len(known.ids)
            predictions[split] = {}
            for model in config.evaluated:
                rows = _read(record, "cvr_scores", PREDICTED, shares[split], model=model, split=split)
                predictions[split][model] = Predictions.of(rows, known, model)
            record.progress(f"evaluates each model on {len(known.ids):,} impressions of split {split}")
        settings = (config.default_model, config.evaluation.bootstrap, config.seed, ds, record.run.run_id)
        record.write("metrics", measure(impressions, predictions, *settings))
        record.details |= {"seed": config.seed, "shares": shares}
    return record.result


def _impressions(record: Recorder, config: ConversionConfig, split: str, share: float) -> EvaluatedImpressions:
    """About a ``share`` of the impressions of a split, with their truth where it is known."""
    impressions = _read(record, "impressions", KNOWN, share, split=split)
    if split != UNBIASED or config.impressions.truth is None:
        return EvaluatedImpressions.of(impressions)
    names = ("impression_id", "click_probability", "conversion_probability")
    truth = _read(record, "conversion_truth", names, share)
    evaluated = truth.filter(pc.is_in(truth["impression_id"], impressions["impression_id"]))
    return EvaluatedImpressions.of(impressions, evaluated)


def _read(record: Recorder, table: str, columns: tuple[str, ...], share: float, **where: str) -> pa.Table:
    """Columns of the night's rows of these partitions; of a ``share`` of the impressions, where that is not all."""
    if share >= 1:
        return record.rows(table, columns=columns, **where)
    rows = record.read(table).where(F.col("ds") == F.lit(record.run.ds))
    for name, value in where.items():
        rows = rows.where(F.col(name) == value)
    drawn = F.pmod(F.xxhash64("impression_id"), F.lit(HASHES)) < int(share * HASHES)
    return rows.where(drawn).select(*columns).toArrow()


if __name__ == "__main__":
    main(run, "conversion")
