"""Raw files of any source as DataFrames, with the lines that do not parse kept beside the ones that do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from roilake.config.base import FileSource
from roilake.errors import SourceError
from roilake.ingest.expressions import error_line, parse
from roilake.ingest.files import Files, csv_columns, find_files, lowered, parquet_schema, separator_of
from roilake.lake.lake import NAMES

CORRUPT = "_roilake_corrupt"
"""Column that holds the text of a line that does not parse; null for the others."""

_DEFAULTS = {
    # RFC 4180: a quote in a quoted value is doubled, and a quoted value may hold line breaks. A file is then read by
    # one task; `multiLine: "false"` of a config splits it where no value breaks a line.
    "csv": {"header": "true", "columnPruning": "false", "escape": '"', "multiLine": "true", "enforceSchema": "false"},
    "parquet": {"mergeSchema": "true"},
}
BLANKS = " \t\r\n\v\f\0\x85\xa0\u2002\u2003\u2009\u200b\u3000\ufeff"
"""What is no part of a key, a text or a number when it stands at either end."""


@dataclass(frozen=True)
class SourceRows:
    """Rows of the files at ``path``, in one DataFrame with the column ``CORRUPT``. ``lacking``: columns, in lower case,
    that are not in each file, with one that lacks it; they are null there."""

    path: str
    rows: DataFrame
    lacking: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        return [column for column in self.rows.columns if column != CORRUPT]


def read_source(spark: SparkSession, source: FileSource) -> SourceRows:
    """The rows of a source. Columns go by each file's own header or schema: those of one name are one column, whatever
    their order; of two types they become texts. Raises SourceError when the files cannot be read."""
    files = find_files(source.path)
    try:
        found = _read_remote(spark, source) if files is None else _read(spark, source, files)
    except (PySparkException, ValueError) as error:
        raise SourceError(f"{source.path}: cannot be read as {source.format}: {error_line(error)}") from error
    if not found.columns:
        raise SourceError(f"{source.path}: holds no columns as {source.format}; is it empty or of another format?")
    return replace(found, rows=_line_by_line(found, source)) if source.format in ("csv", "json") else found


def mapped(
    source: SourceRows, key: str, expressions: Mapping[str, str], *, required: Collection[str] = ()
) -> dict[str, Column]:
    """Columns for SQL expressions over a source, by name; ``key`` is where the config has them. Raises SourceError
    naming file, key and the columns that are there: for an expression that does not fit, and for a ``required`` one
    of a column that some file lacks."""
    found = {}
    for name, sql in expressions.items():
        try:
            parsed = parse(source.rows.sparkSession, sql, source.columns)
            column = F.expr(parsed.sql)
            source.rows.select(column)
        except (PySparkException, ValueError) as error:
            there = ", ".join(f"`{column}`" for column in source.columns)
            problem = error_line(error)
            raise SourceError(
                f"{source.path}: {key}.{name}: {sql!r} does not fit: {problem}; columns are {there}"
            ) from error
        lacking = sorted(parsed.columns & source.lacking.keys()) if name in required else []
        if lacking:
            raise SourceError(
                f"{source.lacking[lacking[0]]}: has no column `{lacking[0]}`, which {key}.{name} needs and other files "
                f"of {source.path} have; mend the file, or leave it out of the path"
            )
        found[name] = column
    return found


def texts(rows: DataFrame, columns: Mapping[str, Column]) -> dict[str, Column]:
    """Columns as texts that join: without blanks at the ends, an empty one null, and a whole number without ``.0``
    (pandas makes 7.0 of an id where another is missing)."""
    named = [column.alias(f"c{number}") for number, column in enumerate(columns.values())]
    kinds = [item.dataType for item in rows.select(*named).schema.fields]
    return {name: _text(column, kind) for (name, column), kind in zip(columns.items(), kinds, strict=True)}


def _text(column: Column, kind: T.DataType) -> Column:
    text = column.cast("string")
    if isinstance(kind, T.FloatType | T.DoubleType):
        whole = (column == F.floor(column)) & (F.abs(column) < 2.0**53)
        text = F.when(whole, column.cast("bigint").cast("string")).otherwise(text)
    elif isinstance(kind, T.DecimalType) and kind.scale:
        text = F.regexp_replace(text, r"\.0+$", "")
    return F.nullif(trimmed(text), F.lit(""))


def trimmed(text: Column) -> Column:
    """Text without blanks of any kind at its ends."""
    return F.trim(text, F.lit(BLANKS))


def _reader(spark: SparkSession, source: FileSource) -> DataFrameReader:
    options = {**_DEFAULTS.get(source.format, {}), **source.options}
    reader = spark.read.format(source.format).options(**options)
    return reader.option("mode", "PERMISSIVE").option("columnNameOfCorruptRecord", CORRUPT)


def _read_remote(spark: SparkSession, source: FileSource) -> SourceRows:
    """By Spark alone, which holds CSV headers against one another and merges the schemas of Parquet files."""
    return SourceRows(
        source.path, _with_corrupt(spark, source, [source.path], _reader(spark, source).load(source.path))
    )


def _read(spark: SparkSession, source: FileSource, files: Files) -> SourceRows:
    groups = _groups(source, files)
    parts = [_read_alike(spark, source, files.base, paths) for paths in groups.values()]
    rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), _unified(parts))
    lacking = {
        name.lower(): paths[0]
        for name in rows.columns
        for part, paths in zip(parts, groups.values(), strict=True)
        if name.lower() not in {column.lower() for column in part.columns}
    }
    return SourceRows(source.path, rows, lacking)


def _line_by_line(found: SourceRows, source: FileSource) -> DataFrame:
    """Rows with each line of what does not parse for itself, so that they are counted: a quote that does not close
    takes the rows after it into its value. Where the columns still fit, lines in a value look like rows."""
    corrupt = F.col(CORRUPT)
    if source.format == "csv" and len(found.columns) > 1:
        separator = separator_of(lowered(source.options))
        columns = [F.col(f"`{name}`").cast("string") for name in found.columns]
        cells = rf"\Q{separator}\E"

        def rows_inside(value: Column) -> Column:
            lines = F.split(value, "\n")
            inner = F.slice(lines, 2, F.greatest(F.size(lines) - 2, F.lit(0)))
            alike = F.forall(inner, lambda line: F.size(F.split(line, cells)) == len(columns))
            return value.contains("\n") & (F.size(inner) > 1) & alike

        swallowed = reduce(Column.__or__, (F.coalesce(rows_inside(value), F.lit(False)) for value in columns))
        corrupt = F.coalesce(corrupt, F.when(swallowed, F.concat_ws(separator, *columns)))
    lines = F.split(corrupt, "\r?\n")
    return found.rows.select(*(F.col(f"`{name}`") for name in found.columns), F.explode_outer(lines).alias(CORRUPT))


def _groups(source: FileSource, files: Files) -> dict[object, list[str]]:
    """Files by their columns, where their heads tell them; those that are empty are left out, unless all are."""
    groups: dict[object, list[str]] = defaultdict(list)
    for file in files.paths:
        groups[_columns_of(source, file)].append(file)
    return {columns: paths for columns, paths in groups.items() if columns is None or columns} or dict(groups)


def _columns_of(source: FileSource, file: str) -> tuple[object, ...] | None:
    if source.format == "csv":
        return csv_columns(file, source.options)
    if source.format == "parquet":
        return tuple((item.name, str(item.type)) for item in parquet_schema(file))
    return None


def _read_alike(spark: SparkSession, source: FileSource, base: str | None, paths: list[str]) -> DataFrame:
    """Files that have the same columns."""
    reader = _reader(spark, source).options(**NAMES)
    if base:
        reader = reader.option("basePath", base)
    if source.format == "csv" and lowered(source.options).get("inferschema", "false").lower() != "true":
        names = csv_columns(paths[0], source.options)
        if not names:
            return spark.createDataFrame([], T.StructType([]))
        schema = T.StructType([T.StructField(name, T.StringType()) for name in (*names, CORRUPT)])
        return reader.option("enforceSchema", "true").schema(schema).load(paths)
    rows = _with_corrupt(spark, source, paths, reader.load(paths), reader)
    return _in_microseconds(rows, parquet_schema(paths[0])) if source.format == "parquet" else rows


def _with_corrupt(
    spark: SparkSession, source: FileSource, paths: list[str], rows: DataFrame, reader: DataFrameReader | None = None
) -> DataFrame:
    """Rows whose columns Spark has found, read again with one more for what does not parse."""
    if source.format in ("parquet", "text"):
        return rows.withColumn(CORRUPT, F.lit(None).cast("string"))
    fields = [item for item in rows.schema.fields if item.name != CORRUPT]
    schema = T.StructType([*fields, T.StructField(CORRUPT, T.StringType())])
    return (reader or _reader(spark, source)).schema(schema).load(paths) if fields else rows.select()


def _in_microseconds(rows: DataFrame, schema: pa.Schema) -> DataFrame:
    """Times in nanoseconds, which pandas writes and Spark reads as whole numbers, as times."""
    fine = [item.name for item in schema if pa.types.is_timestamp(item.type) and item.type.unit == "ns"]
    whole = {name for name, kind in rows.dtypes if kind == "bigint"}
    return rows.withColumns(
        {name: F.expr(f"timestamp_micros(`{name.replace('`', '``')}` DIV 1000)") for name in fine if name in whole}
    )


def _unified(parts: list[DataFrame]) -> list[DataFrame]:
    """Parts whose columns of one name have one type: the widest whole number, or else text."""
    kinds = defaultdict(set)
    for part in parts:
        for name, kind in part.dtypes:
            kinds[name.lower()].add(kind)
    whole = {"tinyint", "smallint", "int", "bigint"}
    several = {name: found <= whole for name, found in kinds.items() if len(found) > 1}

    def cast(part: DataFrame) -> DataFrame:
        names = {name: F.col(f"`{name}`") for name in part.columns if name.lower() in several}
        as_text = texts(part, names) if names else {}
        return part.withColumns(
            {name: column.cast("bigint") if several[name.lower()] else as_text[name] for name, column in names.items()}
        )

    return [cast(part) for part in parts]
