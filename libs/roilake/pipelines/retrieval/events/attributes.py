"""Attributes of nodes (fields and terms) and the queries that items bring along, from their source files."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from roilake.errors import SourceError
from roilake.ingest.sources import CORRUPT, mapped, read_source
from roilake.pipelines.retrieval.config import AttributeSource, SourceConfig


def words(text: F.Column) -> F.Column:
    """Distinct lower-cased runs of letters and digits, in order of appearance."""
    parts = F.split(F.lower(text), r"[^\p{L}\p{N}]+")
    return F.array_distinct(F.filter(parts, lambda part: part != ""))


def attributes(spark: SparkSession, source: AttributeSource, section: str) -> DataFrame:
    """(key, fields, terms), one row per key: of several, the one whose values sort first. Lines that do not
    parse or have no key describe nothing and are left out."""
    rows = read_source(spark, source)
    columns = mapped(rows, source, section, {"key": source.key, "terms": source.terms or "CAST(NULL AS STRING)"})
    fields = mapped(rows, source, f"{section}.fields", source.fields)
    names = F.array(*map(F.lit, fields)).cast("array<string>")
    values = F.array(*(column.cast("string") for column in fields.values())).cast("array<string>")
    return (
        rows.where(F.col(CORRUPT).isNull())
        .select(
            columns["key"].cast("string").alias("key"),
            columns["terms"].cast("string").alias("text"),
            values.alias("values"),
        )
        .where(F.trim("key") != "")
        .groupBy("key")
        .agg(F.min(F.struct("text", "values")).alias("first"))
        .select(
            "key",
            F.map_from_arrays(names, F.col("first.values")).alias("fields"),
            F.coalesce(words(F.col("first.text")), F.array().cast("array<string>")).alias("terms"),
        )
    )


def node_attributes(spark: SparkSession, source: SourceConfig) -> DataFrame:
    """(node_type, key, fields, terms) of all nodes that some source describes."""
    sources = {"user": source.users, "query": source.queries, "item": source.items}
    tables = [
        attributes(spark, of_type, f"source.{plural}").select(F.lit(node_type).alias("node_type"), "*")
        for (node_type, of_type), plural in zip(sources.items(), ("users", "queries", "items"), strict=True)
        if of_type
    ]
    if not tables:
        schema = "node_type string, key string, fields map<string,string>, terms array<string>"
        return spark.createDataFrame([], schema)
    united = tables[0]
    for table in tables[1:]:
        united = united.unionByName(table)
    return united


def queries_of_items(spark: SparkSession, source: SourceConfig) -> DataFrame | None:
    """(item, queries): the queries that an item may be asked by, sorted; None unless ``query_of_item`` is set."""
    if source.query_of_item is None:
        return None
    if source.items is None:
        raise SourceError("source.query_of_item: needs source.items, whose columns it is made of; add it")
    rows = read_source(spark, source.items)
    key = mapped(rows, source.items, "source.items", {"key": source.items.key})["key"]
    asked = mapped(rows, source.items, "source", {"query_of_item": source.query_of_item})["query_of_item"]
    queries = F.filter(asked.cast("array<string>"), lambda query: F.trim(query) != "")
    return (
        rows.where(F.col(CORRUPT).isNull())
        .select(key.cast("string").alias("item"), F.explode(queries).alias("query"))
        .groupBy("item")
        .agg(F.array_sort(F.collect_set("query")).alias("queries"))
    )
