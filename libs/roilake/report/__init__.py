"""A night's report: one HTML page, and the summary that a night prints when it ends."""

from roilake.report.contents import Contents, gather
from roilake.report.page import render, write_page
from roilake.report.summary import night_summary, print_summary, report_path, table_versions, to_json

__all__ = [
    "Contents",
    "gather",
    "night_summary",
    "print_summary",
    "render",
    "report_path",
    "table_versions",
    "to_json",
    "write_page",
]
