"""The Spark session of a night, with the settings that small machines need and clusters may override."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from roilake.errors import ConfigError
from roilake.lake.jvm import start_jvm
from roilake.lake.profile import read_profile

ALWAYS = {
    "spark.sql.session.timeZone": "UTC",
    # A value that cannot be cast is null (and its row goes to quarantine), not the end of the night.
    "spark.sql.ansi.enabled": "false",
    "spark.sql.legacy.parquet.nanosAsLong": "true",  # not an error: roilake.ingest makes times of them
    "spark.sql.mapKeyDedupPolicy": "LAST_WIN",  # neither is a key that a map of a row has twice
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # pyarrow reads INT96 as zone-less
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}

DEFAULTS = {
    "spark.master": "local[2]",
    "spark.driver.memory": "3g",
    "spark.driver.host": "localhost",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "4",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # The defaults (50 and 10,000) make every tiny commit and VACUUM cost seconds.
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "1000",  # below, files are listed without a Spark job
}

SMALL_NIGHT = {
    # A night on small data is over before the optimising compiler pays: half the CPU time without it. Only where
    # nobody names a master, so that whatever measures Spark itself, or runs on a cluster, has it compile in full.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"
}


def spark_session(app: str, *, profile: Path | None = None, overrides: Mapping[str, str] | None = None) -> SparkSession:
    """Start (or get) the session. Settings come, later ones winning, from the defaults above (on this machine), the
    profile (a file in spark-defaults form), what ``spark-submit`` was told, and ``overrides``; ``ALWAYS`` stays.

    The Delta JARs are expected among Spark's own (``make env`` puts them there). Raises ConfigError for a bad
    profile, and where Spark does not start with such settings.
    """
    chosen = {**read_profile(profile), **_submitted(), **(overrides or {})}
    here = chosen.get("spark.master", "local").startswith("local")
    defaults = {**(DEFAULTS if here else {}), **({} if "spark.master" in chosen else SMALL_NIGHT)}
    settings = {**defaults, **chosen, **ALWAYS}
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    try:
        if not submitted:
            start_jvm(settings)
        builder = SparkSession.builder.appName(app)
        for key, value in settings.items():
            builder = builder.config(key, value)
        spark = builder.getOrCreate()
        spark._jsparkSession.sessionState()  # looks at the settings of SQL, too
    except (Py4JError, PySparkException) as error:
        raise ConfigError(f"{profile or 'Spark'}: Spark does not start with these settings: {said(error)}") from error
    if submitted:  # its own log is not ours
        spark.sparkContext.setLogLevel("ERROR")
    return spark


def said(error: Exception) -> str:
    """What a JVM's exception says at its root."""
    lines = [line.lstrip(": ") for line in str(error).splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    first = [line for line in lines if not line.startswith("An error occurred")] or [type(error).__name__]
    return (causes or first)[-1 if causes else 0][:300]


@contextmanager
def cached(rows: DataFrame) -> Iterator[DataFrame]:
    """Rows that are read several times, kept by Spark while the block lasts."""
    kept = rows.persist()
    try:
        yield kept
    finally:
        kept.unpersist()


def _submitted() -> dict[str, str]:
    """What spark-submit was told: it starts this process with a gateway to its JVM already open."""
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        return {}
    SparkContext._ensure_initialized()  # type: ignore[attr-defined]  # loads the JVM's settings
    return dict(SparkConf().getAll())
