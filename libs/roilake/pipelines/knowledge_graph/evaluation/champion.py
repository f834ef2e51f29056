"""Who serves a night of the knowledge graph."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np

from roilake.config.base import BEST
from roilake.metrics.champion import Champion, Contest, choose
from roilake.metrics.intervals import Draws
from roilake.metrics.slices import ALL
from roilake.pipelines.knowledge_graph.config import KnowledgeGraphConfig
from roilake.pipelines.knowledge_graph.evaluation.measures import Queries, Ranked, observe


def choose_champion(
    validation: Queries, found: Mapping[str, Ranked], config: KnowledgeGraphConfig, before: Champion | None, ds: date
) -> Champion:
    """Who serves night ``ds``, by ``config.best_by`` on all validation triples; ``before`` served the night before."""
    every = validation.cuts[ALL]
    observed = {name: observe(validation, each.ranks, every)[config.best_by] for name, each in found.items()}
    draws = Draws(np.arange(validation.triples), config.evaluation.bootstrap, config.seed)
    contest = Contest(config.evaluated, config.best_by, observed, draws)
    return choose(contest, before, ds, None if config.default_model == BEST else config.default_model)
