"""The lake: table definitions, versioned reads and writes, publications, files that last.

The only room that knows Delta. The Spark session is in ``roilake.lake.session``: this room loads without pyspark."""

from roilake.lake.counts import count_by, count_nulls, extremes
from roilake.lake.files import Files, model_folder, report_name, write_aside
from roilake.lake.lake import DataFile, Lake, Publication, Run, check_folder, definition_of
from roilake.lake.tables import TABLES, Column, Table, table
from roilake.lake.tasks import Make, TaskFiles

__all__ = [
    "TABLES",
    "Column",
    "DataFile",
    "Files",
    "Lake",
    "Make",
    "Publication",
    "Run",
    "Table",
    "TaskFiles",
    "check_folder",
    "count_by",
    "count_nulls",
    "definition_of",
    "extremes",
    "model_folder",
    "report_name",
    "table",
    "write_aside",
]
