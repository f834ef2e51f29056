"""A generated log as rows of a source, made by Spark tasks, and the probabilities behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from roilake.ingest import SourceRows, mapped, read_source, texts
from roilake.pipelines.conversion.config import ImpressionsConfig, TruthConfig
from roilake.pipelines.conversion.impressions.ingest import field_categories
from roilake.pipelines.conversion.impressions.truth import World, fit_factors, read_ratings

SCHEMA = (
    "impression_id string, time timestamp, user string, item string, click int, conversion int, "
    "delay_seconds double, click_probability double, conversion_probability double"
)
_NAMES = [column.split()[0] for column in SCHEMA.split(", ")]
_AT_ONCE = 1 << 16  # rows
_TASK = 1 << 20  # rows
_SECOND = 1_000_000  # microseconds


@dataclass(frozen=True)
class Generator:
    """A world, and the keys of its users and items. Travels to the tasks."""

    world: World
    users: NDArray[np.object_]
    items: NDArray[np.object_]

    @classmethod
    def of(cls, spark: SparkSession, truth: TruthConfig, seed: int) -> Generator:
        """Fitted to the ratings of the config. Raises SourceError where there are none."""
        source = truth.ratings
        raw = read_source(spark, source)
        key, types = "impressions.truth.ratings", {"user": "string", "item": "string", "rating": "double"}
        columns = texts(raw.rows, mapped(raw, key, {name: getattr(source, name) for name in types}))
        named = [columns[name].cast(kind).alias(name) for name, kind in types.items()]
        user_N, item_N, rating_N, users, items = read_ratings(raw.rows.select(*named).toArrow(), source.path)
        world = World(fit_factors(user_N, item_N, rating_N, seed), truth, seed)
        world.impressions(np.arange(1))  # so that means over samples travel with it: no task takes them again
        return cls(world, np.array(users, dtype=object), np.array(items, dtype=object))

    def log(self, number_N: NDArray[np.int64]) -> pa.RecordBatch:
        """Impressions of these numbers."""
        found = self.world.impressions(number_N)
        start = datetime.fromisoformat(self.world.config.start).replace(tzinfo=UTC)
        time_N = (found.seconds_N * _SECOND).astype(np.int64) + int(start.timestamp()) * _SECOND
        return pa.RecordBatch.from_arrays(
            [
                pa.array([f"t{n:010d}" for n in number_N]),
                pa.array(time_N, pa.timestamp("us", tz="UTC")),
                pa.array(self.users[found.user_N]),
                pa.array(self.items[found.item_N]),
                pa.array(found.click_N, pa.int32()),
                pa.array(found.conversion_N, pa.int32()),
                pa.array(found.delay_N, from_pandas=True),
                pa.array(found.click_probability_N),
                pa.array(found.conversion_probability_N),
            ],
            names=_NAMES,
        )

    def random(self, number_N: NDArray[np.int64], ds: date) -> pa.RecordBatch:
        """Pairs drawn at random, which nobody was shown."""
        user_N, item_N = self.world.pairs(number_N)
        size, time = len(number_N), datetime(ds.year, ds.month, ds.day, tzinfo=UTC)
        unknown = pa.nulls(size, pa.int32())
        return pa.RecordBatch.from_arrays(
            [
                pa.array([f"r{n:010d}" for n in number_N]),
                pa.array([time] * size, pa.timestamp("us", tz="UTC")),
                pa.array(self.users[user_N]),
                pa.array(self.items[item_N]),
                unknown,
                unknown,
                pa.nulls(size, pa.float64()),
                pa.array(self.world.pair_click_probability(user_N, item_N)),
                pa.array(self.world.conversion_probability(user_N, item_N)),
            ],
            names=_NAMES,
        )


def generated_rows(
    spark: SparkSession, generator: Generator, config: ImpressionsConfig, *, random: date | None = None
) -> DataFrame:
    """All rows of the log, or of the pairs drawn at random as of night ``random``, as ``source_impressions`` gives
    them, and the two probabilities. The same rows however many tasks there are."""
    truth = generator.world.config
    count = truth.random_pairs if random else truth.impressions

    def make(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            number_N = batch["id"].to_numpy()
            for start in range(0, len(number_N), _AT_ONCE):
                some_N = number_N[start : start + _AT_ONCE]
                yield generator.random(some_N, random) if random else generator.log(some_N)

    rows = spark.range(0, count, 1, -(-count // _TASK)).mapInArrow(make, SCHEMA)
    return rows.withColumns(
        {
            "fields": field_categories(SourceRows("impressions.truth", rows), config),
            "source": F.lit("drawn" if random else "generated"),
            "row_id": F.lit(None).cast("string"),
            "sampling_rate": F.lit(1.0),
            "propensity": F.lit(None).cast("double"),
            "row": F.lit(None).cast("string"),
            "reason": F.lit(None).cast("string"),
        }
    )
