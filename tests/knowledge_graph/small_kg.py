"""A small graph in which texts tell what is related: thing i of a family is next to thing i + 1 and part of its
family."""

from __future__ import annotations

import torch
from torch import Tensor

from roilake.pipelines.knowledge_graph.models import KnowledgeGraph, TripleBatch, both_ways
from roilake.training import Context, LocalContext

FAMILIES, MEMBERS = 4, 6
ENTITIES = FAMILIES * (MEMBERS + 1)
WORDS = ("zero", "one", "two", "three", "four", "five")
SCRATCH = {"encoder": "scratch", "layers": 1, "text_width": 16, "hidden": 24, "width": 8, "dropout": 0.0}


def small_kg() -> KnowledgeGraph:
    """Entity f * 7 + i is member i of family f; i = 6 is the family itself."""
    texts, triples = [], []
    for family in range(FAMILIES):
        whole = family * (MEMBERS + 1) + MEMBERS
        texts += [f"{word} {WORDS[family]}: number {word} of the {WORDS[family]}" for word in WORDS]
        texts.append(f"the {WORDS[family]}: all numbers")
        triples += [(whole - MEMBERS + i, 1, whole) for i in range(MEMBERS)]
        triples += [(whole - MEMBERS + i, 0, whole - MEMBERS + i + 1) for i in range(MEMBERS - 1)]
    return KnowledgeGraph(tuple(texts), ("next to", "part of"), torch.tensor(triples))


def batch_of(graph: KnowledgeGraph, triples: Tensor, context: Context | None = None, step: int = 0) -> TripleBatch:
    """Of triples by number, as ``KgTask`` makes it."""
    context = context or LocalContext()
    query_Q3 = both_ways(graph.train_E3[triples], graph.relations).unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1)
    head_Q, relation_Q, tail_Q = query_Q3.unbind(1)
    size = len(query_Q3) // context.workers
    known_2P = torch.stack(graph.known.pairs(head_Q, relation_Q))
    own = context.rank * size, (context.rank + 1) * size
    return TripleBatch(head_Q, relation_Q, tail_Q, known_2P, *own, step, context)
