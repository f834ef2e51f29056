"""Name the likeliest new tails of each (head, relation), and where asked the likeliest new heads of each tail."""

from __future__ import annotations

from datetime import date

import numpy as np
import torch
from torch import Tensor

from roilake.errors import AuditError
from roilake.lake import Lake
from roilake.lake.scratch import scratch_folder
from roilake.pipelines.knowledge_graph.completion.asked import asked_pairs
from roilake.pipelines.knowledge_graph.completion.best import validated_temperature
from roilake.pipelines.knowledge_graph.completion.tasks import Completion, lay_out, lay_out_pairs, pairs_at_once
from roilake.pipelines.knowledge_graph.config import KnowledgeGraphConfig
from roilake.pipelines.knowledge_graph.evaluation.saved import serving_model
from roilake.pipelines.knowledge_graph.models import both_ways
from roilake.pipelines.knowledge_graph.training.inputs import SPLITS, read_facts
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded


def run(lake: Lake, config: KnowledgeGraphConfig, ds: date) -> StepResult:
    """Write table ``completed_edges``, by Spark's tasks. Raises AuditError where nothing is asked for."""
    scratch = lake.scratch("complete_triples")
    with recorded(lake, config, ds, "complete_triples") as record, scratch_folder(scratch) as spill:
        facts, model = read_facts(record), serving_model(record, config)
        pair_Q2, vector_ND = asked_pairs(facts, config.completion), _vectors(record)
        record.rows_in = len(pair_Q2)
        if not len(pair_Q2):
            raise AuditError("completion: no entity has any of the relations; take other relations, or asked: all")
        with record.stage("temperature"):
            scorer = model.open(facts.graph).scorer(vector_ND)
            query_V3 = both_ways(facts.triples["validation"], facts.relations.num_rows)
            temperature = validated_temperature(scorer, query_V3, facts.known(*SPLITS), facts.entities.num_rows)
        folder = lay_out(spill, facts)
        lay_out_pairs(folder, pair_Q2, vector_ND)
        asked = config.completion
        completion = Completion(folder, model, ds, asked.top, temperature, asked.named == "seen")
        _complete(record, completion, pairs_at_once(facts.entities.num_rows))
    return record.result


def _complete(record: Recorder, completion: Completion, size: int) -> None:
    spark, pairs = record.lake.spark, record.rows_in
    blocks = -(-pairs // size)
    with record.stage("complete"):
        tasks = spark.range(0, blocks, 1, min(blocks, 4 * spark.sparkContext.defaultParallelism))
        record.write_from_tasks(["completed_edges"], tasks, completion)
    record.details["named"] = _named(record)
    seconds = max(record.details["stage_seconds"]["complete"], 1e-3)
    record.details |= {"model": completion.model.name, "temperature": completion.temperature, "pairs": pairs}
    record.progress(f"{pairs:,} pairs asked", rows=pairs, seconds=seconds)


def _named(record: Recorder) -> dict[str, int]:
    """New facts by relation."""
    version, where = record.outputs["completed_edges"], {"ds": record.run.ds}
    rows = record.lake.to_arrow("completed_edges", version, filters=where, columns=["relation"])
    return {row["values"]: row["counts"] for row in rows["relation"].value_counts().to_pylist()}


def _vectors(record: Recorder) -> Tensor:
    """[N, D], in order of the entities' numbers."""
    rows = record.rows("entities", columns=["entity", "vector"]).sort_by("entity").combine_chunks()
    flat = rows["vector"].combine_chunks().flatten().to_numpy()
    return torch.from_numpy(np.array(flat.reshape(rows.num_rows, -1), np.float32))


if __name__ == "__main__":
    main(run, "knowledge_graph")
