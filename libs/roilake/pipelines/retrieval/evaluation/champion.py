"""Who serves a night, from what its models did with the requests of the validation split."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa

from roilake.config.base import BEST
from roilake.metrics.champion import Champion, Contest, choose
from roilake.metrics.intervals import Draws
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.config_checks import may_serve
from roilake.pipelines.retrieval.evaluation.measures import observe
from roilake.pipelines.retrieval.evaluation.outcomes import Outcomes, rows_of


def choose_champion(outcomes: pa.Table, config: RetrievalConfig, before: Champion | None, ds: date) -> Champion:
    """Who serves night ``ds``, by ``config.best_by`` on all validation requests; ``before`` served the night before."""
    rows = {name: rows_of(outcomes, "validation", name) for name in config.models if may_serve(config, name)}
    done = {name: Outcomes.of(own, {}) for name, own in rows.items() if own.num_rows}
    observed = {
        name: observe(own, np.ones(len(own.request_P), np.bool_), (config.best_by,), None)[config.best_by]
        for name, own in done.items()
    }
    users = next((own.users for own in done.values()), np.zeros(0, np.int64))
    contest = Contest(tuple(rows), config.best_by, observed, Draws(users, config.evaluation.bootstrap, config.seed))
    return choose(contest, before, ds, None if config.default_model == BEST else config.default_model)
