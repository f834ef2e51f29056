"""The measures of a night of the knowledge graph, each with n and its 95 % interval: a bootstrap over triples, each of
which is asked for in both directions.

Legend: V triples of a split, Q = 2 V queries, first all for tails, then all for heads; N entities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from roilake.hashing import keyed_hash
from roilake.metrics.classification import Floats
from roilake.metrics.intervals import NAN, Z95, Draws, Estimate, Summed
from roilake.metrics.leakage import SHUFFLED
from roilake.metrics.metric_rows import compared_rows, metric_row, metric_table
from roilake.metrics.observed import observe_mean
from roilake.metrics.registry import find
from roilake.metrics.slices import ALL, LEAKAGE_CHECK
from roilake.pipelines.knowledge_graph.evaluation.ranking import Ranks, Scorer, filtered_ranks
from roilake.pipelines.knowledge_graph.metrics import ANSWER, OWN, RELATION, SOUGHT
from roilake.pipelines.knowledge_graph.models import KnownTails, both_ways
from roilake.pipelines.knowledge_graph.training.inputs import SPLITS, Facts

EVALUATED = ("validation", "test")
Cuts = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Ranked:
    """The filtered ranks of a model on a split's queries, and those of entities drawn in place of the right ones."""

    ranks: Ranks
    drawn: Ranks
    entities: int  # N


@dataclass(frozen=True)
class Queries:
    """Those of a split: ``query_Q3`` are (head, relation, tail), ``cuts`` maps slices to the queries in them."""

    query_Q3: torch.Tensor
    cuts: Cuts

    @property
    def triple_Q(self) -> NDArray[np.int64]:
        """The triple that each query is of [Q]: the cluster of intervals."""
        return np.tile(np.arange(self.triples), 2)

    @property
    def triples(self) -> int:
        """V."""
        return len(self.query_Q3) // 2


def queries_of(facts: Facts, split: str, relations: int) -> Queries:
    """The queries of a split. Validation is for selection, not for reading: it has no slices."""
    triple_V3 = facts.triples[split]
    query_Q3 = both_ways(triple_V3, facts.relations.num_rows)
    cuts = {ALL: np.ones(len(query_Q3), np.bool_)}
    if split == "test":
        cuts |= dict(_slices(facts, query_Q3, relations))
    return Queries(query_Q3, cuts)


def _slices(facts: Facts, query_Q3: torch.Tensor, most: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    count = facts.relations.num_rows
    relation_Q, right_Q = query_Q3[:, 1].numpy(), query_Q3[:, 2].numpy()
    yield f"{SOUGHT}=tail", relation_Q < count
    yield f"{SOUGHT}=head", relation_Q >= count
    seen_N = np.zeros(facts.entities.num_rows, np.bool_)
    seen_N[facts.triples["train"][:, [0, 2]].numpy().ravel()] = True
    yield f"{ANSWER}=seen", seen_N[right_Q]
    yield f"{ANSWER}=unseen", ~seen_N[right_Q]
    own_Q = relation_Q % count
    common = np.argsort(-np.bincount(own_Q, minlength=count), kind="stable")[:most]
    keys = facts.relations["key"].to_pylist()
    for relation in common:
        yield f"{RELATION}={keys[relation]}", own_Q == relation
    if count > most:
        yield f"{RELATION}=other", ~np.isin(own_Q, common)


def ranked(scorer: Scorer, facts: Facts, queries: Queries, seed: int) -> Ranked:
    """All ranks of a model. What is known of any split is filtered."""
    entities, relations = facts.entities.num_rows, facts.relations.num_rows
    ranks = filtered_ranks(scorer, queries.query_Q3, facts.known(*SPLITS), entities)
    drawn_Q3, numbers = queries.query_Q3.clone(), np.arange(len(queries.query_Q3))
    drawn_Q3[:, 2] = torch.from_numpy((keyed_hash(seed, numbers) % np.uint64(entities)).astype(np.int64))
    nothing = KnownTails.of(torch.empty(0, 3, dtype=torch.int64), 2 * relations)
    return Ranked(ranks, filtered_ranks(scorer, drawn_Q3, nothing, entities), entities)


def reciprocal(ranks: Ranks, k: int) -> Floats:
    """1 / rank of each query's right entity [Q]."""
    return ranks.reciprocal_Q.numpy()


def hits(ranks: Ranks, k: int) -> Floats:
    """Whether it is among the first k [Q]; in part where it ties with the k-th."""
    return ranks.hits_Q(k).numpy()


def observe(queries: Queries, ranks: Ranks, chosen_Q: NDArray[np.bool_]) -> dict[str, Summed]:
    """Each metric over the chosen queries, by name."""
    found = {}
    for name in OWN:
        metric, k = find(name), int(name.partition("@")[2] or 0)
        assert metric is not None
        values_Q = np.where(chosen_Q, metric.compute(ranks, k), np.nan)
        found[name] = observe_mean(values_Q, queries.triple_Q, queries.triples)
    return found


def measure(
    queries: Mapping[str, Queries],
    found: Mapping[str, Mapping[str, Ranked]],
    default_model: str,
    bootstrap: int,
    seed: int,
    ds: date,
    run: str,
) -> pa.Table:
    """Rows of ``metrics``: of every split, model and slice each metric, the paired differences to the model that
    serves, and the leakage check. ``found`` maps a split to models' ranks."""
    rows: list[dict[str, Any]] = []
    for split, asked in queries.items():
        draws = Draws(np.arange(asked.triples), bootstrap, seed)
        for cut, chosen_Q in asked.cuts.items():
            observed = {model: observe(asked, each.ranks, chosen_Q) for model, each in found[split].items()}
            for model, own in sorted(observed.items()):
                theirs = None if model == default_model else observed[default_model]
                rows += compared_rows(model, split, cut, own, theirs, draws)
        for model, each in sorted(found[split].items()):
            rows.append(metric_row(model, split, LEAKAGE_CHECK, SHUFFLED, shuffled(each)))
    return metric_table(rows, ds, run)


def shuffled(found: Ranked) -> Estimate:
    """Share of all entities that a drawn one beats, ties a half: 0.5 whatever the scores are. The rank of an even draw
    has the variance (N^2 - 1) / 12; the interval is the normal one of the mean."""
    rank_Q, entities = found.drawn.mean_Q.numpy(), found.entities
    if not len(rank_Q) or entities < 2:
        return Estimate(NAN, NAN, NAN, len(rank_Q))
    value = 1 - float(rank_Q.mean() - 1) / (entities - 1)
    half = Z95 * float(np.sqrt((entities + 1) / (12 * (entities - 1) * len(rank_Q))))
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0), len(rank_Q))
