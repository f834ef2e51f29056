"""The lake: Spark session, table definitions, versioned reads and writes, publications.

The only room that knows Delta.
"""

from roilake.lake.counts import count_by, count_nulls, extremes
from roilake.lake.lake import DataFile, Lake, Publication, Run, check_folder
from roilake.lake.session import read_profile, spark_session
from roilake.lake.tables import TABLES, Column, Table
from roilake.lake.tasks import Make, TaskFiles

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
    "read_profile",
    "spark_session",
]
