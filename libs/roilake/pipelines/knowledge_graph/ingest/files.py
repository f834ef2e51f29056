"""Files of a knowledge graph -> rows of triples, texts, aliases and items by key, each accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from roilake.config.base import RowSource
from roilake.ingest import UNASKED, SourceRows, map_rows, mapped, read_source, take, unasked, with_reason
from roilake.pipelines.knowledge_graph.config import TripleFile, TripleGraphConfig

TWICE, AGAIN, ELSEWHERE = "repeats a key", "repeats a triple", "is in an evaluated split, too"
STRANGER, EMPTY = "names an entity that graph.entities does not have", "lists no tail"
_ENTRY = "_roilake_entry"
Faults = Sequence[tuple[Column, str]]


def source_rows(spark: SparkSession, given: TripleGraphConfig, seed: int) -> DataFrame:
    """Rows of all files, with ``source``, ``row`` and ``reason`` (see ``roilake.ingest.rows``). Triples have head,
    relation, tail, split and ``new_entities``; texts have key and text; items have entity and item."""
    texts = [_texts(spark, file, name) for name, file in _text_files(given).items()]
    known = reduce(DataFrame.unionByName, texts) if texts else None
    aliases = _aliases(spark, given)
    entities = _entities(spark, known)
    other = [rows for rows in (known, aliases, _items(spark, given, entities, aliases)) if rows is not None]
    triples = _triples(spark, given, entities, aliases, seed)
    return reduce(lambda one, two: one.unionByName(two, allowMissingColumns=True), [triples, *other])


def _text_files(given: TripleGraphConfig) -> dict[str, RowSource]:
    relations = {"relations": given.relations} if given.relations else {}
    return {**{f"entities.{name}": file for name, file in given.entities.items()}, **relations}


def _mapped(
    spark: SparkSession,
    file: RowSource,
    name: str,
    columns: Mapping[str, str],
    keys: Sequence[str],
    files: SourceRows | None = None,
) -> DataFrame:
    """Rows of a file as these columns, ``keys`` of which may not be missing."""
    files = files or read_source(spark, file)
    place = f"graph.{name}"
    derived = {"unasked": unasked(files, place, file)}
    return map_rows(files, name, place, columns, identity=keys[0], identified_by=(), required=keys, derived=derived)


def _taken(rows: DataFrame, keys: Sequence[str], faults: Faults = ()) -> DataFrame:
    return take(with_reason(rows, keys, faults, keys), {UNASKED: F.col("unasked")}).drop("unasked")


def _first(rows: DataFrame, key: str) -> Column:
    """Whether a row's key stands in another row that sorts before it."""
    order = Window.partitionBy(key, "unasked").orderBy("corrupt", "row")
    return F.col(key).isNotNull() & (F.row_number().over(order) > 1)


def _with_twice(rows: DataFrame, key: str) -> DataFrame:
    return rows.withColumn("twice", _first(rows, key))


def _texts(spark: SparkSession, file: RowSource, name: str) -> DataFrame:
    """(key, text). Of several rows of one key in a file that which sorts first is taken."""
    rows = _with_twice(_mapped(spark, file, name, file.model_dump(include={"key", "text"}), ("key",)), "key")
    return _taken(rows, ("key",), [(F.col("twice"), TWICE)]).drop("twice")


def _entities(spark: SparkSession, texts: DataFrame | None) -> DataFrame:
    """(key) of all entities that a file has."""
    if texts is None:
        return spark.createDataFrame([], "key string")
    sound = F.col("reason").isNull() & F.col("left_out").isNull() & F.col("source").startswith("entities.")
    return texts.where(sound).select("key").distinct()


def _aliases(spark: SparkSession, given: TripleGraphConfig) -> DataFrame | None:
    """(alias, named): another key, and that of the entity."""
    if given.aliases is None:
        return None
    columns = {"alias": given.aliases.alias, "named": given.aliases.key}
    rows = _with_twice(_mapped(spark, given.aliases, "aliases", columns, ("alias", "named")), "alias")
    return _taken(rows, ("alias", "named"), [(F.col("twice"), TWICE)]).drop("twice")


def _named(rows: DataFrame, column: str, aliases: DataFrame | None) -> DataFrame:
    """The key of the entity in place of another one of its keys."""
    if aliases is None:
        return rows
    sound = aliases.where(F.col("reason").isNull() & F.col("left_out").isNull())
    names = sound.select(F.col("alias").alias(column), F.col("named").alias("own"))
    found = rows.join(F.broadcast(names), on=column, how="left")
    return found.withColumn(column, F.coalesce("own", column)).drop("own")


def _marked(rows: DataFrame, column: str, entities: DataFrame) -> DataFrame:
    """``knows_COLUMN``: true where a file has the entity, else null."""
    known = entities.select(F.col("key").alias(column), F.lit(True).alias(f"knows_{column}"))
    return rows.join(known, on=column, how="left")


def _items(
    spark: SparkSession, given: TripleGraphConfig, entities: DataFrame, aliases: DataFrame | None
) -> DataFrame | None:
    """(entity, item): an item is one entity. Where files of entities are given, they have it."""
    if given.items is None:
        return None
    columns = {"item": given.items.item, "entity": given.items.entity}
    rows = _named(_mapped(spark, given.items, "items", columns, ("item", "entity")), "entity", aliases)
    rows = _with_twice(_marked(rows, "entity", entities), "item")
    strange = F.lit(bool(given.entities)) & F.col("knows_entity").isNull()
    faults = [(strange, STRANGER), (F.col("twice"), TWICE)]
    return _taken(rows, ("item", "entity"), faults).drop("twice", "knows_entity")


def _triples(
    spark: SparkSession, given: TripleGraphConfig, entities: DataFrame, aliases: DataFrame | None, seed: int
) -> DataFrame:
    """(head, relation, tail, split, new_entities) of all files. A triple counts once; where several splits have it, it
    is of the one that is evaluated."""
    parts = [_triples_of(spark, file, f"triples.{name}") for name, file in given.triples.items()]
    rows = reduce(DataFrame.unionByName, parts)
    for side in ("head", "tail"):
        rows = _marked(_named(rows, side, aliases), side, entities)
    strange = F.col("knows_head").isNull() | F.col("knows_tail").isNull()
    keys = ("head", "relation", "tail")
    unknown = F.col("unknown")
    found = with_reason(rows, keys, [(strange & (unknown == "reject"), STRANGER)], keys)
    empty = F.col("lists") & F.col("tail").isNull() & F.col("head").isNotNull() & F.col("relation").isNotNull()
    left_out = {
        UNASKED: F.col("unasked"),
        EMPTY: F.coalesce(empty, F.lit(False)),
        STRANGER: F.col("reason").isNull() & strange & (unknown == "leave_out"),
    }
    new = strange & (unknown == "key_is_text")
    split = F.coalesce("split", _drawn(given, seed))
    once = _once(found.withColumns({"split": split, "new_entities": new}), reduce(Column.__or__, left_out.values()))
    made = take(once, {**left_out, AGAIN: F.col("again")})
    return made.drop("unasked", "unknown", "lists", "knows_head", "knows_tail", "again")


def _triples_of(spark: SparkSession, file: TripleFile, name: str) -> DataFrame:
    files = read_source(spark, file)
    tail = mapped(files, f"graph.{name}", {"tail": file.tail})["tail"]
    (kind,) = (item.dataType for item in files.rows.select(tail).schema.fields)
    lists = isinstance(kind, T.ArrayType)
    columns = {"head": file.head, "relation": file.relation, "tail": file.tail}
    if lists:
        files = replace(files, rows=files.rows.withColumn(_ENTRY, F.explode_outer(tail)))
        columns["tail"] = _ENTRY
    keys = ("head", "relation") if lists else ("head", "relation", "tail")
    rows = _mapped(spark, file, name, columns, keys, files)
    return rows.withColumns(
        {"split": F.lit(file.split).cast("string"), "unknown": F.lit(file.unknown), "lists": F.lit(lists)}
    )


_HASHES = 1 << 24


def _drawn(given: TripleGraphConfig, seed: int) -> Column:
    """A split by a keyed hash of the two entities, in either order."""
    ends = F.least("head", "tail"), F.greatest("head", "tail")
    drawn = F.pmod(F.xxhash64(F.lit("split"), F.lit(seed), *ends), F.lit(_HASHES)) / _HASHES
    shares = given.split
    held = F.when(drawn < shares.test, "test").when(drawn < shares.test + shares.validation, "validation")
    return held.otherwise("train")


def _once(rows: DataFrame, left_out: Column) -> DataFrame:
    """Rows with ``again``: whether it is one more of a triple and split. A sound row whose triple a more evaluated
    split has (of test, validation, train) gets a reason."""
    sound = F.col("reason").isNull() & ~left_out
    same = Window.partitionBy("head", "relation", "tail", "sound")
    order = F.array_position(F.array(*map(F.lit, ("test", "validation", "train"))), F.col("split"))
    number = F.row_number().over(Window.partitionBy("head", "relation", "tail", "sound", "split").orderBy("row_id"))
    ranked = rows.withColumn("sound", sound).withColumns({"number": number, "first": F.min(order).over(same)})
    again = F.col("sound") & (F.col("number") > 1)
    elsewhere = F.col("sound") & ~again & (order > F.col("first"))
    reason = F.when(elsewhere, ELSEWHERE).otherwise(F.col("reason"))
    return ranked.withColumn("again", again).withColumn("reason", reason).drop("sound", "number", "first")
