"""Models of node labels as tasks of the trainer.

Legend of shape suffixes: N nodes, T train nodes of this rank, V validation nodes, C classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roilake.config.base import ModelConfig
from roilake.metrics.classification import auc
from roilake.pipelines.node_labels.models import GraphShape, NodeGraph, build
from roilake.training import Context, Feed, OptimizerPlan, Schedule, Term


class NodeTraining(Protocol):
    """What a task takes from the ``training`` section of a config."""

    steps: int
    validate_every: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    decay: Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class NodeBatch:
    """The whole graph, and the nodes of this rank whose labels it learns from."""

    graph: NodeGraph
    node_T: Tensor  # int64
    label_T: Tensor  # int64


@dataclass(frozen=True)
class NodeTask:
    """L = sum_{i in train} l(y_i, p_i) / |train|, l the cross-entropy of p_i = softmax(logits_i); every step sees the
    whole graph, and each rank the loss of its share of the train nodes.

    ``label_N`` is -1 where nobody knows it. Labels of nodes that are neither in ``train`` nor in ``validation`` are
    never looked at. ``select`` is ``accuracy``, or ``auc`` of class 1 where there are two."""

    graph: NodeGraph
    label_N: Tensor  # int64
    train: Tensor  # int64 nodes
    validation: Tensor  # int64 nodes
    classes: int
    config: ModelConfig
    training: NodeTraining
    seed: int
    select: str = "accuracy"

    def feed(self, context: Context) -> Feed[NodeBatch]:
        """The same batch in every step."""
        training, known = self.training, self._known(self.train)
        own_T = known[context.rank :: context.workers]

        def batches(first: int) -> Iterator[NodeBatch]:
            device = context.device
            batch = NodeBatch(self.graph.on(device), own_T.to(device), self.label_N[own_T].to(device))
            return repeat(batch, training.steps - first)

        return Feed(batches, training.steps, training.validate_every, len(known) / context.workers)

    def model(self) -> nn.Module:
        torch.manual_seed(self.seed)
        shape = GraphShape.of(self.graph, self.classes)
        return build(self.config.kind, dict(self.config.options), shape)

    def losses(self, model: Any, batch: NodeBatch) -> dict[str, Term]:
        logit_TC = model(batch.graph)[batch.node_T].float()
        total = F.cross_entropy(logit_TC, batch.label_T, reduction="sum")
        return {"cross_entropy": Term(total, total.new_tensor(float(len(batch.label_T))))}

    def optimizers(self, model: nn.Module) -> Sequence[OptimizerPlan]:
        training = self.training
        schedule = Schedule(training.warmup_steps, training.decay)
        rate = self.config.learning_rate or training.learning_rate
        return [OptimizerPlan(list(model.parameters()), rate, schedule, training.weight_decay)]

    def validate(self, model: Any, context: Context) -> dict[str, float]:
        """``accuracy``, ``log_loss`` and, of two classes, ``auc``, on all validation nodes; the same on every rank."""
        known_V = self._known(self.validation)
        if not len(known_V):
            return {}
        log_NC = predict(model, self.graph.on(context.device)).cpu()
        return measured(log_NC[known_V], self.label_N[known_V])

    def _known(self, nodes: Tensor) -> Tensor:
        """Those whose label is known."""
        return nodes[self.label_N[nodes] >= 0]


@torch.no_grad()
def predict(model: nn.Module, graph: NodeGraph) -> Tensor:
    """Logarithms of the probabilities of all classes [N, C], without dropout."""
    before = model.training
    log_NC: Tensor = model.eval()(graph).float().log_softmax(dim=1)
    model.train(before)
    return log_NC


def measured(log_VC: Tensor, label_V: Tensor) -> dict[str, float]:
    """Metrics by name; ``auc`` where there are two classes and both occur."""
    found = {
        "accuracy": float((log_VC.argmax(dim=1) == label_V).double().mean()),
        "log_loss": float(F.nll_loss(log_VC.double(), label_V)),
    }
    if log_VC.shape[1] == 2 and 0 < int(label_V.sum()) < len(label_V):
        found["auc"] = auc(label_V.numpy(), log_VC[:, 1].exp().double().numpy())
    return found
