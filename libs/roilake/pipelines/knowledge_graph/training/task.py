"""Models of knowledge graphs as tasks of the trainer.

Legend of shape suffixes: E triples of training, V triples of validation, Q queries of a step over all ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from roilake.config.base import ModelConfig
from roilake.hashing import keyed_hash
from roilake.pipelines.knowledge_graph.evaluation.ranking import ModelScores, filtered_ranks
from roilake.pipelines.knowledge_graph.models import KnowledgeGraph, KnownTails, TripleBatch, both_ways, build
from roilake.training import Context, Feed, OptimizerPlan, Schedule, Term


class KgTraining(Protocol):
    """What a task takes from the ``training`` section of a config. A step has ``batch_size`` queries over all ranks."""

    epochs: int
    batch_size: int
    validate_every: int  # epochs
    validation_triples: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    decay: Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class KgTask:
    """Each epoch sees each triple once, as a query for its tail and, in the same step, as one for its head. The order
    depends on ``seed`` and the epoch alone; what is left over at the end of an epoch waits for the next order.

    ``validation_V3`` never teaches: at most ``validation_triples`` of them choose the step that is kept, by ``mrr``."""

    graph: KnowledgeGraph
    validation_V3: Tensor  # int64 (head, relation, tail)
    config: ModelConfig
    training: KgTraining
    seed: int
    select: str = "mrr"

    def feed(self, context: Context) -> Feed[TripleBatch]:
        """Global batches; this rank's queries are a slice of each."""
        triples = min(len(self.graph.train_E3), self.training.batch_size // 2)
        triples -= triples % context.workers
        steps = len(self.graph.train_E3) // triples

        def batches(first: int) -> Iterator[TripleBatch]:
            for epoch in range(first // steps, self.training.epochs):
                order_E = self._order(epoch)
                for step in range(first % steps if epoch == first // steps else 0, steps):
                    chosen = order_E[step * triples : (step + 1) * triples]
                    yield self._batch(chosen, epoch * steps + step, context)

        total = steps * self.training.epochs
        return Feed(batches, total, steps * self.training.validate_every, 2 * triples / context.workers)

    def model(self) -> nn.Module:
        torch.manual_seed(self.seed)
        return build(self.config.kind, dict(self.config.options), self.graph)

    def losses(self, model: Any, batch: TripleBatch) -> dict[str, Term]:
        terms: dict[str, Term] = model.losses(batch)
        return terms

    def optimizers(self, model: Any) -> Sequence[OptimizerPlan]:
        training = self.training
        schedule = Schedule(training.warmup_steps, training.decay)
        rate = self.config.learning_rate or training.learning_rate
        groups = model.groups()
        return [OptimizerPlan(own, rate * factor, schedule, training.weight_decay) for own, factor in groups if own]

    def validate(self, model: Any, context: Context) -> dict[str, float]:
        """``mrr`` and ``hits@K`` of both directions, filtered by training and validation."""
        if not len(self.validation_V3):
            return {}
        scores, entities, relations = ModelScores(model, self.graph.entities), self.graph.entities, self.graph.relations
        sample_V3 = self._sample()
        known = KnownTails.of(both_ways(torch.cat([self.graph.train_E3, self.validation_V3]), relations), 2 * relations)
        return filtered_ranks(scores, both_ways(sample_V3, relations), known, entities).measured()

    def _order(self, epoch: int) -> Tensor:
        """Of the triples in one epoch."""
        numbers = torch.arange(len(self.graph.train_E3)).numpy()
        return torch.from_numpy(keyed_hash(self.seed, epoch, numbers).argsort())

    def _sample(self) -> Tensor:
        """Those of validation that are looked at, the same each time."""
        numbers = torch.arange(len(self.validation_V3)).numpy()
        order_V = torch.from_numpy(keyed_hash(self.seed, numbers).argsort())
        return self.validation_V3[order_V[: self.training.validation_triples]]

    def _batch(self, triple_n: Tensor, step: int, context: Context) -> TripleBatch:
        """Triple after triple, each as two queries, so that ranks have whole triples."""
        ways_2n3 = both_ways(self.graph.train_E3[triple_n], self.graph.relations)
        query_Q3 = ways_2n3.unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1)
        head_Q, relation_Q, tail_Q = query_Q3.unbind(1)
        known_2P = torch.stack(self.graph.known.pairs(head_Q, relation_Q))
        size = len(query_Q3) // context.workers
        own = context.rank * size, (context.rank + 1) * size
        moved = [each.to(context.device) for each in (head_Q, relation_Q, tail_Q, known_2P)]
        return TripleBatch(moved[0], moved[1], moved[2], moved[3], *own, step, context)
