"""What is asked for: (head, relation) pairs, both ways, in order of the head.

Legend: N entities, R relations, E known triples, Q pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roilake.errors import ConfigError
from roilake.pipelines.knowledge_graph.config import CompletionConfig
from roilake.pipelines.knowledge_graph.models import both_ways
from roilake.pipelines.knowledge_graph.training.inputs import SPLITS, Facts


def asked_pairs(facts: Facts, config: CompletionConfig) -> Tensor:
    """(head, relation) [Q, 2], by (head, relation); relation r + R asks for heads. Raises ConfigError for a relation
    that the night does not have."""
    relations = facts.relations.num_rows
    chosen = [
        relation + relations * (sought == "head")
        for sought in config.sought
        for relation in _numbers(facts, config.relations)
    ]
    known_E3 = both_ways(torch.cat([facts.triples[name] for name in SPLITS]), relations).numpy()
    found = []
    for relation in chosen:
        head_n = _heads(facts, config, known_E3, relation)
        found.append(np.stack([head_n, np.full(len(head_n), relation)], axis=1))
    pair_Q2 = np.concatenate(found)
    return torch.from_numpy(pair_Q2[np.lexsort((pair_Q2[:, 1], pair_Q2[:, 0]))])


def _numbers(facts: Facts, named: tuple[str, ...] | None) -> Iterator[int]:
    keys: list[str] = facts.relations["key"].to_pylist()
    for key in keys if named is None else named:
        if key not in keys:
            raise ConfigError(
                f"completion.relations: the night has no relation {key!r}; there are {', '.join(keys[:20])}"
            )
        yield keys.index(key)


def _heads(facts: Facts, config: CompletionConfig, known_E3: NDArray[np.int64], relation: int) -> NDArray[np.int64]:
    """Entities that are asked for a relation. Items are, where some item has it."""
    if config.asked == "all":
        return np.arange(facts.entities.num_rows)
    seen_n = np.unique(known_E3[known_E3[:, 1] == relation, 0])
    if config.asked == "seen":
        return seen_n
    item_n = np.flatnonzero(facts.items_N)
    return np.union1d(seen_n, item_n) if np.isin(seen_n, item_n).any() else seen_n
