"""Give every entity its vector, as the model that serves has it."""

from __future__ import annotations

from datetime import date

from roilake.lake import Lake
from roilake.lake.scratch import scratch_folder
from roilake.pipelines.knowledge_graph.completion.tasks import Embedding, lay_out
from roilake.pipelines.knowledge_graph.config import KnowledgeGraphConfig
from roilake.pipelines.knowledge_graph.evaluation.ranking import BLOCK
from roilake.pipelines.knowledge_graph.evaluation.saved import serving_model
from roilake.pipelines.knowledge_graph.training.inputs import read_facts
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, recorded


def run(lake: Lake, config: KnowledgeGraphConfig, ds: date) -> StepResult:
    """Write table ``entities``, by Spark's tasks."""
    scratch = lake.scratch("embed_entities")
    with recorded(lake, config, ds, "embed_entities") as record, scratch_folder(scratch) as spill:
        facts, model = read_facts(record), serving_model(record, config)
        record.rows_in = facts.entities.num_rows
        folder = lay_out(spill, facts)
        blocks = -(-record.rows_in // BLOCK)
        tasks = lake.spark.range(0, blocks, 1, min(blocks, 4 * lake.spark.sparkContext.defaultParallelism))
        record.write_from_tasks(["entities"], tasks, Embedding(folder, model, ds))
        record.details["model"] = model.name
    return record.result


if __name__ == "__main__":
    main(run, "knowledge_graph")
