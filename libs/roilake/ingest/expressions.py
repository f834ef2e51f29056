"""The SQL expressions of a mapping: which columns and functions they may use, and values that would end a night.

Spark resolves more than a mapping means: ``user`` is a function of that name where the file has no such column, and
``rand()`` or ``now()`` give another table each time. So a mapping is parsed first, and held against the columns of its
file and a stated list of functions that depend on their arguments alone and never fail for a value."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

_FUNCTIONS = """
coalesce equal_null greatest if ifnull isnan isnotnull isnull least nanvl nullif nullifzero nvl nvl2 zeroifnull
and between case in not or when like ilike rlike

ascii base64 btrim char char_length character_length chr concat concat_ws contains crc32 decode elt encode endswith
find_in_set format_number hash hex initcap instr is_valid_utf8 lcase left len length levenshtein locate lower lpad
ltrim make_valid_utf8 mask md5 octet_length overlay parse_url position regexp regexp_count regexp_extract
regexp_extract_all regexp_instr regexp_like regexp_replace regexp_substr replace reverse right rpad rtrim sha sha1
sha2 soundex split split_part startswith substr substring substring_index translate trim try_parse_url
try_url_decode ucase unbase64 unhex upper url_encode xxhash64

abs bin bround cbrt ceil ceiling conv cos degrees div e exp expm1 floor ln log log10 log1p log2 mod negative pi
pmod positive pow power radians rint round shiftleft shiftright sign signum sin sqrt tan try_add try_divide try_mod
try_multiply try_subtract try_to_number width_bucket

bigint binary boolean cast date decimal double float int smallint string timestamp tinyint

convert_timezone date_add date_diff date_format date_from_unix_date date_part date_sub date_trunc dateadd datediff
datepart day dayname dayofmonth dayofweek dayofyear extract from_unixtime from_utc_timestamp hour last_day
make_date make_timestamp minute month monthname months_between next_day quarter second timestamp_micros
timestamp_millis timestamp_seconds to_char to_date to_timestamp to_timestamp_ltz to_timestamp_ntz
to_unix_timestamp to_utc_timestamp trunc try_make_timestamp try_to_timestamp unix_date unix_micros unix_millis
unix_seconds unix_timestamp weekday weekofyear year

aggregate array array_append array_compact array_contains array_distinct array_except array_intersect array_join
array_max array_min array_position array_prepend array_remove array_size array_sort array_union arrays_overlap
arrays_zip cardinality element_at exists filter flatten forall from_csv from_json get get_json_object
json_array_length json_object_keys map map_concat map_contains_key map_entries map_filter map_from_arrays
map_from_entries map_keys map_values named_struct reduce size slice sort_array str_to_map struct to_json transform
transform_keys transform_values try_element_at zip_with
"""
FUNCTIONS = frozenset(_FUNCTIONS.split())
"""What a mapping may call. To aggregate, to join and to number rows is for ``rows`` of an impressions source."""

_OF_A_TABLE = re.compile(r"Subquery|Exists|ListQuery|Window|AggregateExpression|Star$|Parameter$")
_CLOCK_LITERAL = re.compile(r"\b(date|timestamp\w*)\s*'\s*(now|today|yesterday|tomorrow)\s*'", re.IGNORECASE)
_OF_THE_MOMENT = re.compile(
    r'"class":"[\w.]*\.(Current(?:User|Date|TimeZone|Timestamp|Catalog|Database)|Now|LocalTimestamp|SparkVersion|Rand|'
    r"Randn|RandStr|Uniform|Uuid|Shuffle|Sample|MonotonicallyIncreasingID|SparkPartitionID|InputFile\w+|TryReflect|"
    r'CallMethodViaReflection)"'
)

_GUARDED = {
    "timestamp_seconds": ("DECIMAL(38, 6)", "9.2e12"),
    "timestamp_millis": ("BIGINT", "9.2e15"),
    "timestamp_micros": ("BIGINT", "9.2e18"),
}
"""Functions that take no text and fail for a number that is too large: the type to read it as, and its bound."""


@dataclass(frozen=True)
class Parsed:
    """``sql`` to run, and the ``columns`` of the file that it names, in lower case."""

    sql: str
    columns: frozenset[str]


def parse(spark: SparkSession, sql: str, columns: Collection[str]) -> Parsed:
    """An expression over a file that has ``columns``, with calls that fail for a value guarded: such a value is null.
    Raises ValueError that says what does not fit."""
    try:
        tree = spark._jsparkSession.sessionState().sqlParser().parseExpression(sql)  # type: ignore[attr-defined]
    except PySparkException as error:
        raise ValueError(error_line(error)) from error
    if _CLOCK_LITERAL.search(sql):
        raise ValueError("asks the clock; write a date")
    known = {column.lower() for column in columns}
    found = list(_walk(tree, known, frozenset()))
    guarded = [node for node in found if isinstance(node, _Call)]
    return Parsed(_guard(sql, guarded), frozenset(name for name in found if isinstance(name, str)))


def check_query(plan: Any) -> None:
    """Raises ValueError for an analysed query of which two runs may differ: a random number, the clock, the system's
    user (what Spark takes an unknown ``user`` for), a name of a file."""
    found = _OF_THE_MOMENT.search(plan.analyzed().toJSON())
    if found:
        raise ValueError(
            f"uses {found[1]}, which is no column and not the same in two runs (Spark takes `user`, `current_date` and "
            "the like for functions where no column has the name)"
        )


@dataclass(frozen=True)
class _Call:
    """A call of a guarded function: its name, and where it starts and ends in the text."""

    name: str
    start: int
    stop: int


def _walk(node: Any, known: Collection[str], scope: frozenset[str]) -> Iterator[str | _Call]:
    """The columns that a tree names, and its guarded calls. ``scope``: variables of the lambdas around it."""
    kind = node.getClass().getSimpleName().rstrip("$")
    children = _items(node.children())
    if _OF_A_TABLE.search(kind):
        raise ValueError(
            "looks at more than its row; map values of the row, and join files by `rows` where there is one"
        )
    if kind == "LambdaFunction":
        scope |= {_items(variable.nameParts())[0].lower() for variable in children[1:]}
        children = children[:1]
    elif kind in ("UnresolvedAttribute", "UnresolvedNamedLambdaVariable"):
        name = _column(_items(node.nameParts()), known, scope)
        if name is not None:
            yield name
    elif kind == "UnresolvedFunction":
        yield from _call(node, ".".join(_items(node.nameParts())).lower(), bool(children))
    for child in children:
        yield from _walk(child, known, scope)


def _column(parts: list[str], known: Collection[str], scope: frozenset[str]) -> str | None:
    """The column that a name means; None for a variable of a lambda. Raises ValueError."""
    first = parts[0].lower()
    if first in scope:
        return None
    if first not in known:
        whole = ".".join(parts)
        hint = "; write it in backticks" if whole.lower() in known else ""
        raise ValueError(f"there is no column `{whole}`{hint}")
    return first


def _call(node: Any, name: str, arguments: bool) -> Iterator[_Call]:
    if name not in FUNCTIONS or (name in ("unix_timestamp", "to_unix_timestamp") and not arguments):
        close = get_close_matches(name, FUNCTIONS, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"{name}() is not among the functions of a mapping (roilake.ingest.FUNCTIONS){hint}")
    if name in _GUARDED:
        origin = node.origin()
        yield _Call(name, origin.startIndex().get(), origin.stopIndex().get())


def _guard(sql: str, calls: list[_Call]) -> str:
    """The text with each guarded call (of those within one another: the outer) made null beyond its bound."""
    ends = 0
    parts: list[str] = []
    for call in sorted(calls, key=lambda call: call.start):
        if call.start < ends:
            continue
        kind, bound = _GUARDED[call.name]
        argument = sql[sql.index("(", call.start) + 1 : call.stop]
        number = f"TRY_CAST(({argument}) AS {kind})"
        parts += [sql[ends : call.start], f"IF({number} BETWEEN -{bound} AND {bound}, {call.name}({number}), NULL)"]
        ends = call.stop + 1
    return "".join([*parts, sql[ends:]])


def error_line(error: Exception) -> str:
    """What Spark says first, without its hints."""
    first = str(error).strip().splitlines()[0]
    return re.sub(r"\s*(Did you mean|SQLSTATE|;).*", "", first)


def _items(sequence: Any) -> list[Any]:
    return [sequence.apply(index) for index in range(sequence.size())]
