"""What the night before leaves for a night to start from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from roilake.lake import Lake, Publication
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.graph.windows import Window, plan_windows


@dataclass(frozen=True)
class LastModel:
    """A model of the last published night: ``folder`` holds its files."""

    name: str
    night: Publication
    folder: Path
    train_end: date
    config: dict[str, Any]


def last_model(lake: Lake, config: RetrievalConfig, ds: date) -> LastModel | None:
    """The model of the last night published before ``ds`` that this one builds on: the default model, or, where that
    makes no interest vectors, the first of the config's models that does, if any. None on a first night, or when the
    default model is new."""
    from roilake.pipelines.retrieval.models import (
        makes_interests,  # here, so that the graph's tasks need not load torch
    )

    night = lake.publication(config.pipeline, before=ds)
    if night is None or "models" not in night.versions:
        return None
    where = {"pipeline": config.pipeline, "ds": night.ds, "run_id": night.run_id}
    rows = {row["name"]: row for row in lake.to_arrow("models", night.versions["models"], filters=where).to_pylist()}
    if config.default_model not in rows:
        return None
    known = (name for name in (config.default_model, *config.models) if name in rows)
    makers = (name for name in known if makes_interests(json.loads(rows[name]["config"])["kind"]))
    row = rows[next(makers, config.default_model)]
    folder = lake.files.local(row["path"])
    return LastModel(row["name"], night, folder, row["train_end"], json.loads(row["config"]))


def night_windows(lake: Lake, config: RetrievalConfig, ds: date) -> tuple[Window, ...]:
    """``plan_windows`` of a night, from what the last published one leaves."""
    last = last_model(lake, config, ds)
    return plan_windows(config.windows, ds, last.train_end if last else None)
