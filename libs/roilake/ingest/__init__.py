"""Files of any source -> rows of a table: mapping, quarantine and account, ids of users, queries and items."""

from roilake.ingest.account import Budget, accounted, count_keys, count_parsed
from roilake.ingest.expressions import FUNCTIONS, check_query, error_line
from roilake.ingest.ids import give_ids
from roilake.ingest.numbering import numbered
from roilake.ingest.rows import LATER, UNASKED, map_rows, take, unasked, with_reason
from roilake.ingest.sources import CORRUPT, SourceRows, mapped, read_source, texts, trimmed

__all__ = [
    "CORRUPT",
    "FUNCTIONS",
    "LATER",
    "UNASKED",
    "Budget",
    "SourceRows",
    "accounted",
    "check_query",
    "count_keys",
    "count_parsed",
    "error_line",
    "give_ids",
    "map_rows",
    "mapped",
    "numbered",
    "read_source",
    "take",
    "texts",
    "trimmed",
    "unasked",
    "with_reason",
]
