"""Raw files of any source as DataFrames, with the lines that do not parse kept beside the ones that do."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Mapping
from glob import glob
from pathlib import Path

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from roilake.config.base import FileSource
from roilake.errors import SourceError

CORRUPT = "_roilake_corrupt"
"""Column that holds the text of a line that does not parse; null for the others."""


def resolve_path(path: str) -> str:
    """Where a source lies. ``package://PACKAGE/FILE`` is looked up without importing the package,
    ``shared://FILE`` below ``$ROILAKE_DATA`` (default ``../shared/data``); ``s3a://...`` and the like are
    left to Spark. Raises SourceError when a local file is not there."""
    if path.startswith("package://"):
        local = Path(sysconfig.get_paths()["purelib"], path.removeprefix("package://"))
    elif path.startswith("shared://"):
        local = Path(os.environ.get("ROILAKE_DATA", "../shared/data"), path.removeprefix("shared://"))
    elif re.match(r"^(?!file:)[a-z][a-z0-9+.-]+://", path):
        return path
    else:
        local = Path(re.sub(r"^file:(//)?", "", path))
    if not local.exists() and not glob(str(local), recursive=True, include_hidden=True):
        raise SourceError(f"{path}: no such file ({local}); correct the path in the config")
    return str(local.absolute())


def read_source(spark: SparkSession, source: FileSource) -> DataFrame:
    """The rows of a source and, for CSV and JSON, the column ``CORRUPT``. CSV files are taken to have a
    header unless the options say otherwise. Raises SourceError when the files cannot be read."""
    path = resolve_path(source.path)
    defaults = {"header": "true", "columnPruning": "false"} if source.format == "csv" else {}
    options = {**defaults, **source.options, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
    reader = spark.read.format(source.format).options(**options)
    try:
        rows = reader.load(path)
    except AnalysisException as error:
        raise SourceError(f"{source.path}: cannot be read as {source.format}: {error_line(error)}") from error
    if source.format in ("parquet", "text"):
        return rows.withColumn(CORRUPT, F.lit(None).cast("string"))
    fields = [field for field in rows.schema.fields if field.name != CORRUPT]
    if not fields:
        raise SourceError(f"{source.path}: holds no columns as {source.format}; is it empty or of another format?")
    schema = T.StructType([*fields, T.StructField(CORRUPT, T.StringType())])
    return spark.read.format(source.format).options(**options).schema(schema).load(path)


def mapped(rows: DataFrame, source: FileSource, key: str, expressions: Mapping[str, str]) -> dict[str, F.Column]:
    """Columns for SQL expressions over a source, by name; ``key`` is where the config has them. Raises SourceError
    naming file, key and the columns that are there."""
    for name, expression in expressions.items():
        try:
            rows.select(F.expr(expression))
        except (AnalysisException, ParseException) as error:
            there = ", ".join(f"`{column}`" for column in rows.columns if column != CORRUPT)
            raise SourceError(
                f"{source.path}: {key}.{name}: {expression!r} does not fit ({error_line(error)}); columns are {there}"
            ) from error
    return {name: F.expr(expression) for name, expression in expressions.items()}


def error_line(error: Exception) -> str:
    """What Spark says first, without its hints."""
    first = str(error).strip().splitlines()[0]
    return re.sub(r"\s*(Did you mean|SQLSTATE|;).*", "", first)
