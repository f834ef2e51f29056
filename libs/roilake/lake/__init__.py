"""The lake: table definitions, versioned reads and writes, publications, files that last.

The only room that knows Delta. The Spark session is in ``roilake.lake.session``: this room loads without pyspark."""

from roilake.lake.data_files import DataFile, count_by, count_nulls, extremes
from roilake.lake.files import check_folder, model_folder, report_name, write_aside
from roilake.lake.lake import Lake
from roilake.lake.publications import Publication
from roilake.lake.tables import TABLES, Column, Table, table
from roilake.lake.tasks import Make, TaskFiles
from roilake.lake.writes import Run

__all__ = [
    "TABLES",
    "Column",
    "DataFile",
    "Lake",
    "Make",
    "Publication",
    "Run",
    "Table",
    "TaskFiles",
    "check_folder",
    "count_by",
    "count_nulls",
    "extremes",
    "model_folder",
    "report_name",
    "table",
    "write_aside",
]
