"""Audit a night, write its report, and publish its tables as one commit, the last one. The last step of every
pipeline."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from roilake.config import NightConfig
from roilake.errors import AuditError
from roilake.lake import Lake, Publication
from roilake.masking import masked
from roilake.metrics.gates import to_table
from roilake.report import gather, move_page, report_path, table_versions, write_page
from roilake.runtime.audit import audit
from roilake.runtime.pipeline import PUBLISH
from roilake.runtime.step import Recorder, StepResult, recorded


def run(lake: Lake, config: NightConfig, ds: date) -> StepResult:
    """Publish ``ds``. All gates go to table ``gates``; a failed one is named in the report and raised as AuditError,
    and nothing is published: readers keep what they see, and the page of a published night stays as it is. The row in
    ``publications`` is written after all else that a reader could see, the step's own row in ``runs`` among it."""
    with recorded(lake, config, ds, PUBLISH) as record:
        versions = {table: record.pin(table) for table in table_versions(lake, config.pipeline) if table != "gates"}
        results = audit(lake, config, ds, versions)
        problems = [result.line for result in results if not result.passed]
        record.progress(f"audit: {len(problems)} of {len(results)} gates failed")
        versions["gates"] = record.write("gates", to_table(results, ds, record.run.run_id))
        night = _publication(record, versions)
        attempt = report_path(lake, config.pipeline, ds, published=False)
        page = attempt if problems else report_path(lake, config.pipeline, ds)
        data = gather(lake, night, tuple(problems))
        write_page(data, attempt)
        record.details |= {"report": lake.files.name(page), "problems": problems}
        if problems:
            listed = "; ".join(problems)
            raise AuditError(f"night {ds} is not published, {data.kept}: {listed} (report: {page})")
        versions["runs"] = record.close("succeeded")
        lake.publish(night, record.run)
        move_page(attempt, page)
        record.progress(f"published; the report is {page}")
    return record.result


def _publication(record: Recorder, versions: dict[str, int]) -> Publication:
    upstreams: dict[str, Any] = {}
    for row in record.rows("runs", columns=("step", "upstreams")).sort_by("step").to_pylist():
        for name, read in json.loads(row["upstreams"]).items():
            tables = {**((upstreams.get(name) or {}).get("tables", {})), **((read or {}).get("tables", {}))}
            upstreams[name] = {**read, "tables": tables} if read else upstreams.get(name)
    written, run = masked(record.config.model_dump_json()), record.run
    return Publication(run.pipeline, run.ds, run.run_id, versions, written, run.code_revision, upstreams)
