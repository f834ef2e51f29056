"""What pipeline ``knowledge_graph`` published of the items of a night: who shares what, and vectors.

Legend: I items, D width of vectors, V coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.errors import LakeError
from roilake.lake import Publication
from roilake.pipelines.retrieval.config import PublishedFacts
from roilake.runtime.step import Recorder

UPSTREAM, KNOWN = "knowledge_graph", "item_item_known"
_TABLES = ("triples", "completed_edges", "entities")
_FACT = ("head", "relation", "tail")


@dataclass(frozen=True)
class PublishedNight:
    """The last night of ``knowledge_graph`` up to this one, looked up once."""

    record: Recorder
    night: Publication
    given: PublishedFacts

    @classmethod
    def of(cls, record: Recorder, given: PublishedFacts) -> PublishedNight:
        """Raises LakeError where none is published."""
        found = [record.upstream(UPSTREAM, table) for table in _TABLES]
        if found[0] is None or None in found:
            raise LakeError(f"graph.facts: no night of {UPSTREAM} with facts is published up to {record.run.ds}")
        return cls(record, found[0], given)

    def pairs(self, nodes: DataFrame) -> DataFrame:
        """(edge_type, src, dst, weight, first_time) of items that have facts in common: see ``known_pairs``."""
        completed = self._read("completed_edges").where(F.col("probability") >= self.given.least)
        named = completed.groupBy(*_FACT).agg(F.max("probability").alias("probability"))
        facts = self._read("triples").select(*_FACT, F.lit(1.0).alias("probability")).unionByName(named)
        if self.given.relations is not None:
            facts = facts.where(F.col("relation").isin(*self.given.relations))
        items = self._read("entities").select(F.col("key").alias("entity"), F.explode("items").alias("key"))
        return known_pairs(facts, items, nodes.where(F.col("node_type") == "item"), self.given.most_items)

    def vectors(self) -> pa.Table:
        """(key, vector) of the items, V coordinates each, turned towards those of the retrieval night before: models
        go on training from what they have learnt of these."""
        where, columns = {"ds": self.night.ds}, ("items", "vector")
        version = self.night.versions["entities"]
        rows = self.record.lake.to_arrow("entities", version, filters=where, columns=columns)
        lengths = np.array([len(items) for items in rows["items"].to_pylist()])
        keys = [key for items in rows["items"].to_pylist() for key in items]
        vector_ID = np.array(rows["vector"].to_pylist(), np.float32)[np.repeat(np.arange(len(lengths)), lengths)]
        coordinates = turned(principal(vector_ID, self.given.vectors), self._before(keys))
        return pa.table({"key": keys, "vector": pa.array(list(coordinates), pa.list_(pa.float32()))})

    def _before(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """The vectors that these items had in the last published retrieval night [I, V]; NaN where there are none."""
        lake, run = self.record.lake, self.record.run
        before_IV = np.full((len(keys), self.given.vectors), np.nan, np.float32)
        night = lake.publication(run.pipeline, before=run.ds)
        if night is None:
            return before_IV
        where, columns = {"ds": night.ds, "node_type": "item"}, ("key", "vector")
        rows = lake.to_arrow("nodes", night.versions["nodes"], filters=where, columns=columns).to_pylist()
        had = {row["key"]: row["vector"] for row in rows if len(row["vector"] or ()) == self.given.vectors}
        known = [number for number, key in enumerate(keys) if key in had]
        if known:
            before_IV[known] = [had[keys[number]] for number in known]
        return before_IV

    def _read(self, table: str) -> DataFrame:
        """The night's own rows."""
        rows = self.record.lake.read(table, version=self.night.versions[table])
        return rows.where(F.col("ds") == F.lit(self.night.ds))


def known_pairs(facts: DataFrame, items: DataFrame, nodes: DataFrame, most_items: int) -> DataFrame:
    """(edge_type, src, dst, weight, first_time) of pairs of items, both ways, with

        weight = sum over facts of the same relation and entity of p_src p_dst / n  +  sum over facts of both of p

    p is a fact's probability, n the number of items that have it of that entity: the chance to walk from an item by an
    entity to another one. ``facts`` are (head, relation, tail, probability), ``items`` (entity, key), ``nodes`` (id,
    key, first_time) of items. A pair counts from when its target had an event: what a fact says of the source is true
    before anybody chose it."""
    known = items.join(nodes.select("key", "id", "first_time"), on="key", how="inner")
    had = _had(facts, known)
    count = had.groupBy("relation", "side", "other").agg(F.count(F.lit(1)).alias("n"))
    few = had.join(count.where(F.col("n").between(2, most_items)), on=["relation", "side", "other"], how="inner")
    shared = ["relation", "side", "other", "n"]
    left = few.select(*shared, F.col("id").alias("src"), F.col("probability").alias("own"))
    right = few.select(*shared, F.col("id").alias("dst"), "probability", "first_time")
    weight = (F.col("own") * F.col("probability") / F.col("n")).alias("weight")
    by_entity = left.join(right, on=shared, how="inner").select("src", "dst", "first_time", weight)
    pairs = by_entity.unionByName(_joined(facts, known)).where(F.col("src") != F.col("dst"))
    total = pairs.groupBy("src", "dst").agg(
        F.sum("weight").cast("float").alias("weight"), F.min("first_time").alias("first_time")
    )
    return total.select(F.lit(KNOWN).alias("edge_type"), "src", "dst", "weight", "first_time")


def _had(facts: DataFrame, known: DataFrame) -> DataFrame:
    """(relation, side, other, id, first_time, probability): what each item has, as head or as tail of facts."""
    parts = []
    for side, other in (("head", "tail"), ("tail", "head")):
        names = ("relation", F.lit(side).alias("side"), F.col(other).alias("other"), "probability")
        own = facts.select(F.col(side).alias("entity"), *names).join(known, on="entity", how="inner")
        parts.append(
            own.groupBy("relation", "side", "other", "id", "first_time").agg(F.max("probability").alias("probability"))
        )
    return parts[0].unionByName(parts[1])


def _joined(facts: DataFrame, known: DataFrame) -> DataFrame:
    """(src, dst, first_time, weight) of items that are head and tail of a fact, both ways."""
    ends = facts.select("head", "tail", F.col("probability").alias("weight"))
    there = ends.unionByName(ends.select(F.col("tail").alias("head"), F.col("head").alias("tail"), "weight"))
    src = known.select(F.col("entity").alias("head"), F.col("id").alias("src"))
    dst = known.select(F.col("entity").alias("tail"), F.col("id").alias("dst"), "first_time")
    both = there.join(src, on="head", how="inner").join(dst, on="tail", how="inner")
    return both.select("src", "dst", "first_time", "weight")


def principal(vector_ID: NDArray[np.float32], coordinates: int) -> NDArray[np.float32]:
    """The first V principal coordinates [I, V], of mean square 1 together; those beyond D or I are 0. Of each direction
    the sign is that in which its largest loading is positive."""
    found_IV = np.zeros((len(vector_ID), coordinates), np.float32)
    if not len(vector_ID):
        return found_IV
    centred_ID = vector_ID.astype(np.float64) - vector_ID.mean(0)
    values_D, loadings_DD = np.linalg.eigh(centred_ID.T @ centred_ID / len(vector_ID))
    first_DV = loadings_DD[:, np.argsort(-values_D, kind="stable")[:coordinates]]
    largest_V = np.abs(first_DV).argmax(0)
    first_DV = first_DV * np.sign(first_DV[largest_V, np.arange(first_DV.shape[1])])
    own_IV = centred_ID @ first_DV
    scale = np.sqrt((own_IV**2).sum(1).mean())
    found_IV[:, : own_IV.shape[1]] = own_IV / (scale or 1.0)
    return found_IV


def turned(vector_IV: NDArray[np.float32], before_IV: NDArray[np.float32]) -> NDArray[np.float32]:
    """vector R with the orthogonal R of least |vector R - before| over the items that had a vector before; as they are
    where none had. Distances stay.

    Source: Schoenemann, "A generalized solution of the orthogonal Procrustes problem" (1966)."""
    known_I = ~np.isnan(before_IV).any(axis=1)
    if not known_I.any():
        return vector_IV
    left_VV, _, right_VV = np.linalg.svd(vector_IV[known_I].astype(np.float64).T @ before_IV[known_I])
    return (vector_IV @ (left_VV @ right_VV)).astype(np.float32)
