"""Train the night's models on its known triples, from initial weights."""

from __future__ import annotations

from datetime import date, timedelta

from roilake.lake import Lake
from roilake.lake.scratch import scratch_folder
from roilake.pipelines.knowledge_graph.config import KnowledgeGraphConfig
from roilake.pipelines.knowledge_graph.training.hybrids import hybrid_rows
from roilake.pipelines.knowledge_graph.training.inputs import KgInputs
from roilake.pipelines.knowledge_graph.training.night import plan_models
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, recorded
from roilake.training.night import train_models, write_models


def run(lake: Lake, config: KnowledgeGraphConfig, ds: date) -> StepResult:
    """Write a folder for each model (``roilake.lake.model_folder``) and table ``models``, trained in one launch."""
    scratch = lake.scratch("train_knowledge_graph")
    with recorded(lake, config, ds, "train_knowledge_graph") as record, scratch_folder(scratch) as folder:
        plan = plan_models(record, config, folder)
        rows = train_models(record, plan, config.training.workers, ds + timedelta(days=1))
        write_models(record, [*rows, *hybrid_rows(record, config, rows, KgInputs.open(folder))])
    return record.result


if __name__ == "__main__":
    main(run, "knowledge_graph")
