"""Files of triples and texts -> ``triples``, ``entity_texts`` and ``relations``."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.errors import AuditError
from roilake.ingest import Budget, accounted, count_keys, numbered
from roilake.lake import TABLES, Lake
from roilake.lake.session import cached
from roilake.pipelines.knowledge_graph.config import KnowledgeGraphConfig, TripleGraphConfig
from roilake.pipelines.knowledge_graph.ingest.files import source_rows
from roilake.pipelines.knowledge_graph.ingest.graph import entities_of, relations_of, triples_of
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded

_FILES = 2


def run(lake: Lake, config: KnowledgeGraphConfig, ds: date) -> StepResult:
    """Write the night's graph, whole. Raises AuditError, after writing ``quarantine``, when a file loses more rows than
    ``graph`` allows, when two relations have one text, and when no triple is left to learn from or to evaluate by."""
    given = config.graph
    budget = Budget("graph", given, {name: file.path for name, file in given.sources.items()})
    with recorded(lake, config, ds, "ingest_triples") as record:
        rows = source_rows(lake.spark, given, config.seed)
        with accounted(record, rows, budget) as sound:
            _write(record, sound, given)
    return record.result


def _write(record: Recorder, sound: DataFrame, given: TripleGraphConfig) -> None:
    night = F.lit(record.run.ds).alias("ds")
    with cached(triples_of(sound)) as triples:
        _check(record, triples, given.minimum_keys)
        relations = enumerate(relations_of(sound, given).items())
        rows = [
            {"ds": record.run.ds, "relation": number, "key": key, "text": text} for number, (key, text) in relations
        ]
        record.write("relations", pa.Table.from_pylist(rows, schema=TABLES["relations"].arrow_schema))
        record.write("triples", triples.select(night, "*").coalesce(_FILES))
    with numbered(entities_of(sound, given), "entity", "key") as entities:
        record.details["texts"] = _texts(entities, given.longest_text)
        record.write("entity_texts", entities.select(night, "*").coalesce(_FILES))


def _check(record: Recorder, triples: DataFrame, minimum: int) -> None:
    """Note how many triples each relation has, by split. Raises AuditError where a split has none."""
    count_keys(record, triples, ("head", "tail"), minimum)
    counts = triples.groupBy("relation", "split").count().collect()
    found: dict[str, dict[str, int]] = {}
    for relation, split, count in sorted(counts):
        found.setdefault(relation, {})[split] = count
    record.details["relations"] = found
    for split in ("train", "validation", "test"):
        if not any(split in of_relation for of_relation in found.values()):
            raise AuditError(
                f"graph.triples: 0 of {sum(sum(each.values()) for each in found.values()):,} triples are in split "
                f"{split}, at least 1 is needed; take other shares in graph.split, or other files"
            )


def _texts(entities: DataFrame, longest: int) -> dict[str, int]:
    """How many entities there are, how many have no text, and how many one that was cut."""
    length = F.length("text")
    sums = {"without": F.sum((length == 0).cast("int")), "cut": F.sum((length >= longest - 1).cast("int"))}
    found = entities.agg(F.count(F.lit(1)).alias("entities"), *(each.alias(name) for name, each in sums.items()))
    return {name: int(count or 0) for name, count in found.collect()[0].asDict().items()}


if __name__ == "__main__":
    main(run, "knowledge_graph")
