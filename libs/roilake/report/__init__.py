"""A night's report: one HTML page of sections, the summary that a night prints when it ends, and how nights compare."""

from roilake.report.compare import compare, print_comparison, to_object
from roilake.report.data import ReportData, gather, published
from roilake.report.nights import nights, nights_table, run_rows, served, steps, steps_table
from roilake.report.page import move_page, write_page
from roilake.report.section import Section, Texts, render_section
from roilake.report.summary import night_summary, print_summary, report_path, table_versions, to_json

__all__ = [
    "ReportData",
    "Section",
    "Texts",
    "compare",
    "gather",
    "move_page",
    "night_summary",
    "nights",
    "nights_table",
    "print_comparison",
    "print_summary",
    "published",
    "render_section",
    "report_path",
    "run_rows",
    "served",
    "steps",
    "steps_table",
    "table_versions",
    "to_json",
    "to_object",
    "write_page",
]
