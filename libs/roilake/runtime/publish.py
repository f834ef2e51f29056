"""Audit the night, write its report, and publish its tables as one commit, the last one."""

from __future__ import annotations

from datetime import date

from roilake.errors import AuditError
from roilake.lake import Lake, Publication
from roilake.metrics.gate_result import to_table
from roilake.metrics.gates import audit
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.report import gather, report_path, table_versions, write_page
from roilake.runtime.step import JobResult, main, recorded


def run(lake: Lake, config: RetrievalConfig | ConversionConfig, ds: date) -> JobResult:
    """Publish ``ds``. All gates go to table ``gates``; a failed one is named in the report and raised as AuditError,
    and nothing is published: readers keep the night before. The row in ``publications`` is written after all else that
    a reader could see."""
    with recorded(lake, config, ds, "publish_night") as record:
        versions = {table: record.pin(table) for table in table_versions(lake) if table != "gates"}
        results = audit(lake, config, ds, versions)
        problems = [result.line for result in results if not result.passed]
        record.progress(f"audit: {len(problems)} of {len(results)} gates failed")
        versions["gates"] = record.write("gates", to_table(results, ds, record.run.run_id))
        written = config.model_dump_json()
        night = Publication(ds, record.run.run_id, versions, written, record.run.code_revision)
        path = report_path(lake, ds)
        write_page(gather(lake, night, tuple(problems)), path)
        record.details |= {"report": str(path.relative_to(lake.folder)), "problems": problems}
        record.progress(f"wrote the report {path}")
        if problems:
            raise AuditError(f"night {ds} is not published: {'; '.join(problems)} (report: {path})")
        lake.publish(ds, versions, record.run, written)
        record.outputs["publications"] = lake.version("publications")
    return record.result


if __name__ == "__main__":
    main(run)
