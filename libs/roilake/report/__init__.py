"""A night's report: one HTML page, the summary that a night prints when it ends, and how nights compare."""

from roilake.report.compare import compare, print_comparison, to_object
from roilake.report.data import ReportData, gather, published
from roilake.report.nights import jobs, jobs_table, nights, nights_table, run_rows
from roilake.report.page import render, write_page
from roilake.report.summary import night_summary, print_summary, report_path, table_versions, to_json

__all__ = [
    "ReportData",
    "compare",
    "gather",
    "jobs",
    "jobs_table",
    "night_summary",
    "nights",
    "nights_table",
    "print_comparison",
    "print_summary",
    "published",
    "render",
    "report_path",
    "run_rows",
    "table_versions",
    "to_json",
    "to_object",
    "write_page",
]
