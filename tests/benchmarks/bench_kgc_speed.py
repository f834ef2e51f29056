"""Speed and memory of completing a graph of WN18RR's size: ``python -m tests.benchmarks.bench_kgc_speed``. Progress on
stderr, one JSON object last on stdout.

40,943 entities with texts of 21 words, 22 relations (both directions of 11), and WN18RR's number of known triples, all
drawn at random; models as their kinds are built, untrained. One thread, as a task of Spark has.
``pairs_per_second_and_core``: (head, relation) pairs, whose ten best new tails were named with probabilities, by second
of processor time, so that what else runs counts little. Of some heads all relations are asked: all 900,746 pairs would
take minutes, and a block takes as long whichever they are. ``simkgc`` has the options of the night of WN18RR, which
reads MiniLM as it came; ``simkgc, a layer learns`` encodes each head once for its 22 relations, which is in its time.
``peak_bytes`` is the growth of this process's resident memory over the vectors of entities while it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from roilake.pipelines.knowledge_graph import models
from roilake.pipelines.knowledge_graph.completion.best import Rules, best_new
from roilake.pipelines.knowledge_graph.completion.tasks import pairs_at_once
from roilake.pipelines.knowledge_graph.evaluation.hybrid import Hybrid
from roilake.pipelines.knowledge_graph.evaluation.ranking import Scorer
from roilake.pipelines.knowledge_graph.evaluation.saved import OpenModel
from roilake.pipelines.knowledge_graph.models import KnowledgeGraph
from tests.benchmarks.bench_topk import peak_bytes
from tests.benchmarks.kgc_settings import SETTINGS

ENTITIES, RELATIONS, TRIPLES, WORDS, TOP = 40_943, 11, 93_003, 21, 10
STRUCTURAL = ("compl_ex", "rotat_e", "trans_e")


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    graph = _graph(args.entities)
    pair_Q2 = torch.cartesian_prod(torch.arange(args.heads), torch.arange(2 * RELATIONS))
    rules = Rules(TOP, 0.05, graph.known)
    blocks = pair_Q2.split(pairs_at_once(args.entities))
    found = {name: _measured(name, scorer, blocks, rules) for name, scorer in _scorers(graph)}
    figures = {"entities": args.entities, "pairs": len(pair_Q2), "top": TOP, "by_model": found}
    print(json.dumps({**figures, "load_average": round(os.getloadavg()[0], 1)}), flush=True)


def _graph(entities: int) -> KnowledgeGraph:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 5000, (entities, WORDS))
    texts = tuple(" ".join(f"word{word}" for word in row) for row in words)
    ends = [torch.from_numpy(rng.integers(0, most, TRIPLES)) for most in (entities, RELATIONS, entities)]
    return KnowledgeGraph(texts, tuple(f"relation {n}" for n in range(RELATIONS)), torch.stack(ends, 1).unique(dim=0))


def _scorers(graph: KnowledgeGraph) -> list[tuple[str, Scorer]]:
    structural = {kind: _open(kind, {}, graph).scorer() for kind in STRUCTURAL}
    simkgc = _text(graph, **SETTINGS["wn18rr"]["simkgc"].options)
    hybrids = {f"hybrid with {kind}": Hybrid(simkgc, structural[kind], 0.9) for kind in ("compl_ex", "rotat_e")}
    learning = {"simkgc, a layer learns": _text(graph), "simkgc from scratch": _text(graph, encoder="scratch")}
    return [*structural.items(), ("simkgc", simkgc), *hybrids.items(), *learning.items()]


def _text(graph: KnowledgeGraph, **options: Any) -> Scorer:
    """To encode all entities would take minutes, so their vectors are drawn."""
    opened = _open("simkgc", options, graph)
    if options.get("layers") == 0:
        torch.nn.init.normal_(opened.model.encoder.text_ND)
    width = opened.vectors(0, 1).shape[1]
    return opened.scorer(torch.nn.functional.normalize(torch.randn(graph.entities, width), dim=1))


def _open(kind: str, options: dict[str, Any], graph: KnowledgeGraph) -> OpenModel:
    torch.manual_seed(0)
    return OpenModel(models.build(kind, options, graph).eval(), graph)


def _measured(name: str, scorer: Scorer, blocks: Sequence[Tensor], rules: Rules) -> dict[str, Any]:
    """The best of three rounds."""

    def complete() -> None:
        for pair_q2 in blocks:
            best_new(scorer, pair_q2, rules)

    peak, best = peak_bytes(complete), float("inf")
    for _ in range(3):
        began = time.process_time()
        complete()
        best = min(best, time.process_time() - began)
    rate = round(sum(map(len, blocks)) / best)
    print(f"bench-kgc-speed  {name}: {rate:,} pairs/s, {peak / 1e6:.0f} MB", file=sys.stderr, flush=True)
    return {"pairs_per_second_and_core": rate, "peak_bytes": peak}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=ENTITIES)
    parser.add_argument("--heads", type=int, default=128)
    return parser.parse_args()


if __name__ == "__main__":
    main()
