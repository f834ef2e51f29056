"""Raw files -> what is new in ``events``; rows that no event can be made of -> ``quarantine``."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.errors import AuditError, LakeError
from roilake.ingest import Budget, accounted, count_keys
from roilake.lake import Lake, extremes
from roilake.pipelines.retrieval.config import NODE_TYPES, RetrievalConfig
from roilake.pipelines.retrieval.events import finished, night_rows, source_events
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded

STEP = "ingest_events"
_FILE_EVENTS = 1_000_000
_SAME_EVENTS = 0.1
"""Share of a night's new events that may say what known ones do: more than late ones of the same second ever are."""


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """The first night ingests all that lies before its end, a later one what no other night holds. After running an
    earlier night again, run the later ones again too. Raises AuditError, after writing ``quarantine``, when a source
    loses more rows than ``source`` allows, or when its events are known ones under other ids; LakeError for an earlier
    night than the last, unless it has been run before."""
    with recorded(lake, config, ds, STEP) as record:
        source = config.source
        check_order(record)
        known = _others(record, "events")
        rejects, own_ids = _others(record, "quarantine"), source.events.columns.event_id is not None
        rows = night_rows(source_events(lake.spark, source), ds, known, rejects, repeats=own_ids)
        with accounted(record, rows, Budget("source", source, {"events": source.events.path})) as sound:
            count_keys(record, sound, NODE_TYPES, source.minimum_keys)
            if known is not None:
                check_identity(record, sound, known)
            events = finished(lake.spark, sound, config).withColumn("ds", F.lit(ds))
            record.write("events", events.coalesce(1 + record.rows_in // _FILE_EVENTS))
    return record.result


def check_order(record: Recorder) -> None:
    """Raises LakeError for a night that comes after a later one: that one has taken its events."""
    lake, run = record.lake, record.run
    if not lake.exists("events"):
        return
    nights = {file.partition["ds"] for file in lake.active_files("events")}
    where = {"pipeline": run.pipeline, "ds": run.ds, "step": STEP, "status": "succeeded"}
    own = str(run.ds) in nights or len(lake.to_arrow("runs", lake.version("runs"), filters=where))
    if nights and str(run.ds) < max(nights) and not own:
        raise LakeError(
            f"{lake.path}: night {max(nights)} holds the events of {run.ds} already, which was never run; run nights "
            "in order of their dates (those that were run may be run again), or name another lake"
        )


def check_identity(record: Recorder, sound: DataFrame, known: DataFrame) -> None:
    """Raises AuditError when many new events say what known ones say, under other ids: they would count twice."""
    lake, version = record.lake, record.pin("events")
    nights = {file.partition["ds"] for file in lake.active_files("events", version)} - {str(record.run.ds)}
    spans = extremes(lake, "events", version, "time", (), filters={"ds": nights})
    if not spans:
        return
    late = sound.where(F.col("time") <= F.lit(spans[()][1]))
    again = late.join(
        known.select("time", "user", "item").distinct(), on=["time", "user", "item"], how="left_semi"
    ).count()
    new = record.rows_in - record.rows_later - record.rows_quarantined
    if again > _SAME_EVENTS * new:
        raise AuditError(
            f"source.events: {again} of {new} new events have time, user and item of events of other nights, but other "
            "ids: the mapping, or the ids of the source, have changed. Restore them, map event_id to what stays, or "
            "run all nights again in another lake"
        )


def _others(record: Recorder, table: str) -> DataFrame | None:
    """Rows of other nights; of quarantine those of this step."""
    if not record.lake.exists(table):
        return None
    rows = record.read(table).where(F.col("ds") != F.lit(record.run.ds))
    own = (F.col("pipeline") == record.run.pipeline) & (F.col("step") == STEP)
    return rows.where(own) if table == "quarantine" else rows


if __name__ == "__main__":
    main(run, "retrieval")
