"""What a metric is: its name, its label and definition, its better side, and the function that computes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from operator import attrgetter
from typing import Any, Literal

GROUPS = ("separation", "ranking", "probability", "lists")
"""Metrics that are shown together, in the order of the page."""


@dataclass(frozen=True)
class Metric:
    """``direction`` is 1 where more is better, -1 where less is, 0 where neither. ``function`` names what computes it,
    as ``module:attribute``; its form follows from ``inputs``:

    - ``scores``: labels and scores of any scale; ``f(data: Labelled, user_N, users) -> Summed | Linear``.
    - ``probabilities``: labels and probabilities; a ``classification.Sums``.
    - ``ranks``: ranks of the relevant items; ``f(ranks: Ranks, k) -> [R]``.
    - ``lists``: the first K items shown, whether relevant or not; ``f(top_RK, catalogue: Catalogue) -> [R]``, but for
      ``coverage``, which no list has alone.
    - ``own``: what its pipeline gives it. Only that pipeline's evaluation computes it.

    ``definition`` says in a line what it is. ``needs`` is what a metric of ``lists`` needs to know of the catalogue.
    ``leading`` orders the metrics that stand for all where few are shown: those without it come last."""

    name: str
    label: str
    group: str
    direction: Literal[-1, 0, 1]
    function: str
    inputs: Literal["scores", "probabilities", "ranks", "lists", "own"] = "own"
    at_k: Literal["never", "may", "must"] = "never"
    leading: int | None = None
    definition: str = ""
    needs: Literal["items", "events", "vectors"] = "items"

    @cached_property
    def compute(self) -> Any:
        """The function itself."""
        module, _, attribute = self.function.partition(":")
        return attrgetter(attribute)(import_module(module))
