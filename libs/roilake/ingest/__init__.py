"""Files of any source -> rows of a table: mapping, quarantine and account, ids of users, queries and items."""

from roilake.ingest.ids import give_ids
from roilake.ingest.rows import LATER, Budget, accounted, map_rows, take, with_reason
from roilake.ingest.sources import CORRUPT, error_line, mapped, read_source

__all__ = [
    "CORRUPT",
    "LATER",
    "Budget",
    "accounted",
    "error_line",
    "give_ids",
    "map_rows",
    "mapped",
    "read_source",
    "take",
    "with_reason",
]
