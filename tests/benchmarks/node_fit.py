"""One run of the benchmark of node labels: a model of one setting, trained on one split by the suite's trainer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from roilake.config.base import ModelConfig
from roilake.pipelines.node_labels.training import NodeTask, predict
from roilake.pipelines.node_labels.training.task import measured
from roilake.training import Checkpoints, LocalContext, Settings, train
from tests.benchmarks.node_data import NodeData
from tests.benchmarks.node_homophily import BUCKETS, bucket_of, own_homophily


@dataclass(frozen=True)
class Setting:
    """What is tuned; and how all models are trained: Adam on the whole graph until 20 validations were no better."""

    options: dict[str, Any] = field(default_factory=dict)
    learning_rate: float = 0.01
    weight_decay: float = 5e-4
    steps: int = 500
    validate_every: int = 5
    warmup_steps: int = 0
    decay: Literal["constant"] = "constant"

    @property
    def tuned(self) -> dict[str, Any]:
        """As it is written down."""
        return {"options": self.options, "learning_rate": self.learning_rate, "weight_decay": self.weight_decay}


def make_task(data: NodeData, kind: str, setting: Setting, split: int) -> NodeTask:
    """The task of a split. Labels of its test nodes are not in it."""
    train_nodes, validation, _ = data.nodes(split)
    config = ModelConfig(kind=kind, options=setting.options)
    known, select = data.seen_labels(split), "auc" if data.binary else "accuracy"
    return NodeTask(data.graph, known, train_nodes, validation, data.classes, config, setting, split, select)


def fit(data: NodeData, kind: str, setting: Setting, split: int) -> dict[str, Any]:
    """``validation`` and ``test`` score (ROC AUC of two classes, else accuracy), and right and all test nodes by bucket
    of their own homophily."""
    task = make_task(data, kind, setting, split)
    never = Checkpoints(Path("never"), "")
    settings = Settings(kind, split, setting.steps + 1, patience=20, one_thread=True)
    model, progress = train(task, LocalContext(), never, settings)
    here = next(model.parameters()).device
    log_NC, test = predict(model, data.graph.on(here)).cpu(), list(data.nodes(split))[2]
    test = test[torch.from_numpy(data.label_N)[test] >= 0]
    label = torch.from_numpy(data.label_N)[test]
    bucket = bucket_of(own_homophily(data.graph.edge_2E, data.label_N))[test.numpy()]
    right = (log_NC[test].argmax(dim=1) == label).numpy()
    return {
        "validation": progress.best_score,
        "test": measured(log_NC[test], label)[task.select],
        "steps": progress.steps,
        "seconds": round(progress.seconds, 2),
        "buckets": [[int(right[bucket == b].sum()), int(np.sum(bucket == b))] for b in range(len(BUCKETS))],
    }
