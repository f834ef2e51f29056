"""Raw files -> what is new in ``events``; rows that no event can be made of -> ``quarantine``."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.errors import AuditError
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.events import finished, night_rows
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, Recorder, recorded

JOB = "ingest_events"


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """The first night ingests all that lies before its end, a later one what no earlier night holds. After
    running an earlier night again, run the later ones again too. Raises AuditError, after writing
    ``quarantine``, when the share of rejected rows among the new ones is above
    ``source.quarantine_budget``."""
    with recorded(lake, config, ds, JOB) as record:
        known_ids, known_rejects = _earlier(record, "events"), _earlier(record, "quarantine")
        rows = night_rows(lake.spark, config, ds, known_ids, known_rejects).persist()
        try:
            _judge(record, rows, config)
            events = finished(lake.spark, rows.where(F.col("reason").isNull()), config)
            record.write(
                "events", events.withColumn("ds", F.lit(ds)).coalesce(1 + record.rows_in // 1_000_000)
            )
        finally:
            rows.unpersist()
    return record.result


def _earlier(record: Recorder, table: str) -> DataFrame | None:
    if not record.lake.exists(table):
        return None
    rows = record.read(table).where(F.col("ds") < F.lit(record.run.ds))
    return rows.where(F.col("job") == JOB) if table == "quarantine" else rows


def _judge(record: Recorder, rows: DataFrame, config: RetrievalConfig) -> None:
    counts = {r["reason"]: r["count"] for r in rows.groupBy("reason").count().collect()}
    accepted = counts.pop(None, 0)
    record.rows_in, record.rows_quarantined = accepted + sum(counts.values()), sum(counts.values())
    record.details["rejected"] = dict(sorted(counts.items()))
    record.progress(f"{accepted:,} new events, {record.rows_quarantined:,} rows rejected {counts or ''}")
    if counts or record.lake.exists("quarantine"):
        rejected = rows.where(F.col("reason").isNotNull()).select(
            F.lit(record.run.ds).alias("ds"), F.lit(JOB).alias("job"), "row", "reason"
        )
        record.write("quarantine", rejected.coalesce(1), job=JOB)
    _check_budget(record, config)


def _check_budget(record: Recorder, config: RetrievalConfig) -> None:
    rejected, total, budget = record.rows_quarantined, record.rows_in, config.source.quarantine_budget
    if rejected > budget * total:
        reasons = ", ".join(f"{n} {reason}" for reason, n in record.details["rejected"].items())
        raise AuditError(
            f"{config.source.events.path}: {rejected} of {total} new rows were rejected ({reasons}), "
            f"above source.quarantine_budget {budget:g}; look at table quarantine, mend it or raise it"
        )


if __name__ == "__main__":
    main(run, "retrieval")
