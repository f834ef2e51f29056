"""Evaluate every model on the triples that it has not seen; write metrics with intervals, and who serves."""

from __future__ import annotations

from datetime import date

from roilake.lake import Lake
from roilake.metrics.champion import champion_of
from roilake.pipelines.knowledge_graph.config import KnowledgeGraphConfig
from roilake.pipelines.knowledge_graph.evaluation.champion import choose_champion
from roilake.pipelines.knowledge_graph.evaluation.measures import EVALUATED, Ranked, measure, queries_of, ranked
from roilake.pipelines.knowledge_graph.evaluation.saved import saved_models
from roilake.pipelines.knowledge_graph.training.inputs import read_facts
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, recorded


def run(lake: Lake, config: KnowledgeGraphConfig, ds: date) -> StepResult:
    """Write tables ``champions`` and ``metrics``."""
    with recorded(lake, config, ds, "evaluate_knowledge_graph") as record:
        facts = read_facts(record)
        graph, evaluation = facts.graph, config.evaluation
        asked = {split: queries_of(facts, split, evaluation.relations) for split in EVALUATED}
        record.rows_in = sum(queries.triples for queries in asked.values())
        found: dict[str, dict[str, Ranked]] = {split: {} for split in EVALUATED}
        for name, model in saved_models(record).items():
            with record.stage(f"ranks of {name}"):
                scorer = model.open(graph).scorer()
                for split, queries in asked.items():
                    found[split][name] = ranked(scorer, facts, queries, config.seed)
        last = lake.publication(config.pipeline, before=ds)
        before = champion_of(lake, last) if last else None
        champion = choose_champion(asked["validation"], found["validation"], config, before, ds)
        record.write("champions", champion.to_table(ds))
        settings = (champion.model, evaluation.bootstrap, config.seed, ds, record.run.run_id)
        record.write("metrics", measure(asked, found, *settings))
    return record.result


if __name__ == "__main__":
    main(run, "knowledge_graph")
