"""Sound rows of triples, texts and items -> the numbered entities and relations of a night."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.errors import AuditError
from roilake.pipelines.knowledge_graph.config import TripleGraphConfig
from roilake.pipelines.knowledge_graph.ingest.texts import tidy, words_of


def triples_of(sound: DataFrame) -> DataFrame:
    """(head, relation, tail, split)."""
    return sound.where(F.col("source").startswith("triples.")).select("head", "relation", "tail", "split")


def entities_of(sound: DataFrame, given: TripleGraphConfig) -> DataFrame:
    """(key, text, items): all that a file of entities has, and those of triples whose key is
    their text. Where several files have one key, the first of the config that has a text for it counts."""
    names = [f"entities.{name}" for name in given.entities]
    place = F.array_position(F.array(*map(F.lit, names)).cast("array<string>"), F.col("source"))
    told = sound.where(F.col("source").startswith("entities.")).select("key", "text", place.alias("place"))
    new = sound.where(F.col("source").startswith("triples.") & F.col("new_entities"))
    keys = new.select(F.explode(F.array("head", "tail")).alias("key")).distinct()
    own = keys.select("key", F.col("key").alias("text"), F.lit(len(names) + 1).alias("place"))
    known = told.unionByName(own).withColumn("text", tidy(F.col("text"), given.longest_text))
    best = F.min(F.struct((F.col("text") == "").alias("blank"), "place", "text"))
    texts = known.groupBy("key").agg(best.alias("best")).select("key", "best.text")
    rows = texts.join(_items_of(sound, given), on="key", how="left")
    items = F.coalesce("items", F.array().cast("array<string>"))
    return rows.withColumn("items", items)


def _items_of(sound: DataFrame, given: TripleGraphConfig) -> DataFrame:
    """(key, items) of entities that are items."""
    if given.items is None:
        return sound.sparkSession.createDataFrame([], "key string, items array<string>")
    rows = sound.where(F.col("source") == "items")
    return rows.groupBy(F.col("entity").alias("key")).agg(F.sort_array(F.collect_set("item")).alias("items"))


def relations_of(sound: DataFrame, given: TripleGraphConfig) -> dict[str, str]:
    """Text by key of the relations of triples, in order of the key; relations are few. Raises AuditError for one
    without a text, and for two whose texts a model cannot tell apart."""
    keys = [row["relation"] for row in triples_of(sound).select("relation").distinct().collect()]
    found = {key: words_of(key) for key in sorted(keys)}
    if given.relations is not None:
        told = sound.where(F.col("source") == "relations").select("key", tidy(F.col("text"), given.longest_text))
        found |= {key: text for key, text in told.collect() if key in found and text}
    check_relations(found)
    return found


def check_relations(texts: Mapping[str, str]) -> None:
    alike: dict[str, list[str]] = {}
    for key, text in texts.items():
        words = words_of(text)
        if not words:
            raise AuditError(f"graph.triples: relation {key!r} has no words; give it a text in graph.relations")
        alike.setdefault(words, []).append(key)
    for words, keys in alike.items():
        if len(keys) > 1:
            raise AuditError(
                f"graph.triples: relations {' and '.join(map(repr, keys[:3]))} have one text, {words!r}, when case and "
                "signs are left out, and a model of texts cannot tell them apart; give them other texts in "
                "graph.relations, or map them to one relation"
            )
