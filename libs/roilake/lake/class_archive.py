"""The classes that Spark loads as it starts, parsed once: by ``python -m roilake.lake.class_archive`` (``make env``).

A JVM maps the archive in place of reading and verifying some 15,000 classes: 3 s of CPU less a process. It belongs to
the JARs and the JVM that it was made with; with others the JVM leaves it aside."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyspark
from pyspark import SparkContext
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

ARCHIVE = Path(pyspark.__file__).with_name("roilake.jsa")


def java_option() -> str:
    """What lets a JVM use the archive; empty where there is none."""
    return f"-XX:SharedArchiveFile={ARCHIVE}" if ARCHIVE.exists() and " " not in str(ARCHIVE) else ""


def _work(spark: SparkSession, folder: str) -> None:
    """What most steps do: files read and written, rows joined, counted, ordered, and given to Python."""
    spark.range(1000).selectExpr("id", "cast(id as string) as key").write.option("header", True).csv(f"{folder}/csv")
    rows = spark.read.option("header", True).csv(f"{folder}/csv").selectExpr("cast(id as long) as id", "key")
    last = Window.partitionBy(F.col("id") % 3).orderBy(F.col("key").desc())
    ranked = rows.withColumn("rank", F.row_number().over(last)).withColumn("row", F.to_json(F.struct("id", "key")))
    ranked.write.parquet(f"{folder}/parquet")
    kept = spark.read.parquet(f"{folder}/parquet").persist()
    counted = F.broadcast(rows.groupBy("key").count())
    kept.join(counted, "key", "left_anti").unionByName(kept.select("key", "id", "rank", "row")).count()
    joined = kept.join(rows.hint("merge").select("key"), "key")
    joined.groupBy("rank").agg(F.count_distinct("id"), F.max("row")).collect()
    kept.repartition(2, "key").select("id").mapInArrow(lambda batches: batches, "id long").toArrow()


def main() -> None:
    """Make the archive: run what nights run on a few rows, and let the JVM write down its classes as it ends."""
    from roilake.lake.session import SMALL_NIGHT, spark_session

    aside = ARCHIVE.with_suffix(f".{os.getpid()}")
    flags = f"{SMALL_NIGHT['spark.driver.extraJavaOptions']} -XX:ArchiveClassesAtExit={aside}"
    session = spark_session("class archive", overrides={"spark.driver.extraJavaOptions": flags})
    with tempfile.TemporaryDirectory() as folder:
        _work(session, folder)
    gateway: Any = SparkContext._gateway
    session.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()
    if not aside.exists():
        sys.exit("error: the JVM wrote no archive of its classes")
    os.replace(aside, ARCHIVE)


if __name__ == "__main__":
    main()
