"""One run of the benchmark of knowledge graphs: a model of one setting, trained by the suite's trainer and ranked.

Legend of shape suffixes: E triples, Q queries."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roilake.config.base import ModelConfig
from roilake.pipelines.knowledge_graph.evaluation.hybrid import Hybrid, choose_weight
from roilake.pipelines.knowledge_graph.evaluation.ranking import (
    ModelScores,
    Scorer,
    adjacency,
    choose_bonus,
    filtered_ranks,
    measured_by_side,
)
from roilake.pipelines.knowledge_graph.models import both_ways, build, check
from roilake.pipelines.knowledge_graph.training import KgTask
from roilake.training import Checkpoints, LocalContext, Settings, train
from roilake.training.context import Determinism
from tests.benchmarks.kgc_data import KgData


@dataclass(frozen=True)
class Setting:
    """How a model is trained. ``rerank``: with a bonus for what is near the head."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 20
    batch_size: int = 1024
    validate_every: int = 5
    validation_triples: int = 500
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 100
    decay: Literal["constant", "linear", "cosine"] = "linear"
    rerank: bool = False
    seed: int = 0

    def with_options(self, **options: Any) -> Setting:
        """The same but for some options of the model."""
        return replace(self, options={**self.options, **options})

    @property
    def checked(self) -> Any:
        """The model's options with all that they do not say."""
        return check(self.kind, self.options)

    @property
    def tuned(self) -> dict[str, Any]:
        """As it is written down."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def fit(data: KgData, setting: Setting, weights: Path | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The trained model, and its figures; its weights as a file too."""
    context, never = LocalContext(), Checkpoints(Path("never"), "")
    config = ModelConfig(kind=setting.kind, options=setting.options)
    task = KgTask(data.graph, data.valid_E3, config, setting, setting.seed)
    text = setting.kind == "simkgc"  # the others' distances cancel, which TF32 is too coarse for
    determinism: Determinism = "fast" if text else "strict"
    settings = Settings(setting.kind, setting.seed, 10**9, mixed_precision=text, determinism=determinism)
    model, progress = train(task, context, never, settings)
    if weights:
        weights.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.cpu() for name, tensor in model.state_dict().items()}, weights)
    curve = [[point["step"], round(point["mrr"], 4)] for point in progress.validations]
    return model, {"steps": progress.steps, "seconds": round(progress.seconds, 1), "curve": curve}


def reopen(data: KgData, setting: Setting, weights: Path) -> nn.Module:
    """A model that ``fit`` wrote."""
    model: nn.Module = build(setting.kind, setting.options, data.graph)
    model.load_state_dict(load_file(weights))
    return model.to(LocalContext().device)


def scorer(data: KgData, setting: Setting, model: nn.Module) -> tuple[Scorer, dict[str, Any]]:
    """What ranks by a model; with the bonus that validation prefers, where the setting has one."""
    scores: Scorer = ModelScores(model, data.graph.entities)
    if not setting.rerank:
        return scores, {}
    graph = adjacency(data.graph.train_E3, data.graph.entities).to(LocalContext().device)
    queries = both_ways(few(data), data.graph.relations)
    near = choose_bonus(scores, graph, queries, data.known, data.graph.entities)
    return near, {"bonus": near.bonus, "hops": near.hops}


def hybrid(data: KgData, text: Scorer, structure: Scorer) -> tuple[Scorer, dict[str, Any]]:
    """Both together, by the weight that validation prefers."""
    queries = both_ways(data.valid_E3, data.graph.relations)
    weight = choose_weight(text, structure, queries, data.known, data.graph.entities)
    return Hybrid(text, structure, weight), {"weight": weight}


def ranked(data: KgData, scores: Scorer) -> dict[str, Any]:
    """``validation`` MRR, metrics of ``test`` by side, and queries per second of the latter."""
    queries, began = both_ways(data.test_E3, data.graph.relations), time.perf_counter()
    ranks = filtered_ranks(scores, queries, data.known, data.graph.entities)
    rate = len(queries) / (time.perf_counter() - began)
    test = measured_by_side(ranks, queries, data.graph.relations)
    relation_Q = queries[:, 1] % data.graph.relations
    by_relation = {
        data.graph.relation_text[r]: [
            int((relation_Q == r).sum()),
            round(float(ranks.reciprocal_Q[relation_Q == r].mean()), 4),
        ]
        for r in relation_Q.unique().tolist()
    }
    found = {"validation": mrr(data, scores, data.valid_E3), "test": test, "queries_per_second": round(rate)}
    return {**found, "mrr_by_relation": by_relation}


def mrr(data: KgData, scores: Scorer, triple_E3: Tensor) -> float:
    """Filtered MRR of both directions."""
    queries = both_ways(triple_E3, data.graph.relations)
    return filtered_ranks(scores, queries, data.known, data.graph.entities).measured()["mrr"]


def few(data: KgData) -> Tensor:
    """500 triples of validation."""
    order = np.random.default_rng(0).permutation(len(data.valid_E3))[:500]
    return data.valid_E3[torch.from_numpy(order)]
