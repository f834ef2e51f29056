"""What is audited of a night before it is published, beside what every pipeline's is: no triple is learnt from and
evaluated by, and what is completed is new, in order and has probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from roilake.lake import Lake
from roilake.metrics.gates import GateResult, Measured, result_of
from roilake.metrics.leakage import check_shuffled
from roilake.metrics.night_tables import NightTables, counted_faults
from roilake.pipelines.knowledge_graph.config import KnowledgeGraphConfig

FACT = ("head", "relation", "tail")


def filled(config: KnowledgeGraphConfig) -> list[str]:
    """Tables that the night must have rows of."""
    return ["triples", "entity_texts", "relations", "models", "champions", "metrics", "entities", "completed_edges"]


def checks(
    lake: Lake, config: KnowledgeGraphConfig, ds: date, versions: Mapping[str, int], now: Measured
) -> Iterator[GateResult]:
    """All checks of night ``ds`` at these table versions; ``now`` are its metrics."""
    night = NightTables(lake, config.pipeline, ds, versions)
    triples, entities, completed = (night.read(name) for name in ("triples", "entities", "completed_edges"))
    yield from check_shuffled(now, "evaluate_knowledge_graph")
    yield result_of("facts_in_one_split", in_two_splits(triples), 3)
    yield result_of("entities_have_vectors", without_vector(entities, night.read("entity_texts")), 3)
    yield result_of("completed_edges_are_new", not_new(completed, triples), 3)
    yield result_of("completed_edges_in_order", out_of_order(completed), 3)


def in_two_splits(triples: DataFrame) -> Iterator[str]:
    """Facts that several rows have: of one split, or of two."""
    count = triples.groupBy(*FACT).count().where("count > 1").count()
    if count:
        yield f"triples: {count} facts stand in several rows, must be 0"


def without_vector(entities: DataFrame, texts: DataFrame) -> Iterator[str]:
    """Entities without a vector, and vectors that are none."""
    missing = texts.join(entities, on="key", how="left_anti").count()
    if missing:
        yield f"entities: {missing} entities have no vector, must be 0"
    widths = entities.select(F.size("vector").alias("width")).distinct().count()
    if widths > 1:
        yield f"entities: vectors have {widths} different lengths, must be 1"
    finite = F.forall("vector", lambda each: (F.abs(each) < float("inf")) & ~F.isnan(each))
    yield from counted_faults("entities", entities, {"vectors that are NaN or infinite": ~finite})


def not_new(completed: DataFrame, triples: DataFrame) -> Iterator[str]:
    """Completed facts that are known, and those of an entity with itself."""
    known = completed.join(triples, on=list(FACT), how="left_semi").count()
    if known:
        yield f"completed_edges: {known} rows are known facts, must be 0"
    loops = completed.where(F.col("head") == F.col("tail")).count()
    if loops:
        yield f"completed_edges: {loops} rows are facts of an entity with itself, must be 0"


def out_of_order(completed: DataFrame) -> Iterator[str]:
    """Ranks that are not 1, 2, ... by score, and probabilities that are none."""
    asked = F.when(F.col("sought") == "tail", F.col("head")).otherwise(F.col("tail"))
    of_one = Window.partitionBy("sought", "relation", asked).orderBy("rank")
    rows = completed.withColumns(
        {
            "place": F.row_number().over(of_one),
            "before": F.lag("score").over(of_one),
            "total": F.sum("probability").over(of_one),
        }
    )
    faults = {
        "rows whose rank is not the next one": F.col("rank") != F.col("place"),
        "rows with a greater score than the one before": F.col("score") > F.col("before"),
        "rows whose probability is none": ~F.col("probability").between(0, 1) | (F.col("total") > 1 + 1e-4),
    }
    yield from counted_faults(
        "completed_edges", rows, {name: F.coalesce(each, F.lit(False)) for name, each in faults.items()}
    )
