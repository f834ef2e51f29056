"""Inference with a night's models: exact top-K and ranks over all items, and how they did on past windows."""

from roilake.pipelines.retrieval.scoring.night import map_shards, open_night
from roilake.pipelines.retrieval.scoring.outcomes import evaluate, with_days
from roilake.pipelines.retrieval.scoring.recommend import recommend, with_keys
from roilake.pipelines.retrieval.scoring.towers import write_index

__all__ = ["evaluate", "map_shards", "open_night", "recommend", "with_days", "with_keys", "write_index"]
