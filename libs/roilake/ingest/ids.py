"""Keys of nodes -> dense integer ids, one table for all pipelines.

An id never changes once anybody may have built on it. So vectors of an earlier night still fit, and pipelines that
know the same users and items meet by id."""

from __future__ import annotations

import json

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from roilake.lake import TABLES
from roilake.runtime.step import Recorder


def assign_ids(seen: DataFrame, known: DataFrame) -> DataFrame:
    """(node_type, key, id) of the keys of ``seen`` (node_type, key, first_time) that ``known`` lacks: dense from the
    largest known id of the type on, in order of (first time, hash of the key, key)."""
    new = seen.join(known, on=["node_type", "key"], how="left_anti")
    taken = known.groupBy("node_type").agg((F.max("id") + 1).alias("taken"))
    order = Window.partitionBy("node_type").orderBy("first_time", F.xxhash64("key"), "key")
    number = F.col("position") - 1 + F.coalesce("taken", F.lit(0))
    return (
        new.select("node_type", "key", F.row_number().over(order).alias("position"))
        .join(F.broadcast(taken), on="node_type", how="left")
        .select("node_type", "key", number.cast("int").alias("id"))
    )


def give_ids(record: Recorder, seen: DataFrame, *, files: int = 1) -> DataFrame:
    """Write to ``node_ids`` the ids of the keys of ``seen`` that have none yet; (node_type, key, id) of all keys.

    Pipelines give ids one after the other. A rerun gives its night's ids anew (so that a corrected source gives the ids
    of a first run) only where nobody can have built on them, else it adds to them."""
    lake, run = record.lake, record.run
    names = ("node_type", "key", "id")
    with lake.locked("node_ids"):
        run.inputs.pop("node_ids", None)  # what was pinned before the lock is of the past
        if lake.exists("node_ids"):
            own = (F.col("ds") == F.lit(run.ds)) & (F.col("pipeline") == F.lit(run.pipeline))
            again = _gave_last(record)
            known = record.read("node_ids").where(~own if again else F.lit(True))
            night = assign_ids(seen, known).unionByName(known.where(own & F.lit(not again)).select(*names))
        else:
            night = assign_ids(seen, lake.spark.createDataFrame([], TABLES["node_ids"].spark_schema))
        version = record.write("node_ids", night.withColumn("ds", F.lit(run.ds)).coalesce(files))
    return lake.read("node_ids", version=version).select(*names)


def _gave_last(record: Recorder) -> bool:
    """Whether an earlier run of this very step and night was the last to write ids, the night is not published, and
    no other night has run on these ids."""
    lake, run = record.lake, record.run
    if not lake.exists("runs") or lake.publication(run.pipeline, ds=run.ds):
        return False
    where = {"pipeline": run.pipeline, "ds": run.ds, "step": run.step}
    version, latest = lake.version("runs"), record.pin("node_ids")
    before = lake.to_arrow("runs", version, filters=where, columns=["outputs"])["outputs"].to_pylist()
    if not any(json.loads(outputs).get("node_ids") == latest for outputs in before):
        return False
    columns = ("pipeline", "ds", "inputs", "outputs")
    others = (
        row
        for row in lake.to_arrow("runs", version, columns=columns).to_pylist()
        if (row["pipeline"], row["ds"]) != (run.pipeline, run.ds)
    )
    return not any(latest in (json.loads(row[name]).get("node_ids") for name in columns[2:]) for row in others)
