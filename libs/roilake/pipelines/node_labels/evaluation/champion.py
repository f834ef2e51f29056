"""Who serves a night of node labels."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np

from roilake.config.base import BEST
from roilake.metrics.champion import Champion, Contest, choose
from roilake.metrics.classification import Floats
from roilake.metrics.intervals import Draws
from roilake.pipelines.node_labels.config import NodeLabelsConfig
from roilake.pipelines.node_labels.evaluation.measures import Known, observe


def choose_champion(
    validation: Known, likely: Mapping[str, Floats], config: NodeLabelsConfig, before: Champion | None, ds: date
) -> Champion:
    """Who serves night ``ds``, by ``config.best_by`` on all validation nodes, of which ``likely`` are each model's
    probabilities; ``before`` served the night before."""
    every = np.ones(len(validation.node_N), np.bool_)
    observed = {name: observe(validation, found, every)[config.best_by] for name, found in likely.items()}
    draws = Draws(validation.node_N, config.evaluation.bootstrap, config.seed)
    contest = Contest(tuple(config.models), config.best_by, observed, draws)
    return choose(contest, before, ds, None if config.default_model == BEST else config.default_model)
