"""The model that serves a night: how validation chooses it among the night's models, and where readers find it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from roilake.lake import TABLES, Lake, Publication
from roilake.metrics.registry import direction

if TYPE_CHECKING:
    from roilake.metrics.intervals import Draws, Estimate, Observed

Reason = Literal["named", "first", "gone", "won", "stayed"]
"""Why a model serves: the config names it; it is the best on a first night, or where the one before is gone; it won
over the one before; or no other one did."""


@dataclass(frozen=True)
class Champion:
    """A night's row of table ``champions``: ``model`` serves, and has on every published night since ``since``. Where
    nothing could be measured ``value`` and ``difference`` are None; without a ``metric`` nobody tried to."""

    model: str
    since: date
    reason: Reason = "named"
    previous: str | None = None
    metric: str = ""
    value: float | None = None
    runner_up: str | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0

    def to_table(self, ds: date) -> pa.Table:
        """As the night's row, as ``Recorder.write`` takes it: that adds the pipeline."""
        schema = TABLES["champions"].arrow_schema
        written = pa.schema([field for field in schema if field.name != "pipeline"])
        return pa.Table.from_pylist([{"ds": ds, **asdict(self)}], schema=written)


def champion_of(lake: Lake, night: Publication) -> Champion:
    """Who serves a published night."""
    return find_champion(lake, night.pipeline, night.ds, night.versions, json.loads(night.config)["default_model"])


def find_champion(lake: Lake, pipeline: str, ds: date, versions: Mapping[str, int], named: str) -> Champion:
    """Who serves night ``ds`` at these table versions; where it has no row of ``champions``, the model that its config
    has ``named``."""
    if "champions" not in versions:
        return Champion(named, ds)
    filters = TABLES["champions"].own(pipeline, ds)
    rows = lake.to_arrow("champions", versions["champions"], filters=filters).drop_columns(["pipeline", "ds"])
    return next((Champion(**row) for row in rows.to_pylist()), Champion(named, ds))


@dataclass(frozen=True)
class Contest:
    """What the models that may serve, in the order of the config, have shown on the same validation rows: what
    ``metric`` is computed from, of those that have any."""

    models: tuple[str, ...]
    metric: str
    observed: Mapping[str, Observed]
    draws: Draws

    def value(self, model: str) -> float | None:
        """None where it is not defined."""
        return self.observed[model].estimate(self.draws).columns["value"] if model in self.observed else None

    def best(self, models: Collection[str]) -> str | None:
        """The one with the best value, the first of equal ones; None where none has a value."""
        known = {model: value for model in models if (value := self.value(model)) is not None}
        return max(known, key=lambda model: direction(self.metric) * known[model], default=None)

    def difference(self, model: str, other: str) -> Estimate | None:
        """What ``other`` has more than ``model``, paired; None where either has nothing."""
        if not {model, other} <= self.observed.keys():
            return None
        return self.observed[other].minus(self.observed[model]).estimate(self.draws)  # type: ignore[arg-type]

    def beats(self, model: str, champion: str) -> bool:
        """Whether the whole interval of their difference is on the model's side."""
        found = self.difference(champion, model)
        return found is not None and (found.low > 0 if direction(self.metric) > 0 else found.high < 0)


def choose(contest: Contest, before: Champion | None, ds: date, named: str | None = None) -> Champion:
    """Who serves night ``ds``: the ``named`` model, or the one that validation prefers. ``before`` served the night
    published last; who takes its place must beat it, so that noise does not change what readers get."""
    chosen: tuple[str, Reason] = (named, "named") if named is not None else _preferred(contest, before)
    model, reason = chosen
    rival = contest.best([other for other in contest.models if other != model])
    found = contest.difference(model, rival) if rival else None
    shown = found.columns if found else {}
    return Champion(
        model,
        since=before.since if before and before.model == model else ds,
        reason=reason,
        previous=before.model if before else None,
        metric=contest.metric,
        value=contest.value(model),
        runner_up=rival,
        difference=shown.get("value"),
        low=shown.get("low"),
        high=shown.get("high"),
        n=found.n if found else 0,
    )


def _preferred(contest: Contest, before: Champion | None) -> tuple[str, Reason]:
    """The model, and why."""
    if before is None or before.model not in contest.models:
        return contest.best(contest.models) or contest.models[0], "gone" if before else "first"
    winner = contest.best([model for model in contest.models if contest.beats(model, before.model)])
    return (winner, "won") if winner else (before.model, "stayed")
