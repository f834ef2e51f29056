"""Raw files -> what is new in ``events``; rows that no event can be made of -> ``quarantine``."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.ingest import Budget, accounted
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.events import finished, night_rows, source_events
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded

STEP = "ingest_events"
_FILE_EVENTS = 1_000_000


def run(lake: Lake, config: RetrievalConfig, ds: date) -> StepResult:
    """The first night ingests all that lies before its end, a later one what no earlier night holds. After running an
    earlier night again, run the later ones again too. Raises AuditError, after writing ``quarantine``, when the share
    of rejected rows among the new ones is above ``source.quarantine_budget``."""
    with recorded(lake, config, ds, STEP) as record:
        source = config.source
        known = (_earlier(record, table) for table in ("events", "quarantine"))
        rows = night_rows(source_events(lake.spark, source), ds, *known)
        budget = Budget(source.events.path, "source.quarantine_budget", source.quarantine_budget)
        with accounted(record, rows, budget) as sound:
            events = finished(lake.spark, sound, config).withColumn("ds", F.lit(ds))
            record.write("events", events.coalesce(1 + record.rows_in // _FILE_EVENTS))
    return record.result


def _earlier(record: Recorder, table: str) -> DataFrame | None:
    """Rows of earlier nights; of quarantine those of this step."""
    if not record.lake.exists(table):
        return None
    rows = record.read(table).where(F.col("ds") < F.lit(record.run.ds))
    own = (F.col("pipeline") == record.run.pipeline) & (F.col("step") == STEP)
    return rows.where(own) if table == "quarantine" else rows


if __name__ == "__main__":
    main(run, "retrieval")
