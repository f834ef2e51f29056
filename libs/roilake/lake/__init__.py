"""The lake: Spark session, table definitions, versioned reads and writes, publications.

The only room that knows Delta.
"""

from roilake.lake.counts import count_by, count_nulls
from roilake.lake.lake import DataFile, Lake, Publication, Run, check_folder
from roilake.lake.session import read_profile, spark_session
from roilake.lake.tables import TABLES, Column, Table
from roilake.lake.tasks import Make

__all__ = [
    "TABLES",
    "Column",
    "DataFile",
    "Lake",
    "Make",
    "Publication",
    "Run",
    "Table",
    "check_folder",
    "count_by",
    "count_nulls",
    "read_profile",
    "spark_session",
]
