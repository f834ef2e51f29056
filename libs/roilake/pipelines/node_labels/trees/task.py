"""Models of node labels trained on trees, as tasks of the trainer.

Legend of shape suffixes: B nodes of a step, V validation nodes, C classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from roilake.hashing import keyed_hash
from roilake.pipelines.node_labels.training.task import NodeBatch, NodeTask, measured
from roilake.pipelines.node_labels.trees.graph import Trees
from roilake.training import Context, Feed


@dataclass(frozen=True, kw_only=True)
class TreeTask(NodeTask):
    """``NodeTask``, but that a step sees ``trees.batch`` of the nodes to learn from, in an order that is drawn anew in
    each of the ``passes``, with the trees of that pass around them. ``graph`` is empty: its sizes count. Validation
    sees the same trees every time."""

    trees: Trees
    passes: int

    def feed(self, context: Context) -> Feed[NodeBatch]:
        """Each rank has its share of every batch."""
        known = self._known(self.train)
        steps = -(-len(known) // self.trees.batch)

        def batches(first: int) -> Iterator[NodeBatch]:
            for number in range(first // steps if steps else 0, self.passes):
                order = torch.from_numpy(keyed_hash(self.seed, number, known.numpy()).argsort(kind="stable"))
                for step, node_B in enumerate(known[order].tensor_split(steps), number * steps):
                    if step >= first:
                        yield self._batch(node_B, number, context)

        return Feed(batches, self.passes * steps, max(1, steps), len(known) / max(1, steps) / context.workers)

    def _batch(self, node_B: Tensor, number: int, context: Context) -> NodeBatch:
        """A rank without a node of its own sees another's, and learns nothing from it."""
        own_B = node_B[context.rank :: context.workers]
        graph, place_B = self.trees.around(own_B if len(own_B) else node_B[:1], number)
        device = context.device
        return NodeBatch(graph.on(device), place_B[: len(own_B)].to(device), self.label_N[own_B].to(device))

    def validate(self, model: Any, context: Context) -> dict[str, float]:
        """As ``NodeTask`` does; each rank predicts its share."""
        known_V = self._known(self.validation)
        if not len(known_V):
            return {}
        own_V = known_V[context.rank :: context.workers]
        log_VC = self.trees.predict(model, own_V, context.device)
        return measured(*context.allgather(log_VC, self.label_N[own_V]))
