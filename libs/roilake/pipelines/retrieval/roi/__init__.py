"""Regions of interest: the few neighbours per hop and edge type that matter most to a request or an item."""

from __future__ import annotations

from roilake.pipelines.retrieval.roi.build import Choice, Tables, planned
from roilake.pipelines.retrieval.roi.layout import ITEM_ROOTS, REQUEST_ROOTS, Layouts, RoiLayout, explode_roi
from roilake.pipelines.retrieval.roi.rows import Plan, item_events, request_events

__all__ = [
    "ITEM_ROOTS", "REQUEST_ROOTS", "Choice", "Layouts", "Plan", "RoiLayout", "Tables",
    "explode_roi", "item_events", "planned", "request_events",
]  # fmt: skip
