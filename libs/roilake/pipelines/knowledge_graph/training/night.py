"""What a night's models are trained from, pinned, and a trained one read again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from roilake.config import ModelConfig
from roilake.pipelines.knowledge_graph import models
from roilake.pipelines.knowledge_graph.config import KgTrainingConfig, KnowledgeGraphConfig
from roilake.pipelines.knowledge_graph.evaluation.ranking import ModelScores, adjacency, choose_bonus
from roilake.pipelines.knowledge_graph.models import KnowledgeGraph, both_ways
from roilake.pipelines.knowledge_graph.training.inputs import KgInputs, read_facts
from roilake.pipelines.knowledge_graph.training.task import KgTask
from roilake.runtime.step import Recorder
from roilake.training import Artifacts, Context, Plan, Settings, night
from roilake.training.artifacts import WEIGHTS, read_manifest


def plan_models(record: Recorder, config: KnowledgeGraphConfig, folder: Path) -> Plan[KgInputs]:
    """The night's graph as training may see it, as files in ``folder``, and all that is trained on it."""
    facts = read_facts(record)
    record.rows_in = sum(len(triple_E3) for triple_E3 in facts.triples.values())
    KgInputs(facts.graph, facts.triples["validation"]).save(folder)
    entries = []
    for name, model in config.models.items():
        settings = Settings.of(name, config.seed, config.training)
        own = {key: value for key in ("epochs", "batch_size") if (value := getattr(model, key)) is not None}
        training = config.training.model_copy(update=own)
        task = partial(_task, config=model, training=training, seed=config.seed)
        artifacts = partial(_artifacts, rerank=model.rerank)
        entries.append(night.make_entry(record, model, settings, task, artifacts))
    return night.make_plan(record, partial(_open, folder), entries)


def _open(folder: Path, context: Context) -> KgInputs:
    return KgInputs.open(folder)


def _task(inputs: KgInputs, config: ModelConfig, training: KgTrainingConfig, seed: int) -> KgTask:
    return KgTask(inputs.graph, inputs.validation_V3, config, training, seed)


def _artifacts(inputs: KgInputs, task: KgTask, model: nn.Module, folder: str, rerank: bool) -> Artifacts:
    """``near``: the bonus for what is near the head, and how many hops that is."""
    return {"near": _near(inputs, model) if rerank else (0.0, 1)}, {}


def _near(inputs: KgInputs, model: nn.Module) -> tuple[float, int]:
    graph, device = inputs.graph, next(model.parameters()).device
    beside = adjacency(graph.train_E3, graph.entities).to(device)
    query_V3 = both_ways(inputs.validation_V3, graph.relations)
    found = choose_bonus(ModelScores(model, graph.entities), beside, query_V3, inputs.known, graph.entities)
    return found.bonus, found.hops


def open_model(folder: Path, graph: KnowledgeGraph) -> nn.Module:
    """A trained model of the same night, without dropout."""
    manifest = read_manifest(folder)
    with torch.random.fork_rng(devices=[]):
        model = models.build(manifest["model"]["kind"], dict(manifest["model"]["options"]), graph)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval()
